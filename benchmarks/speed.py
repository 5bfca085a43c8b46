"""Measures seconds a frame and peak memory of every stage against frames, size, objects, device and precision.

Each measurement runs in a process of its own. The clip is the included sample of two objects, played forth and back
to the wanted length; for more objects it is shown several times, small, side by side. The published networks get random
weights: speed does not depend on their values. A second table compares what the networks compute in a second with the
fastest matrix product of this machine. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

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
class Setting:
    """One thing to measure; ``size`` is height and width."""

    run: str
    model: str
    frames: int
    size: tuple[int, int] = (480, 854)
    objects: int = 2
    device: str = "cpu"
    precision: str = "auto"
    threads: int = 2

    @property
    def columns(self) -> list[str]:
        """What tells it from others, for a table."""
        size = f"{self.size[0]} x {self.size[1]}"
        return [self.model, str(self.frames), size, str(self.objects), self.device, self.precision]

    @property
    def name(self) -> str:
        """The same but its length, for a picture."""
        return ", ".join([self.model, *self.columns[2:]])


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


def sample(count: int, size: tuple[int, int], objects: int = 2) -> tuple[Clip, LoopedFrames]:
    """Return the sample clip at a length and size, and its masks with a third of the frames damaged."""
    from napari_appearrefine.files.samples import open_sample
    from napari_appearrefine.training.damage import damage_clip

    clip, truth = open_sample("crossing")
    frames = np.stack([clip.rgb(frame) for frame in range(min(len(clip), count))])
    labels = np.stack([np.asarray(truth[frame]) for frame in range(len(frames))])
    frames, labels = _mosaic(frames, labels.astype(np.uint8), objects)
    masks, _ = damage_clip(labels, np.random.default_rng(0))
    return Clip(LoopedFrames(frames, count, size)), LoopedFrames(masks, count, size)


def _mosaic(frames: np.ndarray, labels: np.ndarray, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Repeat a clip of two objects side by side until there are enough, and leave out the masks of too many."""
    side = int(np.ceil(np.sqrt(objects / 2)))
    places = np.kron(np.arange(side * side, dtype=np.uint8).reshape(side, side), np.ones(labels.shape[1:], np.uint8))
    tiled = np.tile(labels, (1, side, side))
    tiled = np.where(tiled > 0, tiled + 2 * places, 0)
    smaller = (slice(None), slice(None, None, side), slice(None, None, side))
    return np.tile(frames, (1, side, side, 1))[smaller], np.where(tiled > objects, 0, tiled)[smaller].astype(np.uint8)


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


