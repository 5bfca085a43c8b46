"""Measures seconds a frame and peak memory of every stage, for clips of growing length and both kinds of model.

Each measurement runs in a process of its own. The clip is the included sample, played forth and back
to the wanted length. The published networks get random weights: speed does not depend on their values.
A second table compares what the networks compute in a second with the fastest matrix product of this
machine. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.events import Event, Progress, Report
from napari_appearrefine.core.parameters import FlowMaskParameters, RefineParameters
from napari_appearrefine.files.report import write_json

FRAMES_TO_COUNT = 14
PEAK_SIDE = 2048
RUNS = (("flow masks", "builtin"), ("flow masks", "oclr"), ("refinement", "builtin"), ("refinement", "published"))


@dataclass(frozen=True)
class LoopedFrames:
    """The frames of a short array played forth and back, resized when read; labels keep their values.

    A pixel of each image tells its number, so that none is taken for another that was computed before.
    """

    frames: np.ndarray
    count: int
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, Y, X) or (T, Y, X, 3)."""
        return (self.count, *self.size, *self.frames.shape[3:])

    @property
    def dtype(self) -> Any:
        """That of the frames."""
        return self.frames.dtype

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        period = max(2 * len(self.frames) - 2, 1)
        place = index % period
        frame = self.frames[min(place, period - place)]
        if frame.ndim == 2:
            return cv2.resize(frame, self.size[::-1], interpolation=cv2.INTER_NEAREST)
        image = cv2.resize(frame, self.size[::-1], interpolation=cv2.INTER_LINEAR)
        image[0, 0] = index % 256, index // 256, 0
        return image


def sample(count: int, size: tuple[int, int]) -> tuple[Clip, LoopedFrames]:
    """Return the sample clip at a length and size, and its masks with a third of the frames damaged."""
    from napari_appearrefine.files.samples import open_sample
    from napari_appearrefine.training.damage import damage_clip

    clip, truth = open_sample("crossing")
    frames = np.stack([clip.rgb(frame) for frame in range(min(len(clip), count))])
    labels = np.stack([np.asarray(truth[frame]) for frame in range(len(frames))])
    masks, _ = damage_clip(labels.astype(np.uint8), np.random.default_rng(0))
    return Clip(LoopedFrames(frames, count, size)), LoopedFrames(masks, count, size)


def random_checkpoints(folder: Path) -> dict[str, Path]:
    """Write checkpoints of all published networks with random weights, scaled so that activations stay finite."""
    from safetensors.numpy import save_file

    from napari_appearrefine.engine import checkpoints

    networks = {
        "selector_checkpoint": checkpoints.SELECTOR,
        "corrector_checkpoint": checkpoints.CORRECTOR,
        "dino8": checkpoints.DINO8,
        "dino16": checkpoints.DINO16,
        "checkpoint": checkpoints.OCLR,
    }
    rng = np.random.default_rng(0)
    files = {}
    for name, network in networks.items():
        weights = {
            parameter: (rng.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 1))).astype(np.float32)
            for parameter, shape in checkpoints.parameter_shapes(network).items()
        }
        files[name] = folder / f"{name}.safetensors"
        save_file(weights, files[name])
    return files


def peak_memory() -> int:
    """Return the most memory this process has held so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def measure(run: str, model: str, count: int, size: tuple[int, int], threads: int, device: str) -> dict[str, Any]:
    """Run one job in this process; return seconds a frame and peak memory of its stages, and the networks' work."""
    import torch

    from napari_appearrefine.engine.flow_masks import flow_masks
    from napari_appearrefine.engine.refinement import load_model, refine

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    clip, masks = sample(count, size)
    short, short_masks = sample(min(count, FRAMES_TO_COUNT), size)
    with tempfile.TemporaryDirectory() as folder:
        files = {} if model == "builtin" else random_checkpoints(Path(folder))
        before = peak_memory()
        if run == "flow masks":
            parameters = FlowMaskParameters(model=model, device=device, checkpoint=files.get("checkpoint"))
            stages = _timed(flow_masks(clip, parameters), {"": run}, count)
            operations = _operations(flow_masks(short, parameters), len(short))
        else:
            files.pop("checkpoint", None)
            settings = RefineParameters(model=model, device=device, cache_dir=Path(folder) / "cache", **files)
            loaded = load_model(settings)
            names = {"": "selection", "Correcting frames": "correction"}
            stages = _timed(refine(clip, masks, settings, model=loaded), names, count)
            again = {"": "selection, 2nd run", "Correcting frames": "correction, 2nd run"}
            stages |= _timed(refine(clip, masks, settings, model=loaded), again, count)
            nothing_kept = replace(settings, cache=False)
            operations = _operations(refine(short, short_masks, nothing_kept, model=loaded), len(short))
    return {
        "run": run,
        "model": model,
        "frames": count,
        "memory_before": before,
        "stages": stages,
        "operations_a_frame": operations,
        "peak_operations": peak_operations(device),
    }


