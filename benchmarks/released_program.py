"""Compares the published networks here with the released program of the method, on the same weights and clip.

The released program is the reader's own checkout, which is run as it is: on the processor, and told apart from what is
not there (torchvision, the download of DINO). Both get frames and masks that are already of the networks' size, in
memory, and give labels of that size; making the networks and loading their weights is not timed. The released program
makes its map of regions as well, which it cannot be told to leave out. Every run is a process of its own. See README.md
in this folder.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import numpy as np

from napari_appearrefine.files.report import write_json
from speed import measured_apart, peak_memory, sample

RELEASED = "released"
EXEMPLARS, WINDOW, OBJECTS = 10, 7, 3
FILES = {
    "selector_checkpoint": "selector.pth",
    "corrector_checkpoint": "corrector.pth",
    "dino8": "dino_deitsmall8_pretrain.pth",
    "dino16": "dino_deitsmall16_pretrain.pth",
}


def prepare(folder: Path, frames: int, objects: int) -> None:
    """Write random checkpoints in the released form, and a clip with masks of the networks' size."""
    import torch

    from napari_appearrefine.engine import checkpoints
    from napari_appearrefine.engine.networks.inputs import HEIGHT, WIDTH

    networks = (checkpoints.SELECTOR, checkpoints.CORRECTOR, checkpoints.DINO8, checkpoints.DINO16)
    rng = np.random.default_rng(0)
    for (name, file), network in zip(FILES.items(), networks, strict=True):
        shapes = checkpoints.parameter_shapes(network).items()
        weights = {parameter: torch.from_numpy(_random(parameter, shape, rng)) for parameter, shape in shapes}
        torch.save(weights if name.startswith("dino") else {"model_state_dict": weights}, folder / file)
    clip, masks = sample(frames, (HEIGHT, WIDTH), objects)
    images = np.stack([clip.rgb(frame) for frame in range(frames)])
    np.savez(folder / "clip.npz", images=images, masks=np.stack([masks[frame] for frame in range(frames)]))


