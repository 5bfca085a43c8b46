"""Measures what each correction brings: a simulated annotator on real clips, from masks from motion.

Clips are laid out as DAVIS is. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from davis_dev import clip_names, limit_threads
from napari_appearrefine.cli.simulation import remembering_engine, run_simulation
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.evaluation.simulation import POLICIES
from napari_appearrefine.files.report import write_json
from robustness import read_clip


def measure_clip(
    name: str, data: Path, cache: Path, policies: list[str], rounds: int, device: str, step: int
) -> dict[str, Any]:
    """Simulate all policies on every ``step``-th frame of one clip and return their figures, ready for JSON."""
    clip, truth = read_clip(data, name, step)
    file = cache / f"{name}.npz"
    if not file.exists():
        raise UserError(f"{file} is missing; run davis_dev.py first, which keeps masks from motion there.")
    with np.load(file, allow_pickle=False) as kept:
        masks = kept["masks"][::step]
    refine, follow = remembering_engine(RefineParameters(device=device))
    results = [run_simulation(clip, masks, truth, refine, policy, rounds, follow=follow) for policy in policies]
    return {"clip": name, "frames": len(clip), "policies": [each.to_json() for each in results]}


def table(clips: list[dict[str, Any]]) -> str:
    """Return J by number of corrected frames for each clip and policy, and the means over several clips."""
    width = max(len("mean"), *(len(clip["clip"]) for clip in clips))
    lines = []
    for clip in clips:
        for figures in clip["policies"]:
            lines.append(_line(clip["clip"], width, figures["policy"], figures["J"], figures["area_under_J"]))
    for place, figures in enumerate(clips[0]["policies"] if len(clips) > 1 else ()):
        values = np.mean([clip["policies"][place]["J"] for clip in clips], axis=0).tolist()
        area = float(np.mean([clip["policies"][place]["area_under_J"] for clip in clips]))
        lines.append(_line("mean", width, figures["policy"], values, area))
    return "\n".join(lines)


def _line(name: str, width: int, policy: str, values: list[float], area: float) -> str:
    return f"{name:{width}}  {policy:9}  " + "  ".join(f"{value:.3f}" for value in values) + f"   area {area:.3f}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/davis-dev"), help="default: %(default)s")
    parser.add_argument("--cache", type=Path, default=Path("runs/davis-dev-flow-masks"), help="folder of flow masks")
    parser.add_argument("--clips", nargs="+", metavar="CLIP", help="only these clips")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=["suggested", "uniform", "random"])
    parser.add_argument("--rounds", type=int, default=3, help="corrected frames (default: 3)")
    parser.add_argument("--step", type=int, default=1, help="use every so many-th frame (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or mps (default: cpu)")
    parser.add_argument("--jobs", type=int, default=1, help="clips at a time (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    given = parser.parse_args(arguments)
    threads = max((os.cpu_count() or 1) // given.jobs, 1)
    try:
        names = given.clips or clip_names(given.data)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(given.jobs, context, limit_threads, (threads,)) as pool:
            tasks = [
                pool.submit(
                    measure_clip,
                    name,
                    given.data,
                    given.cache,
                    given.policies,
                    given.rounds,
                    given.device,
                    given.step,
                )
                for name in names
            ]
            clips = []
            for task in tasks:
                clips.append(task.result())
                print(table(clips[-1:]), file=sys.stderr, flush=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(clips))
    if given.json:
        write_json(given.json, {"rounds": given.rounds, "step": given.step, "clips": clips})
    return 0


if __name__ == "__main__":
    sys.exit(main())
