"""What the matching network is shown: an object's exemplars with their faults, and boxes around it to draw in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from ..engine.boxes import CELL, Box, box_around, whole
from ..engine.networks.backbone import LEVEL_STRIDES
from .batches import flow_plane, iou
from .damage import LASTING, damage_plane, damage_throughout
from .scene_features import FeatureSet

_SMALLEST_OBJECT = 24
_KEY_LEVELS = 2
_FROM_FLOW = 0.7
_LASTING_SHARE = 0.5
_WITH_SHADOW = 0.25


@dataclass(frozen=True)
class Target:
    """One frame in which the object is to be drawn, cut to a box.

    Parameters
    ----------
    frame : int
        Which of the example's frames it is.
    box : Box
        Where, in pixels.
    image : Tensor
        (1, 3, y, x) in 0..1.
    levels : list of Tensor
        (1, c, y / s, x / s) of the pyramid, strides 2 to 32.
    masks : Tensor
        (1, 2, y, x) the rough mask of the object, and those of all others.
    truth : Tensor
        (1, 1, y, x).
    """

    frame: int
    box: Box
    image: Tensor
    levels: list[Tensor]
    masks: Tensor
    truth: Tensor


@dataclass(frozen=True)
class MatchingExample:
    """One object in k frames of a scene.

    Parameters
    ----------
    levels : list of Tensor
        (k, c, h / s, w / s) of the pyramid for strides 8, 16 and 32.
    masks : Tensor
        (k, h, w) float, the object's rough masks.
    quality : Tensor
        (k,) IoU of each rough mask with the truth.
    targets : list of Target
        The frames to draw in.
    """

    levels: list[Tensor]
    masks: Tensor
    quality: Tensor
    targets: list[Target]

    def to(self, device: torch.device) -> MatchingExample:
        """Return the example on a device."""
        if device.type == "cpu":
            return self
        targets = [
            replace(
                target,
                image=target.image.to(device),
                levels=[level.to(device) for level in target.levels],
                masks=target.masks.to(device),
                truth=target.truth.to(device),
            )
            for target in self.targets
        ]
        levels = [level.to(device) for level in self.levels]
        return MatchingExample(levels, self.masks.to(device), self.quality.to(device), targets)


def matching_example(
    sources: Sequence[FeatureSet], weights: Sequence[float], rng: np.random.Generator, length: int = 6, targets: int = 2
) -> MatchingExample:
    """Draw a scene, an object in it, and faults of its masks.

    Masks are the truth, damaged as masks from motion are, or what the motion network really made of
    the scene, or, for a third of the target frames, the truth itself, which is to be kept. In half of the
    examples all masks have the same fault to begin with, as motion gives it, and in a quarter of them they hold the
    object's shadow: then no exemplar tells what is wrong.

    Parameters
    ----------
    sources : sequence of FeatureSet
        Where scenes come from.
    weights : sequence of float
        How often each source is taken, as shares of 1.
    rng : numpy.random.Generator
        Source of every random choice.
    length : int
        Frames of the example, targets included; all frames of shorter scenes.
    targets : int
        Frames to draw in.
    """
    while True:
        source = sources[int(rng.choice(len(sources), p=np.asarray(weights)))]
        scene = int(rng.integers(len(source)))
        labels = np.asarray(source.labels[scene])
        frames = rng.permutation(len(labels))[:length]
        ids, counts = np.unique(labels[frames], return_counts=True)
        ids = ids[(ids > 0) & (counts > _SMALLEST_OBJECT * len(frames))]
        if len(ids):
            break
    object_id = int(rng.choice(ids))
    truth = labels[frames] == object_id
    others = (labels[frames] > 0) & ~truth
    if source.rough is not None and scene < len(source.rough) and rng.random() < _FROM_FLOW:
        rough = np.stack(
            [
                flow_plane(plane, labels[t], object_id)
                for plane, t in zip(source.rough[scene][frames], frames, strict=True)
            ]
        )
    else:
        shadow = np.asarray(source.shadows[scene][frames] == object_id)
        rough = _damaged(truth, shadow, others, rng, targets)
    chosen = [
        _target(source, scene, int(frames[index]), index, rough[index], truth[index], others[index], rng)
        for index in range(min(targets, len(frames)))
    ]
    return MatchingExample(
        [torch.from_numpy(level[scene][frames].astype(np.float32)) for level in source.levels[_KEY_LEVELS:]],
        torch.from_numpy(rough).float(),
        torch.tensor([iou(a, b) for a, b in zip(rough, truth, strict=True)]).float(),
        chosen,
    )


def _target(
    source: FeatureSet,
    scene: int,
    frame: int,
    index: int,
    rough: np.ndarray,
    truth: np.ndarray,
    others: np.ndarray,
    rng: np.random.Generator,
) -> Target:
    box = _box(rough, truth, rng)
    where = box.at()
    image = torch.from_numpy(np.array(source.frames[scene, frame][where])).permute(2, 0, 1)[None].float() / 255
    levels = [
        torch.from_numpy(level[scene, frame][(slice(None), *box.at(stride))].astype(np.float32))[None]
        for stride, level in zip(LEVEL_STRIDES, source.levels, strict=True)
    ]
    masks = np.stack([rough, others & ~rough])[(slice(None), *where)]
    wanted = np.ascontiguousarray(truth[where])
    return Target(
        index,
        box,
        image,
        levels,
        torch.from_numpy(np.ascontiguousarray(masks)).float()[None],
        torch.from_numpy(wanted).float()[None, None],
    )


def _box(rough: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> Box:
    choice = rng.random()
    margin = float(rng.uniform(4, 56))
    least = 2 * CELL if rng.random() < 0.7 else 4 * CELL
    inside = rough if choice < 0.1 else rough | truth
    found = box_around(inside, margin, least)
    return whole(truth.shape) if found is None or choice > 0.95 else found


def _damaged(
    truth: np.ndarray, shadow: np.ndarray, others: np.ndarray, rng: np.random.Generator, targets: int
) -> np.ndarray:
    share, strength = float(rng.uniform(0, 0.6)), float(rng.uniform(0.2, 1.4))
    rough = truth.copy()
    if rng.random() < _WITH_SHADOW:
        # What an object throws moves as it does.
        rough |= shadow
    if rng.random() < _LASTING_SHARE:
        rough = damage_throughout(rough.astype(np.uint8), rng, LASTING, float(rng.uniform(0.2, 1))) > 0
    for index in range(len(rough)):
        if rng.random() < (0.67 if index < targets else share):
            rough[index] = damage_plane(rough[index], rng, strength, others[index])
    fate = rng.random()
    if fate < 0.12:
        rough[0] = False
    elif fate < 0.24:
        rough[0] = _stale(truth, rng)
    return rough


def _stale(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the mask of another frame, brought to about where the object is: a guess for a frame without a mask."""
    source = truth[int(rng.integers(1, len(truth)))] if len(truth) > 1 else truth[0]
    if not source.any():
        return np.asarray(source)
    shift = np.zeros(2)
    if truth[0].any():
        centres = [np.argwhere(plane).mean(0) for plane in (truth[0], source)]
        shift = centres[0] - centres[1]
    shift += rng.normal(0, 0.25, 2) * np.sqrt(np.count_nonzero(source))
    matrix = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], np.float32)
    moved = cv2.warpAffine(source.astype(np.uint8), matrix, source.shape[::-1], flags=cv2.INTER_NEAREST)
    return np.asarray(moved > 0)