def measured_apart(command: list[str], threads: int, title: str) -> dict[str, Any]:
    """Return what a script prints as JSON, run in a process of its own; end here if it fails."""
    # Both must be known before torch is loaded, which happens here before the package could say the latter.
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{title} failed:\n{done.stderr}")
    print(f"{title} done", file=sys.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def peak_memory() -> int:
    """Return the most memory this process has held so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def peak_device_memory() -> int:
    """Return the most memory of a CUDA device that was in use so far, in bytes; 0 without one."""
    import torch

    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else 0


def measure(setting: Setting) -> dict[str, Any]:
    """Run one job in this process; return seconds a frame and peak memory of its stages, and the networks' work."""
    import torch

    from napari_appearrefine.engine.flow_masks import flow_masks
    from napari_appearrefine.engine.refinement import load_model, refine

    torch.set_num_threads(setting.threads)
    cv2.setNumThreads(setting.threads)
    count, model = setting.frames, setting.model
    clip, masks = sample(count, setting.size, setting.objects)
    short, short_masks = sample(min(count, FRAMES_TO_COUNT), setting.size, setting.objects)
    with tempfile.TemporaryDirectory() as folder:
        files = {} if model == "builtin" else random_checkpoints(Path(folder))
        before = peak_memory()
        if setting.run == "flow masks":
            parameters = FlowMaskParameters(model=model, device=setting.device, checkpoint=files.get("checkpoint"))
            stages = _timed(flow_masks(clip, parameters), {"": setting.run}, count)
            operations = _operations(flow_masks(short, parameters), len(short))
        else:
            files.pop("checkpoint", None)
            settings = RefineParameters(
                model=model,
                device=setting.device,
                precision=setting.precision,
                cache_dir=Path(folder) / "cache",
                **files,
            )
            loaded = load_model(settings)
            names = {"": "selection", "Correcting frames": "correction"}
            stages = _timed(refine(clip, masks, settings, model=loaded), names, count)
            again = {"": "selection, 2nd run", "Correcting frames": "correction, 2nd run"}
            stages |= _timed(refine(clip, masks, settings, model=loaded), again, count)
            nothing_kept = replace(settings, cache=False)
            operations = _operations(refine(short, short_masks, nothing_kept, model=loaded), len(short))
    return {
        **asdict(setting),
        "memory_before": before,
        "stages": stages,
        "operations_a_frame": operations,
        "peak_operations": peak_operations(setting.device),
    }


class AtOnce(Executor):
    """Runs at once what is submitted: torch counts operations of the thread that asks for it alone."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it; an error is raised here."""
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def _operations(events: Any, count: int) -> float:
    """Return the multiplications and additions a frame of the networks in a run."""
    from torch.utils.flop_counter import FlopCounterMode

    from napari_appearrefine.engine import side_by_side
    from napari_appearrefine.engine.networks import backbone

    with (
        patch.object(side_by_side, "ThreadPoolExecutor", AtOnce),
        # Torch does not count what is fused.
        patch.object(backbone, "_fused", None),
        FlopCounterMode(display=False) as counter,
    ):
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
        "peak_device_memory": peak_device_memory(),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return one line a stage of each measurement: seconds a frame, those of the processors, and memory."""
    lines = [
        f"{'stage':20} {_HEAD} {'s/frame':>8} {'CPU s':>8} {'frames/s':>8} {'memory':>10} {'of device':>10}",
    ]
    for result in results:
        for stage, figures in result["stages"].items():
            seconds = figures["seconds_a_frame"]
            lines.append(
                f"{stage:20} {_row(result)} {seconds:8.3f} {figures['processor_seconds_a_frame']:8.3f} "
                f"{1 / seconds:8.1f} {figures['peak_memory'] / 2**20:6.0f} MiB "
                f"{figures['peak_device_memory'] / 2**20:6.0f} MiB"
            )
    return "\n".join(lines)


def roofline(results: list[dict[str, Any]]) -> str:
    """Return one line a run: what its networks compute, and which share of the machine's peak that reaches."""
    lines = [f"{'run':20} {_HEAD} {'GFLOP/frame':>12} {'GFLOP/s':>8} {'peak':>8} {'share':>6}"]
    for result in results:
        reached, peak = operations_a_second(result), result["peak_operations"]
        lines.append(
            f"{result['run']:20} {_row(result)} {result['operations_a_frame'] / 1e9:12.1f} "
            f"{reached / 1e9:8.0f} {peak / 1e9:8.0f} {reached / peak:6.0%}"
        )
    return "\n".join(lines)


_WIDTHS = (10, 7, 12, 8, 7, 10)
_HEAD = " ".join(
    f"{title:>{width}}"
    for title, width in zip(("model", "frames", "size", "objects", "device", "precision"), _WIDTHS, strict=True)
)


def _row(result: dict[str, Any]) -> str:
    return " ".join(f"{text:>{width}}" for text, width in zip(_setting(result).columns, _WIDTHS, strict=True))


def _setting(result: dict[str, Any]) -> Setting:
    return Setting(**{name: result[name] for name in Setting.__dataclass_fields__})


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
            lines.setdefault(f"{stage}, {_setting(result).name}", []).append(point)
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
    parser.add_argument("--size", type=_size, nargs="+", default=[(480, 854)], metavar="HxW", help="default: 480x854")
    parser.add_argument("--objects", type=int, nargs="+", default=[2], help="default: 2")
    parser.add_argument("--stages", nargs="+", choices=sorted({run for run, _ in RUNS}), help="default: all")
    parser.add_argument("--models", nargs="+", choices=sorted({model for _, model in RUNS}), help="default: all")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: one for each CPU")
    parser.add_argument("--device", nargs="+", default=["cpu"], help="auto, cpu, cuda or mps (default: cpu)")
    parser.add_argument(
        "--precision", nargs="+", default=["auto"], help="of the published networks: auto, float32, float16, bfloat16"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw times and memory (needs matplotlib)")
    parser.add_argument("--one", metavar="JSON", help="measure this setting here, print JSON")
    given = parser.parse_args(arguments)
    if given.one:
        asked = json.loads(given.one)
        print(json.dumps(measure(Setting(**{**asked, "size": tuple(asked["size"])}))))
        return 0
    results = []
    for setting in _settings(given):
        command = [__file__, "--one", json.dumps(asdict(setting))]
        results.append(measured_apart(command, setting.threads, ", ".join([setting.run, *setting.columns])))
        if given.json:
            # After each measurement: all of them take an hour, and one may be stopped.
            machine = {"processor": platform.processor() or platform.machine(), "threads": given.threads}
            write_json(given.json, {"machine": machine, "results": results})
    print(table(results), roofline(results), sep="\n\n")
    if given.picture:
        draw(results, given.picture)
    return 0


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


def _settings(given: argparse.Namespace) -> list[Setting]:
    """Return all combinations that make a difference: the built-in model and OCLR know one precision."""
    runs = [
        (run, model) for run, model in RUNS if run in (given.stages or [run]) and model in (given.models or [model])
    ]
    return [
        Setting(run, model, frames, size, objects, device, precision, given.threads)
        for (run, model), size, objects, device in itertools.product(runs, given.size, given.objects, given.device)
        for precision in (given.precision if model == "published" else ["auto"])
        for frames in given.frames
    ]


if __name__ == "__main__":
    sys.exit(main())