def _random(parameter: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return values of about the size that trained ones have, so that signals neither die out nor grow."""
    values = rng.standard_normal(shape)
    if parameter in ("pos_embed", "cls_token"):
        values *= 0.02
    elif len(shape) > 1:
        values /= np.sqrt(np.prod(shape[1:]))
    else:
        values = 0.1 * values + parameter.endswith(".weight")
    return values.astype(np.float32)


@contextmanager
def on_the_processor(program: Path, folder: Path) -> Iterator[Any]:
    """Import the released program; what it cannot have here is stood in for until the end of the block."""
    import torch

    def weights(url: str, **_: Any) -> Any:
        return torch.load(folder / Path(url).name, weights_only=True)

    def unmoved(something: Any, *_: Any, **__: Any) -> Any:
        return something

    not_needed = ("torchvision", "torchvision.transforms", "matplotlib", "matplotlib.pyplot")
    with ExitStack() as stack:
        stack.enter_context(patch.dict(sys.modules, {name: MagicMock() for name in not_needed}))
        stack.enter_context(patch.object(sys, "path", [str(program), *sys.path]))
        stack.enter_context(patch.object(torch.cuda, "is_available", lambda: False))
        for moved in (torch.Tensor, torch.nn.Module):
            stack.enter_context(patch.object(moved, "cuda", unmoved))
        stack.enter_context(patch.object(torch.hub, "load_state_dict_from_url", weights))
        yield importlib.import_module("main")


def run_released(program: Path, folder: Path, images: np.ndarray, masks: np.ndarray) -> dict[str, Any]:
    """Run the released program's evaluation of one clip."""
    import torch

    from napari_appearrefine.engine.networks.inputs import normalised

    found: dict[str, Any] = {}

    def clips() -> Iterator[tuple[Any, ...]]:
        # Asked for the first clip when DINO is loaded, and for another when all is done.
        planes = torch.from_numpy((masks[:, None] == np.arange(1, OBJECTS + 1)[:, None, None]).astype(np.float32))
        rgb = torch.from_numpy(np.ascontiguousarray(normalised(images)))
        names = [[("clip",), (f"{frame:05d}.png",)] for frame in range(len(images))]
        found["start"] = Start()
        yield rgb[None], planes[None], planes[None], names
        found.update(found["start"].figures(len(images)))

    with on_the_processor(program, folder) as main:
        selector, corrector = main.RGBselector(), main.RGBCorrector()
        for network, file in ((selector, "selector_checkpoint"), (corrector, "corrector_checkpoint")):
            network.load_state_dict(torch.load(folder / FILES[file], weights_only=True)["model_state_dict"])
            network.eval()
        choose, decide = main.ut.select_frame, main.ut.hardmax

        def chosen(scores: np.ndarray, count: int) -> np.ndarray:
            found["scores"], found["exemplars"] = scores, choose(scores, count)
            return np.asarray(found["exemplars"])

        def decided(probabilities: Any) -> Any:
            found["planes"] = decide(probabilities)
            return found["planes"]

        settings = Namespace(
            save_pred=False, save_prefix="", num_global_frames=EXEMPLARS, num_local_frames=WINDOW, dataset="DAVIS17m"
        )
        with patch.object(main.ut, "select_frame", chosen), patch.object(main.ut, "hardmax", decided):
            main.eval(clips(), selector, corrector, "cpu", args=settings)
    planes = found.pop("planes")[0].numpy()
    found.pop("start")
    return {**found, "labels": (planes * np.arange(1, OBJECTS + 1)[:, None, None]).max(axis=1).astype(np.uint8)}


def run_here(precision: str, folder: Path, images: np.ndarray, masks: np.ndarray) -> dict[str, Any]:
    """Refine the clip with the published model, nothing kept on disk."""
    from napari_appearrefine.core.clip import Clip
    from napari_appearrefine.core.events import FrameLabels, Report
    from napari_appearrefine.core.parameters import RefineParameters
    from napari_appearrefine.engine.refinement import load_model, refine

    files: dict[str, Any] = {name: folder / file for name, file in FILES.items()}
    parameters = RefineParameters(
        model="published", device="cpu", precision=precision, exemplars=EXEMPLARS, cache=False, **files
    )
    model = load_model(parameters)
    labels = np.zeros(masks.shape, np.uint8)
    found: dict[str, Any] = {}
    start = Start()
    for event in refine(Clip(images), masks, parameters, model=model):
        if isinstance(event, FrameLabels):
            labels[event.frame] = event.labels
        elif isinstance(event, Report):
            found = {"scores": np.asarray(event.scores), "exemplars": np.asarray(list(event.exemplars.values()))}
    return {**start.figures(len(images)), **found, "labels": labels}


class Start:
    """When something began, on the clock and by the processors' work."""

    def __init__(self) -> None:
        self._seconds, self._work = time.perf_counter(), time.process_time()

    def figures(self, frames: int) -> dict[str, float]:
        """Return seconds a frame since then, and the most memory of the process so far."""
        return {
            "seconds_a_frame": (time.perf_counter() - self._seconds) / frames,
            "processor_seconds_a_frame": (time.process_time() - self._work) / frames,
            "peak_memory": peak_memory(),
        }


def run_one(way: str, folder: Path, program: Path, threads: int) -> dict[str, float]:
    """Run one of the programs in this process; its outputs go to the folder."""
    import torch

    torch.set_num_threads(threads)
    with np.load(folder / "clip.npz") as clip:
        images, masks = clip["images"], clip["masks"]
    found = run_released(program, folder, images, masks) if way == RELEASED else run_here(way, folder, images, masks)
    outputs = {name: found.pop(name) for name in ("scores", "exemplars", "labels")}
    np.savez(folder / f"{way}.npz", **outputs)
    return found


def agreement(folder: Path, way: str) -> dict[str, float]:
    """Compare outputs with those of the released program; objects that are not there count as background."""
    with np.load(folder / f"{RELEASED}.npz") as released, np.load(folder / f"{way}.npz") as ours:
        present = ours["scores"].shape[1]
        theirs = np.where(released["labels"] > present, 0, released["labels"])
        return {
            "largest_difference_of_scores": float(np.abs(released["scores"][:, :present] - ours["scores"]).max()),
            "same_exemplars": float(np.mean(released["exemplars"][:present] == ours["exemplars"])),
            "same_labels": float(np.mean(theirs == ours["labels"])),
            "share_of_objects": float(np.mean(theirs > 0)),
        }


def summary(runs: dict[str, list[dict[str, float]]], agreements: dict[str, dict[str, float]]) -> str:
    """Return one line a program: medians over its runs, and of the ratios within each round."""
    lines = [
        f"{'program':12} {'s/frame':>8} {'times':>6} {'CPU s':>8} {'times':>6} {'memory':>10} "
        f"{'scores differ':>14} {'exemplars':>10} {'labels':>9}"
    ]
    for way, figures in runs.items():
        columns = []
        for name in ("seconds_a_frame", "processor_seconds_a_frame"):
            ratios = [one[name] / other[name] for one, other in zip(runs[RELEASED], figures, strict=True)]
            columns.append(f"{statistics.median(run[name] for run in figures):8.3f} {statistics.median(ratios):6.2f}")
        memory = statistics.median(run["peak_memory"] for run in figures) / 2**20
        same = agreements.get(way)
        alike = (
            f"{same['largest_difference_of_scores']:14.1e} {same['same_exemplars']:10.1%} {same['same_labels']:9.4%}"
            if same
            else ""
        )
        lines.append(f"{way:12} {' '.join(columns)} {memory:6.0f} MiB {alike}".rstrip())
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, required=True, metavar="FOLDER", help="its checkout")
    parser.add_argument("--frames", type=int, default=50, help="at least 10 (default: 50)")
    parser.add_argument("--objects", type=int, default=2, choices=range(1, OBJECTS + 1), help="default: 2")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"], help="default: float32 bfloat16")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of one run each (default: 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: one for each CPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one == "prepare":
        prepare(given.folder, given.frames, given.objects)
        print("{}")
        return 0
    if given.one:
        print(json.dumps(run_one(given.one, given.folder, given.program, given.threads)))
        return 0
    ways = [RELEASED, *given.precision]
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as temporary:
        settings = ["--program", str(given.program.resolve()), "--folder", temporary, "--threads", str(given.threads)]
        settings += ["--frames", str(given.frames), "--objects", str(given.objects)]
        measured_apart([__file__, *settings, "--one", "prepare"], given.threads, "preparing")
        for number in range(given.repeats):
            for way in ways:
                figures = measured_apart([__file__, *settings, "--one", way], given.threads, f"{way}, run {number + 1}")
                runs[way].append(figures)
        agreements = {way: agreement(Path(temporary), way) for way in given.precision}
    if given.json:
        machine = {"processor": platform.processor() or platform.machine(), "threads": given.threads}
        write_json(given.json, {"machine": machine, "frames": given.frames, "runs": runs, "agreement": agreements})
    print(summary(runs, agreements))
    return 0


if __name__ == "__main__":
    sys.exit(main())
