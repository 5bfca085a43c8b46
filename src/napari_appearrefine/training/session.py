"""Making the built-in model from photographs: scenes, then each network, then the one file that the package holds."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.events import Progress
from ..engine.builtin import BuiltinModel
from ..engine.builtin_weights import WEIGHTS_FILE, calibration_tensors, channels_last, save_parts
from ..engine.calibration import Calibration
from ..engine.networks.backbone import Backbone
from ..engine.networks.matching import MatchingNetwork
from .curves import draw_curves
from .dataset import SceneSet
from .judging import measure_calibration
from .recipe import (
    imagenet_backbone,
    make_scenes,
    make_views,
    open_flow_masks,
    train_matching,
    train_motion,
    write_flow_masks,
)
from .trainer import TrainingStep

PARTS = ("motion", "matching", "all")
DEFAULT_STEPS = {"motion": 1800, "motion_further": 9100, "matching": 8500}


def train_builtin(
    part: str,
    photos: Path,
    folder: Path,
    device: torch.device,
    *,
    steps: int | None = None,
    seed: int = 0,
    share: float = 1.0,
    resume: bool = False,
) -> Iterator[Progress]:
    """Train the built-in model, or one network of it.

    Parameters
    ----------
    part : {"motion", "matching", "all"}
        Which network. Matching learns from the masks of the trained motion network, so motion comes first.
    photos : Path
        JPEG photographs, some with outlines, see :class:`PhotoLibrary`.
    folder : Path
        Scenes, checkpoints and, once both networks are there, ``builtin.safetensors``.
    device : device
        Where to compute.
    steps : int, optional
        Steps of each network; those of the packaged model by default.
    seed : int
        Of the order and the changes of the training data.
    share : float
        Share of the scenes to render; less than 1 for a quick trial.
    resume : bool
        Go on where an earlier run in this folder stopped.

    Yields
    ------
    Progress

    Raises
    ------
    UserError
        If the photographs or further packages are missing, or ``matching`` is asked for before ``motion``.
    """
    if part not in PARTS:
        raise UserError(f"There is no network {part!r} to train; choose one of {', '.join(PARTS)}.")
    first = folder / "motion" / "average.pt"
    averages = {"motion": folder / "motion_further" / "average.pt", "matching": folder / "matching" / "average.pt"}
    if part == "matching" and not averages["motion"].exists():
        raise UserError(f"{folder} holds no trained motion network; train motion first, or all.")
    if not any(photos.rglob("*.jpg")):
        raise UserError(f"{photos} holds no .jpg photographs; give another folder with --photos.")
    backbone = imagenet_backbone(device)
    yield from make_scenes(photos, folder / "scenes", share)
    if part in ("motion", "all"):
        count = steps or DEFAULT_STEPS["motion"]
        running = train_motion(folder / "scenes", folder / "motion", device, steps=count, seed=seed, resume=resume)
        yield from _progress("Training the motion network", running)
        for name in ("motion", "held_motion"):
            yield from write_flow_masks(folder / "scenes", name, first, device)
        count = steps or DEFAULT_STEPS["motion_further"]
        running = train_motion(
            folder / "scenes", folder / "motion_further", device, steps=count, seed=seed, resume=resume, start=first
        )
        yield from _progress("Training the motion network further", running)
    if part in ("matching", "all"):
        yield from make_views(folder / "scenes", device)
        count = steps or DEFAULT_STEPS["matching"]
        running = train_matching(folder / "scenes", folder / "matching", device, steps=count, seed=seed, resume=resume)
        yield from _progress("Training the matching network", running)
    if all(file.exists() for file in averages.values()):
        draw_curves({file.parent.name: file.parent for file in (first, *averages.values())}, folder / "curves.png")
        trained = {name: torch.load(file, map_location="cpu", weights_only=True) for name, file in averages.items()}
        parts = {"backbone": _on_cpu(backbone.state_dict()), **trained}
        calibration = yield from _calibration(folder / "scenes", backbone, trained["matching"], device)
        save_parts({**parts, "calibration": calibration_tensors(calibration)}, folder / WEIGHTS_FILE.name)


def _calibration(
    scenes: Path, backbone: Backbone, weights: dict[str, Tensor], device: torch.device
) -> Generator[Progress, None, Calibration]:
    network = MatchingNetwork()
    network.load_state_dict(weights)
    channels_last(network.eval().requires_grad_(False), device)
    held = SceneSet.open(scenes / "held_motion")
    rough = open_flow_masks(scenes, "held_motion")
    for done, measured in measure_calibration(BuiltinModel(backbone, network, device), held, rough):
        yield Progress("Calibrating the estimates", done, len(held))
        if measured is not None:
            return measured
    raise ValueError("there are no held-out scenes to calibrate with")


def _progress(stage: str, running: Iterator[TrainingStep]) -> Iterator[Progress]:
    for step in running:
        yield Progress(stage, step.step, step.steps)


def _on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in state.items()}
