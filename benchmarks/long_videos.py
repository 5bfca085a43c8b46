"""Measures how time and memory grow with the length of a video, on small rendered frames.

A textured square moves over textured ground. Each measurement runs in a process of its own, which holds no video:
frames are rendered when they are read. The published networks get random weights. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.parameters import FlowMaskParameters, RefineParameters
from napari_appearrefine.files.report import write_json
from speed import measured_apart, peak_memory, random_checkpoints

STAGES = ("flow masks", "refinement", "refinement, nothing kept", "published")


@dataclass(frozen=True)
class RenderedFrames:
    """A square that wanders over textured ground, no two frames alike; or its masks, every third of them bad."""

    count: int
    size: tuple[int, int]
    is_mask: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, Y, X, 3), or (T, Y, X) of masks."""
        return (self.count, *self.size) if self.is_mask else (self.count, *self.size, 3)

    @property
    def dtype(self) -> Any:
        """8 bits."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        side = min(self.size) // 3
        room = np.subtract(self.size, side)
        top, left = (room * (0.5 + 0.45 * np.sin(index * np.array([0.021, 0.034])))).astype(int)
        place = slice(top, top + side), slice(left, left + side)
        if self.is_mask:
            masks = np.zeros(self.size, np.uint8)
            masks[place] = 1
            if index % 3 == 0:
                masks[: top + side // 2] = 0
            return masks
        rng = np.random.default_rng(0)
        ground, square = rng.integers(0, 160, (*self.size, 3)), rng.integers(90, 255, (side, side, 3))
        image = cv2.blur(ground.astype(np.uint8), (3, 3))
        image[place] = cv2.blur(square.astype(np.uint8), (3, 3))
        image[0, 0] = index % 256, index // 256 % 256, index // 65536
        return image


def measure(stage: str, count: int, size: tuple[int, int], threads: int) -> dict[str, Any]:
    """Run one stage in this process; return seconds on the clock and of the processors, and peak memory."""
    import torch

    from napari_appearrefine.engine.flow_masks import flow_masks
    from napari_appearrefine.engine.refinement import refine

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    clip, masks = Clip(RenderedFrames(count, size)), RenderedFrames(count, size, is_mask=True)
    with tempfile.TemporaryDirectory() as folder:
        if stage == "flow masks":
            events = flow_masks(clip, FlowMaskParameters(device="cpu"))
        else:
            files = random_checkpoints(Path(folder)) if stage == "published" else {}
            files.pop("checkpoint", None)
            events = refine(
                clip,
                masks,
                RefineParameters(
                    model="published" if stage == "published" else "builtin",
                    device="cpu",
                    cache=stage != "refinement, nothing kept",
                    cache_dir=Path(folder) / "cache",
                    **files,
                ),
            )
        start, work = time.perf_counter(), time.process_time()
        for _ in events:
            pass
    return {
        "stage": stage,
        "frames": count,
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - work,
        "peak_memory": peak_memory(),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return one line a stage: processors' seconds and peak memory at each length, and how the two grow."""
    counts = sorted({result["frames"] for result in results})
    lines = [f"{'stage':26}" + "".join(f"{f'{count} frames':>20}" for count in counts) + "   time      memory"]
    for stage in STAGES:
        row = {result["frames"]: result for result in results if result["stage"] == stage}
        if not row:
            continue
        known = sorted(row)
        # On a busy computer the processors' work is the truer time.
        cells = [
            f"{row[count]['processor_seconds']:8.1f} s {row[count]['peak_memory'] / 2**20:5.0f} MiB" for count in known
        ]
        # What the time would grow by for every doubling, from the last two lengths.
        growth = "-"
        if len(known) > 1:
            before, last = (row[count] for count in known[-2:])
            doublings = np.log2(last["frames"] / before["frames"])
            growth = f"x {(last['processor_seconds'] / before['processor_seconds']) ** (1 / doublings):.2f}"
        memory = row[known[-1]]["peak_memory"] / row[known[0]]["peak_memory"]
        lines.append(f"{stage:26}" + "".join(f"{cell:>20}" for cell in cells) + f"   {growth:7}   x {memory:.2f}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 1600, 3200, 10000], help="default: %(default)s")
    parser.add_argument("--size", type=int, nargs=2, default=[64, 96], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES[:3]), help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: one for each CPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--one", nargs=2, metavar=("STAGE", "FRAMES"), help="measure here, print JSON")
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]), tuple(given.size), given.threads)))
        return 0
    results = []
    for stage in given.stages:
        for count in given.frames:
            command = [__file__, "--one", stage, str(count), "--size", *map(str, given.size)]
            threads = ["--threads", str(given.threads)]
            results.append(measured_apart([*command, *threads], given.threads, f"{stage}, {count} frames"))
            if given.json:
                write_json(given.json, {"size": given.size, "threads": given.threads, "results": results})
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
