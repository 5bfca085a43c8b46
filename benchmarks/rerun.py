"""Measures how much of the first run's time a run takes after one frame was corrected, and that it gives the same.

The clip is the included sample, played forth and back to the wanted length with a brightness that drifts, so that
no two frames are alike. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from napari_appearrefine.core.clip import Clip, FrameSource
from napari_appearrefine.core.events import collect_frames
from napari_appearrefine.core.guidance import Guidance, MasksWithTruth
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine.interface import RefinementModel
from napari_appearrefine.engine.refinement import load_model, refine
from napari_appearrefine.engine.reuse import RunStore
from napari_appearrefine.files.report import write_json
from speed import sample


@dataclass(frozen=True)
class DriftingFrames:
    """Frames of another source that grow slowly brighter."""

    frames: Clip

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the other source."""
        return self.frames.shape

    @property
    def dtype(self) -> Any:
        """8 bits."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return cv2.convertScaleAbs(self.frames.raw(index), alpha=0.8 + 0.2 * index / len(self))


def timed_run(
    clip: Clip,
    masks: FrameSource,
    guidance: Guidance,
    model: RefinementModel,
    store: RunStore | None,
    parameters: RefineParameters,
) -> tuple[float, float, np.ndarray]:
    """Return seconds on the clock, seconds of processors' work, and the labels."""
    start, work = time.perf_counter(), time.process_time()
    result = np.zeros((len(clip), *clip.size), np.uint8)
    collect_frames(refine(clip, masks, parameters, model=model, guidance=guidance, store=store), result)
    return time.perf_counter() - start, time.process_time() - work, result


def measure(
    count: int, size: tuple[int, int], corrected: list[int], parameters: RefineParameters, compare: bool
) -> dict[str, Any]:
    """Run once, correct one frame after the other and run again; return times and what was computed."""
    looped, masks = sample(count, size)
    clip = Clip(DriftingFrames(looped))
    rough = np.stack([masks[frame] for frame in range(count)])
    model = load_model(parameters)
    store = RunStore()
    runs: list[dict[str, Any]] = []
    drawn = rough.copy()
    for number in range(len(corrected) + 1):
        for frame in corrected[number - 1 : number] if number else []:
            drawn[frame] = cv2.dilate(drawn[frame], np.ones((5, 5), np.uint8))
        truth = frozenset(corrected[:number])
        guidance = Guidance(truth=dict.fromkeys((1, 2), truth))
        seconds, work, result = timed_run(
            clip, MasksWithTruth(rough, drawn, guidance), guidance, model, store, parameters
        )
        figures = {
            "corrected": sorted(truth),
            "seconds": seconds,
            "share": seconds / (runs[0]["seconds"] if runs else seconds),
            "processor_seconds": work,
            "share_of_work": work / (runs[0]["processor_seconds"] if runs else work),
            "computed": dict(store.computed),
        }
        if compare and number:
            nothing_kept = replace(parameters, cache=False)
            _, _, full = timed_run(clip, MasksWithTruth(rough, drawn, guidance), guidance, model, None, nothing_kept)
            figures["same_as_a_full_run"] = bool(np.array_equal(full, result))
        runs.append(figures)
    return {"frames": count, "size": list(size), "device": parameters.device, "rounds": parameters.rounds, "runs": runs}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100, help="default: 100")
    parser.add_argument("--size", type=int, nargs=2, default=[480, 854], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--corrected", type=int, nargs="+", default=[50, 20, 80], help="one a run (default: 50 20 80)")
    parser.add_argument("--rounds", type=int, default=RefineParameters.rounds, help="of a run (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or mps (default: cpu)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: one for each CPU")
    parser.add_argument("--compare", action="store_true", help="also make each run without what was kept, and compare")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    given = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        # Of its own: what an earlier measurement left on disk would make the first run a short one.
        parameters = RefineParameters(device=given.device, rounds=given.rounds, cache_dir=Path(folder))
        figures = measure(given.frames, tuple(given.size), given.corrected, parameters, given.compare)
    # On a busy computer the share of the processors' work is the truer one.
    verdicts = {True: ", same as a full run", False: ", NOT the same as a full run", None: ""}
    for run in figures["runs"]:
        computed = ", ".join(f"{count} {kind}" for kind, count in run["computed"].items())
        shares = f"{100 * run['share']:.0f} % ({100 * run['share_of_work']:.0f} % of the work)"
        line = f"corrected {run['corrected']}: {run['seconds']:.1f} s, {shares}"
        print(f"{line}{verdicts[run.get('same_as_a_full_run')]}; computed {computed}")
    if given.json:
        write_json(given.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
