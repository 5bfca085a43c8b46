"""Measures refinement of a microscope stack with hundreds of small objects: time, memory, quality, ids, gaps filled.

The stack is rendered, 16-bit grey, with exact truth; its masks are damaged and some are taken away. See README.md in
this folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from davis_dev import limit_threads
from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.events import FrameLabels
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine.refinement import refine
from napari_appearrefine.files.report import write_json
from napari_appearrefine.training.damage import damage_clip
from napari_appearrefine.training.samples import render_cells

KINDS = ("halo", "holes", "drift", "wobble")


def measure(objects: int, frames: int, size: tuple[int, int], missing: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    stack = render_cells(rng, frames, size, objects)
    masks, _ = damage_clip(stack.labels, rng, 1 / 3, 1.0, KINDS)
    gone = take_away(masks, missing, rng)
    before = mean_iou(masks, stack.labels)
    memory = psutil.Process().memory_info().rss
    refined, peak, start = np.zeros_like(masks), memory, time.perf_counter()
    for event in refine(Clip(stack.frames, "cells"), masks, RefineParameters(device="cpu")):
        if isinstance(event, FrameLabels):
            refined[event.frame] = event.labels
            peak = max(peak, psutil.Process().memory_info().rss)
    seconds = time.perf_counter() - start
    visible = [(frame, label) for frame, label in gone if np.count_nonzero(stack.labels[frame] == label) > 20]
    back = [iou(refined[frame] == label, stack.labels[frame] == label) > 0.5 for frame, label in visible]
    return {
        "objects": objects,
        "frames": frames,
        "size": list(size),
        "seconds_a_frame": seconds / frames,
        "extra_memory_mib": (peak - memory) / 2**20,
        "iou_before": before,
        "iou_after": mean_iou(refined, stack.labels),
        "taken_away": len(visible),
        "brought_back": sum(back),
        "unknown_ids": len(set(np.unique(refined)) - set(np.unique(masks))),
    }


def take_away(masks: np.ndarray, share: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Remove some objects from some frames but never all of one; return (frame, id) of each."""
    gone = []
    for frame in range(1, len(masks) - 1):
        for label in np.unique(masks[frame])[1:]:
            if rng.random() < share:
                masks[frame][masks[frame] == label] = 0
                gone.append((frame, int(label)))
    return gone


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def mean_iou(masks: np.ndarray, truth: np.ndarray) -> float:
    """Average over all objects of all frames, from one table of overlaps a frame."""
    values = []
    for labels, true in zip(masks, truth, strict=True):
        count = int(max(labels.max(), true.max())) + 1
        overlaps = np.bincount(true.ravel().astype(np.int64) * count + labels.ravel(), minlength=count**2)
        table = overlaps.reshape(count, count)
        union = table.sum(0) + table.sum(1) - table.diagonal()
        present = np.flatnonzero(table.sum(1)[1:]) + 1
        values += list(table.diagonal()[present] / union[present])
    return float(np.mean(values))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[50, 200], help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=20, help="default: %(default)s")
    parser.add_argument(
        "--size", type=int, nargs=2, default=[700, 1100], help="height and width (default: %(default)s)"
    )
    parser.add_argument("--missing", type=float, default=0.1, help="share of masks taken away (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    limit_threads(given.threads)
    rows = [measure(count, given.frames, tuple(given.size), given.missing, given.seed) for count in given.objects]
    for row in rows:
        print(
            f"{row['objects']} objects, {row['size'][0]} x {row['size'][1]}: {row['seconds_a_frame']:.2f} s a frame, "
            f"{row['extra_memory_mib']:.0f} MiB more, IoU {row['iou_before']:.3f} -> {row['iou_after']:.3f}, "
            f"{row['brought_back']} of {row['taken_away']} missing masks brought back, {row['unknown_ids']} unknown ids"
        )
    if given.json:
        write_json(given.json, {"many_objects": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
