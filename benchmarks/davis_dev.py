"""Measures masks before and after refinement on real clips with ground truth, laid out as DAVIS is.

The input is masks from motion, or the ground truth with a third of its frames damaged the way masks from
motion go wrong. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.events import Report, collect_frames
from napari_appearrefine.core.parameters import FlowMaskParameters, RefineParameters
from napari_appearrefine.engine.interface import RefinementModel
from napari_appearrefine.engine.refinement import refine
from napari_appearrefine.engine.selection import select_exemplars
from napari_appearrefine.evaluation.davis import evaluate_clip
from napari_appearrefine.evaluation.results import ClipResult
from napari_appearrefine.files.atomic import atomic_path
from napari_appearrefine.files.masks import MaskFolderWriter, open_masks
from napari_appearrefine.files.report import write_json
from napari_appearrefine.files.video import open_video
from napari_appearrefine.training.damage import damage_clip

SHARE_OF_DAMAGED_FRAMES = 1 / 3


@dataclass(frozen=True)
class Options:
    """What to measure, the same for all clips."""

    data: Path
    input: str
    cache: Path
    fresh: bool
    seed: int
    exemplars: int
    device: str
    save_masks: Path | None
    refine: bool = True


def clip_names(data: Path) -> list[str]:
    folder = data / "Annotations" / "480p"
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; give the folder that holds JPEGImages and Annotations with --data.")
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())


def measure_clip(name: str, options: Options, model: RefinementModel | None = None) -> dict[str, Any]:
    """Refine one clip and return its figures, ready for JSON."""
    clip = open_video(options.data / "JPEGImages" / "480p" / name)
    source = open_masks(options.data / "Annotations" / "480p" / name, clip)
    truth = np.stack([np.asarray(source[frame]) for frame in range(len(source))])
    single = set(np.unique(truth)) <= {0, 255} or int(truth.max()) == 1
    if single:
        truth = (truth > 0).astype(np.uint8)
    damaged: list[int] = []
    flow_seconds = 0.0
    if options.input == "damaged":
        rng = np.random.default_rng([options.seed, zlib.crc32(name.encode())])
        masks, frames = damage_clip(truth, rng, SHARE_OF_DAMAGED_FRAMES)
        damaged = frames.tolist()
    else:
        masks, flow_seconds = _flow_masks(name, clip, options, single)
    before = evaluate_clip(truth, masks, name=name)
    figures: dict[str, Any] = {
        "clip": name,
        "frames": len(clip),
        "single": single,
        "objects": len(before.objects),
        "flow_seconds": flow_seconds,
        "input": _means(before),
    }
    if not masks.any() or not options.refine:
        # Without a single mask there is nothing to refine: the input stands, and counts as it is.
        return figures | {"refined": figures["input"], "gain": 0.0, "refine_seconds": 0.0}
    refined, report = _refine(clip, masks, options, model)
    after = evaluate_clip(truth, refined, name=name)
    figures |= {
        "refined": _means(after),
        "gain": after.J - before.J,
        "refine_seconds": report.seconds,
        "model": report.model,
        "selection": _selection(before, report, masks, options.exemplars),
    }
    if damaged:
        figures["damaged_frames"] = damaged
        figures["on_damaged"] = [_mean_region(before, damaged), _mean_region(after, damaged)]
        intact = sorted(set(range(len(clip))) - set(damaged))
        figures["on_intact"] = [_mean_region(before, intact), _mean_region(after, intact)]
    if options.save_masks is not None:
        writer = MaskFolderWriter(options.save_masks / name, clip.frame_names, clip.size)
        for frame, labels in enumerate(refined):
            writer.write(frame, labels)
    return figures


def _flow_masks(name: str, clip: Clip, options: Options, single: bool) -> tuple[np.ndarray, float]:
    """Compute masks from motion, or read them from the cache."""
    file = options.cache / f"{name}.npz"
    if file.exists() and not options.fresh:
        with np.load(file, allow_pickle=False) as kept:
            return kept["masks"], float(kept["seconds"])
    from napari_appearrefine.engine.flow_masks import flow_masks

    parameters = FlowMaskParameters(objects=1 if single else None, device=options.device)
    start = time.perf_counter()
    masks = np.zeros((len(clip), *clip.size), np.uint8)
    try:
        collect_frames(flow_masks(clip, parameters), masks)
    except UserError as error:
        # "Nothing moves" is a result, and a bad one: it must count in the mean.
        print(error, file=sys.stderr)
    seconds = time.perf_counter() - start
    options.cache.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as beside, open(beside, "wb") as stream:
        np.savez_compressed(stream, masks=masks, seconds=seconds)
    return masks, seconds


def _refine(
    clip: Clip, masks: np.ndarray, options: Options, model: RefinementModel | None
) -> tuple[np.ndarray, Report]:
    refined = np.zeros_like(masks)
    parameters = RefineParameters(exemplars=options.exemplars, device=options.device)
    report = collect_frames(refine(clip, masks, parameters, model=model), refined)
    assert report is not None
    return refined, report


def _means(result: ClipResult) -> dict[str, float]:
    return {"J": result.J, "F": result.F, "J&F": result.JF}


def _mean_region(result: ClipResult, frames: list[int]) -> float:
    return float(np.mean([each.region[frames].mean() for each in result.objects])) if frames else float("nan")


def _selection(before: ClipResult, report: Report, masks: np.ndarray, count: int) -> dict[str, Any]:
    """Compare scores with true quality: their rank correlation, and mean J of the exemplars chosen by them.

    Likewise the estimates that the results allow of the same masks afterwards, and how far both are off.

    These are the exemplars of the first round, whose masks are those that were judged. Beside them stand the mean J of
    all frames and of the exemplars that the same rule chooses where it knows the true J.
    """
    chosen_region, best_region, region = [], [], []
    scores = np.array(report.scores)
    estimates = {"": scores, "_after": np.array(report.input_quality) if report.input_quality else scores}
    correlations: dict[str, list[float]] = {name: [] for name in estimates}
    errors: dict[str, list[float]] = {name: [] for name in estimates}
    told: dict[str, list[float]] = {"J": [], **{f"estimate{name}": [] for name in estimates}}
    for result in before.objects:
        if result.predicted_id is None:
            continue
        place = report.objects.index(result.predicted_id)
        told["J"] += result.region.tolist()
        for name, values in estimates.items():
            errors[name].append(float(np.abs(values[:, place] - result.region).mean()))
            told[f"estimate{name}"] += values[:, place].tolist()
            if np.ptp(values[:, place]) and np.ptp(result.region):
                correlations[name].append(float(spearmanr(values[:, place], result.region).statistic))
        column = scores[:, place]
        area = np.array([np.count_nonzero(frame == result.predicted_id) for frame in masks])
        for quality, found in ((column, chosen_region), (result.region, best_region)):
            (chosen,) = select_exemplars(quality[:, None], {result.predicted_id: area}, count, spread=True).values()
            found.append(float(result.region[chosen].mean()))
        region.append(float(result.region.mean()))
    named = {
        **{f"rank_correlation{name}": values for name, values in correlations.items()},
        **{f"error{name}": values for name, values in errors.items()},
        "exemplar_J": chosen_region,
        "best_exemplar_J": best_region,
        "mean_J": region,
    }
    means = {name: float(np.mean(values)) if values else float("nan") for name, values in named.items()}
    return {**means, "frames": told}


def _rank_over_all_frames(told: list[dict[str, Any]], estimate: str) -> float:
    """Return the rank correlation of estimated and true J over the frames of all clips together."""
    estimates, true = ([value for each in told for value in each["frames"][name]] for name in (estimate, "J"))
    return float(spearmanr(estimates, true).statistic)


def summary(clips: list[dict[str, Any]], damaged: bool) -> dict[str, Any]:
    """Average over clips; ``brought_back`` is the share of the J lost by damage that refinement restored."""
    result: dict[str, Any] = {
        "clips": len(clips),
        "better": sum(clip["gain"] > 0 for clip in clips),
        "gain": float(np.mean([clip["gain"] for clip in clips])),
    }
    for stage in ("input", "refined"):
        result[stage] = {measure: float(np.mean([clip[stage][measure] for clip in clips])) for measure in ("J", "F")}
    told = [clip["selection"] for clip in clips if "selection" in clip]
    if told:
        names = [name for name in told[0] if name != "frames"]
        result["selection"] = {name: float(np.nanmean([each[name] for each in told])) for name in names}
        for name in ("", "_after"):
            result["selection"][f"rank_over_all{name}"] = _rank_over_all_frames(told, f"estimate{name}")
    if damaged:
        lost = 1.0 - result["input"]["J"]
        result["brought_back"] = result["gain"] / lost if lost else float("nan")
    return result


def table(clips: list[dict[str, Any]], damaged: bool) -> str:
    """Return the figures of all clips and their means for people to read."""
    width = max(len(clip["clip"]) for clip in clips)
    head = f"{'clip':{width}}  J in   J out  gain   F in   F out  rank  after  J all  J ex.  J best  s/frame"
    lines = [head + ("  J bad frames  J good frames" if damaged else "")]
    for clip in clips:
        selection, before, after = clip.get("selection", {}), clip["input"], clip["refined"]
        line = (
            f"{clip['clip']:{width}}  {before['J']:.3f}  {after['J']:.3f}  {100 * clip['gain']:+5.1f}  "
            f"{before['F']:.3f}  {after['F']:.3f}  {selection.get('rank_correlation', np.nan):+.2f}  "
            f"{selection.get('rank_correlation_after', np.nan):+.2f}  "
            f"{selection.get('mean_J', np.nan):.3f}  {selection.get('exemplar_J', np.nan):.3f}   "
            f"{selection.get('best_exemplar_J', np.nan):.3f}  {clip['refine_seconds'] / clip['frames']:.3f}"
        )
        if "on_damaged" in clip:
            bad, good = clip["on_damaged"], clip["on_intact"]
            line += f"    {bad[0]:.3f} {bad[1]:.3f}    {good[0]:.3f} {good[1]:.3f}"
        lines.append(line)
    for single, title in ((True, "single-object clips"), (False, "clips with several objects")):
        chosen = [clip for clip in clips if clip["single"] == single]
        if chosen:
            mean = summary(chosen, damaged)
            line = (
                f"{mean['clips']} {title}: J {mean['input']['J']:.3f} -> {mean['refined']['J']:.3f} "
                f"({100 * mean['gain']:+.1f}), F {mean['input']['F']:.3f} -> {mean['refined']['F']:.3f}, "
                f"better than the input on {mean['better']} of {mean['clips']}"
            )
            lines.append(line + (f", {100 * mean['brought_back']:.0f} % of lost J brought back" if damaged else ""))
            if told := mean.get("selection"):
                lines.append(
                    "  estimated J of the input: "
                    + "; afterwards ".join(_estimates(told, name) for name in ("", "_after"))
                )
    return "\n".join(lines)


def _estimates(told: dict[str, float], name: str) -> str:
    return (
        f"rank correlation {told[f'rank_correlation{name}']:.2f} within clips, {told[f'rank_over_all{name}']:.2f} over "
        f"all frames, off by {told[f'error{name}']:.3f}"
    )


def limit_threads(threads: int) -> None:
    """Let the numerical libraries of this process take this many threads."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/davis-dev"), help="default: %(default)s")
    parser.add_argument("--input", choices=("flow", "damaged"), default="flow", help="masks to refine (default: flow)")
    parser.add_argument("--clips", nargs="+", metavar="CLIP", help="only these clips")
    parser.add_argument("--cache", type=Path, default=Path("runs/davis-dev-flow-masks"), help="folder of flow masks")
    parser.add_argument("--fresh", action="store_true", help="compute flow masks again although they are in the cache")
    parser.add_argument("--exemplars", type=int, default=10, help="exemplar frames an object (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default: 0)")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or mps (default: cpu)")
    parser.add_argument("--jobs", type=int, default=1, help="clips at a time (default: 1)")
    parser.add_argument("--threads", type=int, default=0, help="threads of each job (default: CPUs / jobs)")
    parser.add_argument("--save-masks", type=Path, metavar="DIR", help="write the refined masks here, a folder a clip")
    parser.add_argument("--no-refinement", action="store_true", help="measure the input masks alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    given = parser.parse_args(arguments)
    options = Options(
        data=given.data,
        input=given.input,
        cache=given.cache,
        fresh=given.fresh,
        seed=given.seed,
        exemplars=given.exemplars,
        device=given.device,
        save_masks=given.save_masks,
        refine=not given.no_refinement,
    )
    threads = given.threads or max((os.cpu_count() or 1) // given.jobs, 1)
    try:
        names = clip_names(options.data)
        unknown = [name for name in given.clips or [] if name not in names]
        if unknown:
            raise UserError(f"{options.data} has no clip {unknown[0]!r}; it has {', '.join(names)}.")
        clips = _measure(given.clips or names, options, given.jobs, threads)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    damaged = options.input == "damaged"
    print(table(clips, damaged))
    if given.json:
        means = {
            title: summary(chosen, damaged)
            for title, single in (("single", True), ("several", False))
            if (chosen := [clip for clip in clips if clip["single"] == single])
        }
        write_json(given.json, {"input": options.input, "seed": options.seed, "means": means, "clips": clips})
    return 0


def _measure(names: list[str], options: Options, jobs: int, threads: int) -> list[dict[str, Any]]:
    clips = []
    if jobs == 1:
        limit_threads(threads)
        for name in names:
            clips.append(measure_clip(name, options))
            print(f"{name} done", file=sys.stderr)
        return clips
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, limit_threads, (threads,)) as pool:
        for figures in pool.map(measure_clip, names, [options] * len(names)):
            clips.append(figures)
            print(f"{figures['clip']} done", file=sys.stderr)
    return clips


if __name__ == "__main__":
    sys.exit(main())
