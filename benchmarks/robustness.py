"""Measures whether refinement helps masks that are wrong in one known way, and whether it leaves right ones alone.

Ground truth of real clips is damaged in five ways at three strengths; one more row refines it undamaged. See README.md
in this folder.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from davis_dev import clip_names, limit_threads
from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.events import collect_frames
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine.refinement import refine
from napari_appearrefine.engine.reuse import RunStore
from napari_appearrefine.evaluation.davis import evaluate_clip
from napari_appearrefine.files.masks import open_masks
from napari_appearrefine.files.report import write_json
from napari_appearrefine.files.video import open_video
from napari_appearrefine.training.damage import damage_clip

SHARE_OF_DAMAGED_FRAMES = 1 / 3
STRENGTHS = (0.5, 1.0, 1.5)

Damage = Callable[[np.ndarray, np.random.Generator, float], np.ndarray]


def _fault(kind: str) -> Damage:
    def damage(truth: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
        return damage_clip(truth, rng, SHARE_OF_DAMAGED_FRAMES, strength, (kind,))[0]

    return damage


def missing(truth: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Empty runs of frames, a third of them at strength 1."""
    share = min(SHARE_OF_DAMAGED_FRAMES * strength, 0.9)
    return damage_clip(truth, rng, share, 1.0, ("nothing",))[0]


def swap(truth: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Swap two ids from a frame on, for a third of the clip at strength 1; a clip with one object stays as it is."""
    ids = np.unique(truth)[1:]
    swapped = truth.copy()
    if len(ids) > 1:
        one, other = rng.choice(ids, 2, replace=False)
        length = round(min(SHARE_OF_DAMAGED_FRAMES * strength, 0.9) * len(truth))
        start = int(rng.integers(0, len(truth) - length + 1))
        part = truth[start : start + length]
        swapped[start : start + length] = np.where(part == one, other, np.where(part == other, one, part))
    return swapped


WAYS: dict[str, Damage] = {
    "halo": _fault("halo"),
    "holes": _fault("holes"),
    "drift": _fault("drift"),
    "swapped ids": swap,
    "missing frames": missing,
}


def read_clip(data: Path, name: str, step: int) -> tuple[Clip, np.ndarray]:
    """Return every ``step``-th frame of a clip, and its truth."""
    clip = open_video(data / "JPEGImages" / "480p" / name)
    source = open_masks(data / "Annotations" / "480p" / name, clip)
    frames = range(0, len(clip), step)
    truth = np.stack([np.asarray(source[frame]) for frame in frames])
    if set(np.unique(truth)) <= {0, 255}:
        truth = (truth > 0).astype(np.uint8)
    return Clip(np.stack([clip.rgb(frame) for frame in frames]), name), truth


def refined_masks(clip: Clip, masks: np.ndarray, store: RunStore) -> np.ndarray:
    refined = np.zeros_like(masks)
    collect_frames(refine(clip, masks, RefineParameters(device="cpu"), store=store), refined)
    return refined


def measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Return J before and after for every way and strength of one clip."""
    clip, truth = read_clip(given.data, name, given.step)
    store = RunStore()
    cells: dict[str, list[float]] = {}

    def put(cell: str, masks: np.ndarray) -> None:
        result = refined_masks(clip, masks, store)
        cells[cell] = [evaluate_clip(truth, each, task="semi-supervised", name=name).J for each in (masks, result)]

    put("undamaged", truth)
    for way, damage in WAYS.items():
        for strength in given.strengths:
            seed = [given.seed, zlib.crc32(name.encode()), zlib.crc32(way.encode())]
            masks = damage(truth, np.random.default_rng(seed), strength)
            if not np.array_equal(masks, truth):
                put(f"{way} {strength:g}", masks)
    return {"clip": name, "cells": cells}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/davis-dev"), help="default: %(default)s")
    parser.add_argument("--clips", nargs="+", metavar="CLIP", help="only these clips")
    parser.add_argument("--step", type=int, default=2, help="use every so many-th frame (default: %(default)s)")
    parser.add_argument("--strengths", type=float, nargs="+", default=list(STRENGTHS), help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    limit_threads(given.threads)
    try:
        clips = [measure(name, given) for name in given.clips or clip_names(given.data)]
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    rows = {}
    for cell in dict.fromkeys(cell for clip in clips for cell in clip["cells"]):
        pairs = np.array([clip["cells"][cell] for clip in clips if cell in clip["cells"]])
        rows[cell] = {"clips": len(pairs), "before": float(pairs[:, 0].mean()), "after": float(pairs[:, 1].mean())}
        print(f"{cell:20} {rows[cell]['before']:.3f} -> {rows[cell]['after']:.3f}  ({len(pairs)} clips)")
    if given.json:
        write_json(given.json, {"means": rows, "clips": clips})
    return 0


if __name__ == "__main__":
    sys.exit(main())
