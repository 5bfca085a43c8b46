"""What an evaluation found: J, F and J&F per object, per clip and on average, as JSON and as a table."""

# ruff: noqa: N802, N806 - J and F are the measures' names

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Statistics:
    """Summary of one measure of one object over the frames of a clip.

    Parameters
    ----------
    mean : float
        Mean over the frames.
    recall : float
        Share of the frames above 0.5.
    decay : float
        Mean of the first quarter of the frames less that of the last.
    """

    mean: float
    recall: float
    decay: float

    @classmethod
    def of(cls, values: np.ndarray) -> Statistics:
        """Summarise one value a frame, (T,) float, as the official evaluator does.

        The official one holds the limits of the quarters in 8 bits and is wrong above 256 frames;
        this one is right.
        """
        limits = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
        first, last = values[limits[0] : limits[1] + 1], values[limits[3] : limits[4] + 1]
        return cls(float(np.mean(values)), float(np.mean(values > 0.5)), float(np.mean(first) - np.mean(last)))


@dataclass(frozen=True)
class ObjectResult:
    """The measures of one true object.

    Parameters
    ----------
    object_id : int
        Its id in the truth.
    predicted_id : int or None
        The id in the prediction it was compared with; None if there was none.
    region, contour : ndarray
        (T,) float64, J and F of each evaluated frame.
    """

    object_id: int
    predicted_id: int | None
    region: np.ndarray
    contour: np.ndarray

    @property
    def J(self) -> Statistics:
        """Region similarity over the frames."""
        return Statistics.of(self.region)

    @property
    def F(self) -> Statistics:
        """Boundary accuracy over the frames."""
        return Statistics.of(self.contour)

    @property
    def JF(self) -> float:
        """Mean of J and F, written J&F."""
        return (self.J.mean + self.F.mean) / 2

    def to_json(self) -> dict[str, Any]:
        """Return the figures, and those of each frame, as JSON-ready objects."""
        return {
            "object": self.object_id,
            "prediction": self.predicted_id,
            **_figures([self]),
            "J_frames": self.region.tolist(),
            "F_frames": self.contour.tolist(),
        }


class _MeansOfObjects:
    objects: list[ObjectResult]

    @property
    def J(self) -> float:
        """Mean J of the objects."""
        return float(np.mean([result.J.mean for result in self.objects]))

    @property
    def F(self) -> float:
        """Mean F of the objects."""
        return float(np.mean([result.F.mean for result in self.objects]))

    @property
    def JF(self) -> float:
        """Mean J&F of the objects."""
        return (self.J + self.F) / 2


@dataclass(frozen=True)
class ClipResult(_MeansOfObjects):
    """The measures of one clip.

    Parameters
    ----------
    clip : str
        Its name.
    frames : int
        Frames evaluated.
    objects : list of ObjectResult
        One for each true object, ascending by id.
    left_out : list of int
        True objects that were not measured, because they come after the first frame and have higher
        ids than all objects in it, as in the official evaluator.
    """

    clip: str
    frames: int
    objects: list[ObjectResult]
    left_out: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON-ready objects."""
        return {
            "clip": self.clip,
            "frames": self.frames,
            **_figures(self.objects),
            "objects": [result.to_json() for result in self.objects],
            "left_out": self.left_out,
        }


@dataclass(frozen=True)
class EvaluationResult(_MeansOfObjects):
    """The measures of one or more clips; averages run over all objects of all clips alike.

    Parameters
    ----------
    task : str
        ``unsupervised`` or ``semi-supervised``.
    clips : list of ClipResult
        One for each clip of the truth.
    """

    task: str
    clips: list[ClipResult]

    @property
    def objects(self) -> list[ObjectResult]:  # type: ignore[override]  # a frozen one is as good
        """The objects of all clips."""
        return [result for clip in self.clips for result in clip.objects]

    def to_json(self) -> dict[str, Any]:
        """Return all figures as JSON-ready objects."""
        return {"task": self.task, **_figures(self.objects), "clips": [clip.to_json() for clip in self.clips]}

    def to_table(self) -> str:
        """Return a table for people: one line an object, and the average."""
        rows: list[tuple[str, str, str, Sequence[ObjectResult]]] = [
            (
                clip.clip,
                str(result.object_id),
                "-" if result.predicted_id is None else str(result.predicted_id),
                [result],
            )
            for clip in self.clips
            for result in clip.objects
        ]
        rows.append(("mean", "", "", self.objects))
        width = max(len("clip"), *(len(row[0]) for row in rows))
        measures = ("J&F", "J", "J_recall", "J_decay", "F", "F_recall", "F_decay")
        lines = [f"{'clip':{width}} object prediction " + " ".join(f"{measure:>8}" for measure in measures)]
        for clip, object_id, predicted_id, results in rows:
            figures = _figures(results)
            values = " ".join(f"{figures[measure]:8.3f}" for measure in measures)
            lines.append(f"{clip:{width}} {object_id:>6} {predicted_id:>10} {values}")
        lines.extend(
            f"{clip.clip}: not measured, since they are not in the first frame: "
            f"{', '.join(str(object_id) for object_id in clip.left_out)}"
            for clip in self.clips
            if clip.left_out
        )
        return "\n".join(lines)


def _figures(results: Sequence[ObjectResult]) -> dict[str, float]:
    """Average every figure over objects."""
    J, F = [result.J for result in results], [result.F for result in results]

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    return {
        "J&F": (mean([j.mean for j in J]) + mean([f.mean for f in F])) / 2,
        "J": mean([j.mean for j in J]),
        "J_recall": mean([j.recall for j in J]),
        "J_decay": mean([j.decay for j in J]),
        "F": mean([f.mean for f in F]),
        "F_recall": mean([f.recall for f in F]),
        "F_decay": mean([f.decay for f in F]),
    }
