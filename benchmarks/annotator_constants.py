"""Measures on rendered scenes what the constants of the annotator's loop should be; no real clip is looked at.

Every scene has masks with faults that most frames share: from motion, or holes, a halo, background or another object
taken along in all frames, and a third of the frames damaged in ways of their own besides. See README.md in this folder.

How the constants were chosen:

- What truth carried along the motion has to say (``engine.propagation``): 8 rather than 16, on scenes 0 to 4 of 32
  frames, ``--say 8 16``: J 0.883 against 0.868 after one correction, 0.905 against 0.890 after three.
- How far a correction helps (``core.suggestion``): least squares over 1366 frames and objects of scenes 0 to 5, 7 and
  9 of 40 frames, each with a correction at three places: reach 32, 0.7 without motion, error 0.323; an estimate is 0.27
  too good on the mean. With the earlier constants, 16 and 0.3, a correction was expected to help less far than it does.
- From which agreement with the truth an exemplar may teach beside it (``engine.builtin``), 0.85: with faults that all
  masks share, exemplars of true J 0.51 to 0.67 agree to 0.57 to 0.84, with faults of single frames those of J 0.88 and
  more mostly to 0.89 and more. 0.92 is no better where single frames are damaged (J 0.854 after one correction both
  times), a little with holes in all masks (0.947, not 0.941), and leaves less of an earlier run valid.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from napari_appearrefine.core import suggestion
from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.events import Report, collect_frames, run_to_end
from napari_appearrefine.core.guidance import Guidance, MasksWithTruth
from napari_appearrefine.core.parameters import FlowMaskParameters, RefineParameters
from napari_appearrefine.engine import propagation
from napari_appearrefine.engine.flow_masks import flow_masks
from napari_appearrefine.engine.followability import motion_links
from napari_appearrefine.engine.refinement import load_model, refine
from napari_appearrefine.engine.reuse import RunStore
from napari_appearrefine.evaluation.simulation import matched_ids
from napari_appearrefine.files.report import write_json
from napari_appearrefine.training.damage import LASTING, damage_clip, damage_throughout
from napari_appearrefine.training.photos import PhotoLibrary
from napari_appearrefine.training.scenes import SceneOptions, render_scene

SEED = 901
KINDS = ("motion", "company", *LASTING)
REACHES = (4, 8, 12, 16, 24, 32, 48, 64, 96)
SHARES = tuple(np.round(np.arange(0, 1.01, 0.1), 1).tolist())
LEAST_LOST = 0.05


@dataclass(frozen=True)
class Task:
    """A clip, its true masks (T, Y, X) and rough ones."""

    kind: str
    clip: Clip
    truth: np.ndarray
    rough: np.ndarray


def make_task(library: PhotoLibrary, index: int, frames: int) -> Task:
    """Render a scene, slow or fast, and masks with faults of the kind that is its turn."""
    kind = KINDS[index % len(KINDS)]
    objects, speed = ((2, 2) if kind == "company" else (1, 2)), (1.0, 2.5)[index // 2 % 2]
    options = SceneOptions(frames=frames, size=(240, 432), objects=objects, speed=speed, extents=(0.2, 0.8))
    rng = np.random.default_rng([SEED, index])
    while True:
        scene = render_scene(library, rng, options)
        ids = [int(key) for key in scene.order]
        seen = [np.count_nonzero(scene.labels == key, axis=(1, 2)) for key in ids]
        if all((area > 0).mean() > 0.7 and area.mean() > 600 for area in seen):
            break
    clip, truth = Clip(scene.frames, f"scene {index}"), scene.labels
    if kind == "motion":
        rough = np.zeros_like(truth)
        collect_frames(flow_masks(clip, FlowMaskParameters(objects=len(ids))), rough)
    else:
        if kind == "company":
            rough, truth = (truth > 0).astype(np.uint8), (truth == ids[0]).astype(np.uint8)
        else:
            rough = damage_throughout(truth, rng, [kind])
        rough, _ = damage_clip(rough, rng, 1 / 3, 0.7)
    return Task(kind, clip, truth, matched_ids(rough.astype(np.uint16), truth.astype(np.uint16)).astype(np.uint8))


class Annotator:
    """Corrects frames of a task, and keeps what runs of it computed."""

    def __init__(self, task: Task, parameters: RefineParameters, model: Any) -> None:
        self.task, self._parameters, self._model, self.store = task, parameters, model, RunStore()
        self.ids = [int(key) for key in np.unique(task.truth) if key]

    def run(self, corrected: list[int]) -> tuple[np.ndarray, Report]:
        """Return the labels after these frames were replaced by the truth."""
        task, drawn = self.task, self.task.rough.copy()
        drawn[corrected] = task.truth[corrected]
        every = {*self.ids, *(int(key) for key in np.unique(task.rough) if key)}
        guidance = Guidance(truth={key: frozenset(corrected) for key in every})
        result = np.zeros_like(drawn)
        masks = MasksWithTruth(task.rough, drawn, guidance)
        events = refine(task.clip, masks, self._parameters, model=self._model, guidance=guidance, store=self.store)
        report = collect_frames(events, result)
        assert report is not None
        return result, report

    def region(self, result: np.ndarray) -> np.ndarray:
        """Return J of each frame and true object, (T, Q)."""
        return np.array(
            [
                [_iou(truth == key, found == key) for key in self.ids]
                for truth, found in zip(self.task.truth, result, strict=True)
            ]
        )


@dataclass(frozen=True)
class Helped:
    """How much of what one frame lacked came back after another was corrected, and what may explain it."""

    regained: float
    lost: float
    distance: int
    followed: float


def helped(annotator: Annotator, places: int) -> tuple[list[Helped], list[float]]:
    """Correct single frames, and return what that did to all others, and how far quality was overestimated."""
    frames = len(annotator.task.clip)
    result, report = annotator.run([])
    before = annotator.region(result)
    links = run_to_end(motion_links(annotator.task.clip, result, annotator.ids, annotator.store))
    quality = np.array(report.quality)[:, [report.objects.index(key) for key in annotator.ids if key in report.objects]]
    over = (quality - before).ravel().tolist() if quality.shape == before.shape else []
    found = []
    for place in range(places):
        corrected = int((place + 0.5) * frames / places)
        after = annotator.region(annotator.run([corrected])[0])
        for slot, key in enumerate(annotator.ids):
            for frame in range(frames):
                lost = 1 - before[frame, slot]
                if frame != corrected and lost > LEAST_LOST:
                    between = links[key][min(frame, corrected) : max(frame, corrected)]
                    regained = float(np.clip((after[frame, slot] - before[frame, slot]) / lost, -1, 1))
                    found.append(Helped(regained, lost, abs(frame - corrected), float(np.prod(between))))
    return found, over


def best_fit(found: list[Helped]) -> list[tuple[float, int, float]]:
    """Return (error, reach, share without motion), the best first; every frame counts as much as it lacked."""
    regained, lost, distance, followed = (
        np.array([getattr(each, name) for each in found]) for name in ("regained", "lost", "distance", "followed")
    )
    fits = []
    for reach, share in itertools.product(REACHES, SHARES):
        expected = np.exp(-distance / reach) * (share + (1 - share) * followed**2)
        fits.append((float(np.sqrt(np.average((regained - expected) ** 2, weights=lost))), reach, share))
    return sorted(fits)


def carried(annotator: Annotator, settings: list[tuple[float, float]]) -> Iterator[list[float]]:
    """Yield the mean J after one and after three corrections for each setting of what carried truth has to say."""
    frames = len(annotator.task.clip)
    for say, pixels in settings:
        propagation._SAY, propagation._PIXELS = say, pixels
        few = [[frames // 2], [frames // 6, frames // 2, 5 * frames // 6]]
        yield [float(annotator.region(annotator.run(corrected)[0]).mean()) for corrected in few]


@dataclass
class Measured:
    """What was found on all scenes so far."""

    settings: list[tuple[float, float]]
    found: list[Helped] = field(default_factory=list)
    over: list[float] = field(default_factory=list)
    regions: list[list[list[float]]] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return the figures, ready for JSON."""
        figures: dict[str, Any] = {"scenes": len(self.regions)}
        if len(self.settings) > 1:
            means = np.mean(self.regions, axis=0).tolist()
            figures["carried"] = [
                {"say": say, "pixels": pixels, "J": values}
                for (say, pixels), values in zip(self.settings, means, strict=True)
            ]
        if self.found:
            fits = best_fit(self.found)
            now = (suggestion._REACH, suggestion._WITHOUT_MOTION)
            figures["help"] = {
                **dict(zip(("error", "reach", "without_motion"), fits[0], strict=True)),
                "error_as_it_is": next((fit[0] for fit in fits if fit[1:] == now), None),
                "doubt": float(np.mean(self.over)),
            }
        return figures

    def lines(self) -> list[str]:
        """Return the figures for people."""
        figures = self.figures()
        lines = [
            f"say {each['say']:g}, {each['pixels']:g} pixels: J {each['J'][0]:.3f} after one correction, "
            f"{each['J'][1]:.3f} after three"
            for each in figures.get("carried", [])
        ]
        return lines + [f"help: {name} {value:.3g}" for name, value in figures.get("help", {}).items()]


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"), help="default: %(default)s")
    parser.add_argument("--scenes", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=48, help="of a scene (default: %(default)s)")
    parser.add_argument("--places", type=int, default=3, help="frames corrected one at a time (default: %(default)s)")
    parser.add_argument("--say", type=float, nargs="+", default=[4, 8, 16], help="log-odds to try (default: 4 8 16)")
    parser.add_argument("--pixels", type=float, nargs="+", default=[1, 2], help="misses to try (default: 1 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    parameters = RefineParameters(device="cpu")
    model, library = load_model(parameters), PhotoLibrary.open(given.photos)
    settings = list(itertools.product(given.say, given.pixels))
    measured, figures = Measured(settings), {}
    for index in range(given.scenes):
        task = make_task(library, index, given.frames)
        if not task.rough.any():
            continue
        annotator = Annotator(task, parameters, model)
        if given.places:
            found, over = helped(annotator, given.places)
            measured.found += found
            measured.over += over
        measured.regions.append(list(carried(annotator, settings)) if len(settings) > 1 else [])
        figures = measured.figures()
        print(f"after scene {index} ({task.kind}):", *measured.lines(), sep="\n", flush=True)
        if given.json:
            write_json(given.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
