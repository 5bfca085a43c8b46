"""Correction in rounds: what one round repaired teaches the next, until little changes."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.events import FrameLabels, Progress
from ..core.guidance import keep_settled
from ..core.labels import label_dtype
from .interface import ClipInputs, RefinementModel
from .selection import select_exemplars, with_true_scores
from .spool import Spool

_SETTLED = 0.005


@dataclass(frozen=True)
class Outcome:
    """What the rounds came to.

    Parameters
    ----------
    exemplars : dict of int to list of int
        Object id to the frames that taught the last round.
    quality : ndarray
        (T, Q) estimated IoU of the results, NaN where nothing is known.
    rounds : int
        How many there were.
    """

    exemplars: dict[int, list[int]]
    quality: np.ndarray
    rounds: int


def correct_in_rounds(
    model: RefinementModel, inputs: ClipInputs, scores: np.ndarray, exemplars: int, rounds: int
) -> Generator[Progress | FrameLabels, None, Outcome]:
    """Choose exemplars and correct every frame, then again from what came out.

    The next round judges masks by how far the last one was sure of them. The rounds end when fewer
    than 0.5 % of the objects' pixels changed, or after ``rounds``. A frame's labels are given once,
    those of the last round.

    Parameters
    ----------
    model : RefinementModel
        Corrects.
    inputs : ClipInputs
        The clip, its masks and what a person decided.
    scores : ndarray
        (T, Q) estimated quality of the masks, before a person made some of them true.
    exemplars, rounds : int
        At most so many.

    Raises
    ------
    UserError
        If a person banned all frames of an object as exemplars.
    """
    given = inputs
    for number in range(1, rounds + 1):
        chosen = select_exemplars(scores, inputs.areas, exemplars, model.spreads_exemplars, inputs.guidance)
        if number == 1:
            _check_exemplars(chosen)
        stage = "Correcting frames" if rounds == 1 else f"Correcting frames (round {number} of at most {rounds})"
        quality = np.full(scores.shape, np.nan)
        kept = KeptLabels((len(inputs.clip), *inputs.clip.size), np.dtype(label_dtype(inputs.object_ids)))
        changed, done = _Change(), 0
        yield Progress(stage, 0, len(inputs.clip))
        weighed = with_true_scores(scores, inputs.object_ids, inputs.guidance)
        for event in model.correct(inputs, weighed, chosen):
            if isinstance(event, Progress):
                yield event
                continue
            result = _settled(event, given)
            quality[result.frame] = [result.quality.get(object_id, np.nan) for object_id in inputs.areas]
            if number < rounds:
                changed.add(inputs.labels(result.frame), result.labels)
                kept.put(result)
            else:
                yield result
            done += 1
            yield Progress(stage, done, len(inputs.clip))
        if number == rounds:
            break
        if changed.share < _SETTLED:
            yield from kept.results()
            break
        inputs = replace(inputs, masks=kept, areas={key: kept.areas(key) for key in inputs.areas})
        scores = np.nan_to_num(quality).astype(np.float32)
    return Outcome(chosen, quality, number)


@dataclass
class _Change:
    """How many pixels of objects a round changed."""

    pixels: int = 0
    changed: int = 0

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        self.pixels += int(np.count_nonzero(before) + np.count_nonzero(after))
        self.changed += 2 * int(np.count_nonzero(before != after))

    @property
    def share(self) -> float:
        return self.changed / max(self.pixels, 1)


@dataclass
class KeptLabels:
    """Labels of a whole clip, put aside.

    Parameters
    ----------
    shape : tuple of int
        (T, Y, X).
    dtype : dtype
        Of the labels.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _planes: Spool = field(default_factory=Spool)
    _frames: dict[int, tuple[int, dict[int, float], dict[int, int]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frame: int) -> np.ndarray:
        """Return the (Y, X) labels of a frame."""
        return self._planes[self._frames[frame][0]]

    def put(self, result: FrameLabels) -> None:
        """Keep the labels of a frame."""
        counts = np.bincount(result.labels.ravel())
        areas = {int(key): int(counts[key]) for key in np.flatnonzero(counts)}
        self._frames[result.frame] = len(self._planes), dict(result.quality), areas
        self._planes.append(result.labels.astype(self.dtype))

    def areas(self, object_id: int) -> np.ndarray:
        """Return the (T,) areas of an object in pixels."""
        return np.array([self._frames[frame][2].get(object_id, 0) for frame in range(len(self))], np.int64)

    def results(self) -> Iterator[FrameLabels]:
        """Give what was kept, frame by frame."""
        for frame, (place, quality, _) in sorted(self._frames.items()):
            yield FrameLabels(frame, self._planes[place], quality)


def _check_exemplars(chosen: dict[int, list[int]]) -> None:
    for object_id, frames in chosen.items():
        if not frames:
            raise UserError(
                f"All frames with object {object_id} are banned as exemplars; allow at least one, or pin a good one."
            )


def _settled(result: FrameLabels, inputs: ClipInputs) -> FrameLabels:
    """Put back what must not change; the one place where this is enforced, for whatever model."""
    settled = inputs.guidance.settled(result.frame)
    if not settled:
        return result
    quality = {key: value for key, value in result.quality.items() if key not in settled}
    quality |= {key: 1.0 for key, frames in inputs.guidance.truth.items() if result.frame in frames}
    return FrameLabels(result.frame, keep_settled(result.labels, inputs.labels(result.frame), settled), quality)