def _operations(events: Any, count: int) -> float:
    """Return the multiplications and additions a frame of the networks in a run."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        for _ in events:
            pass
    return counter.get_total_flops() / count


def peak_operations(device: str) -> float:
    """Return the operations a second of a large float32 matrix product here, the best of several."""
    import torch

    from napari_appearrefine.engine.device import pick_device

    left, right = torch.rand(2, PEAK_SIDE, PEAK_SIDE, device=pick_device(device))
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        float((left @ right)[0, 0])
        best = min(best, time.perf_counter() - start)
    return 2 * PEAK_SIDE**3 / best


def _timed(events: Any, names: dict[str, str], count: int) -> dict[str, dict[str, float]]:
    """Split a run where the progress first has a title that begins as a named stage does, in whatever round."""
    stage, start = names[""], _Start()
    stages: dict[str, dict[str, float]] = {}
    event: Event | None = None
    for event in events:
        if not isinstance(event, Progress):
            continue
        following = next((name for title, name in names.items() if title and event.stage.startswith(title)), stage)
        if following != stage:
            stages[stage] = _figures(start, count)
            stage, start = following, _Start()
    stages[stage] = _figures(start, count)
    if not isinstance(event, Report):
        raise RuntimeError("the run gave no report at its end")
    return stages


@dataclass(frozen=True)
class _Start:
    """When something began, on the clock and by the processors' work."""

    seconds: float = field(default_factory=time.perf_counter)
    work: float = field(default_factory=time.process_time)


def _figures(start: _Start, count: int) -> dict[str, float]:
    return {
        "seconds_a_frame": (time.perf_counter() - start.seconds) / count,
        "processor_seconds_a_frame": (time.process_time() - start.work) / count,
        "peak_memory": peak_memory(),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return one line a stage and model, and for each length seconds a frame, those of the processors, and memory."""
    counts = sorted({result["frames"] for result in results})
    cells: dict[tuple[str, str], dict[int, str]] = {}
    for result in results:
        for stage, figures in result["stages"].items():
            cells.setdefault((stage, result["model"]), {})[result["frames"]] = (
                f"{figures['seconds_a_frame']:.3f} s ({figures['processor_seconds_a_frame']:.3f})"
                f"{figures['peak_memory'] / 2**20:6.0f} MiB"
            )
    lines = [f"{'stage':20} {'model':10}" + "".join(f"{f'{count} frames':>30}" for count in counts)]
    for (stage, model), row in cells.items():
        lines.append(f"{stage:20} {model:10}" + "".join(f"{row.get(count, '-'):>30}" for count in counts))
    return "\n".join(lines)


def roofline(results: list[dict[str, Any]]) -> str:
    """Return one line a run: what its networks compute, and which share of the machine's peak that reaches."""
    lines = [f"{'run':12} {'model':10} {'frames':>6} {'GFLOP/frame':>12} {'GFLOP/s':>8} {'peak':>8} {'share':>6}"]
    for result in results:
        reached, peak = operations_a_second(result), result["peak_operations"]
        lines.append(
            f"{result['run']:12} {result['model']:10} {result['frames']:6} {result['operations_a_frame'] / 1e9:12.1f} "
            f"{reached / 1e9:8.0f} {peak / 1e9:8.0f} {reached / peak:6.0%}"
        )
    return "\n".join(lines)


def operations_a_second(result: dict[str, Any]) -> float:
    """Return what the networks compute in a second of a whole first run, everything else included in its time."""
    first = [figures for stage, figures in result["stages"].items() if not stage.endswith("2nd run")]
    return float(result["operations_a_frame"] / sum(figures["seconds_a_frame"] for figures in first))


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Draw seconds a frame and peak memory of every stage against the number of frames."""
    from matplotlib.figure import Figure

    lines: dict[str, list[tuple[int, float, float]]] = {}
    for result in results:
        for stage, figures in result["stages"].items():
            point = (result["frames"], figures["seconds_a_frame"], figures["peak_memory"] / 2**30)
            lines.setdefault(f"{stage}, {result['model']}", []).append(point)
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    times, memories = figure.subplots(1, 2)
    for name, points in lines.items():
        frames, seconds, gibibytes = zip(*sorted(points), strict=True)
        times.plot(frames, seconds, marker="o", label=name)
        memories.plot(frames, gibibytes, marker="o")
    times.set(xlabel="frames", ylabel="seconds a frame", yscale="log")
    memories.set(xlabel="frames", ylabel="peak memory (GiB)", ylim=(0, None))
    figure.legend(loc="outside right upper", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 100, 200, 400], help="default: 50 100 200 400")
    parser.add_argument("--size", type=int, nargs=2, default=[480, 854], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--stages", nargs="+", choices=sorted({run for run, _ in RUNS}), help="default: all")
    parser.add_argument("--models", nargs="+", choices=sorted({model for _, model in RUNS}), help="default: all")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: one for each CPU")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or mps (default: cpu)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw times and memory (needs matplotlib)")
    parser.add_argument("--one", nargs=3, metavar=("STAGE", "MODEL", "FRAMES"), help="measure here, print JSON")
    given = parser.parse_args(arguments)
    if given.one:
        run, model, count = given.one
        print(json.dumps(measure(run, model, int(count), tuple(given.size), given.threads, given.device)))
        return 0
    results = []
    for run, model in RUNS:
        if run not in (given.stages or [run]) or model not in (given.models or [model]):
            continue
        for count in given.frames:
            command = [sys.executable, __file__, "--one", run, model, str(count), "--size", *map(str, given.size)]
            command += ["--threads", str(given.threads), "--device", given.device]
            # Both must be known before torch is loaded, which happens here before the package could say the latter.
            environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads), "OMP_WAIT_POLICY": "PASSIVE"}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                print(f"{run} with {model} on {count} frames failed:\n{done.stderr}", file=sys.stderr)
                return 1
            results.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{run}, {model}, {count} frames done", file=sys.stderr)
            if given.json:
                # After each measurement: all of them take an hour, and one may be stopped.
                machine = {"processor": platform.processor() or platform.machine(), "threads": given.threads}
                figures = {"machine": machine, "size": given.size, "device": given.device, "results": results}
                write_json(given.json, figures)
    print(table(results), roofline(results), sep="\n\n")
    if given.picture:
        draw(results, given.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
