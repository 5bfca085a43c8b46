"""What the networks are shown: batches cut from rendered scenes, with colour changes and damaged masks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..engine.networks.motion import mirror_cues
from .damage import damage_plane
from .dataset import SceneSet


@dataclass(frozen=True)
class MotionBatch:
    """Frames with their motion and truth: (b, 3, h, w), (b, C, h / 2, w / 2) and (b, 1, h / 2, w / 2) floats."""

    images: Tensor
    cues: Tensor
    target: Tensor


@dataclass(frozen=True)
class MatchingBatch:
    """Clips of k frames, the g target frames first.

    Parameters
    ----------
    images : Tensor
        (b, k, 3, h, w) in 0..1.
    masks : Tensor
        (b, k, 2, h, w): the rough mask of the object, and of all others.
    quality : Tensor
        (b, k) IoU of each rough mask with the truth.
    targets : Tensor
        (b, g, 1, h, w) the true masks of the target frames.
    """

    images: Tensor
    masks: Tensor
    quality: Tensor
    targets: Tensor


def motion_batch(scenes: SceneSet, rng: np.random.Generator, size: int, augment: bool = True) -> MotionBatch:
    """Draw frames at random, with their cues."""
    if scenes.cues is None:
        raise ValueError("these scenes were rendered without motion cues")
    images, cues, labels = [], [], []
    for scene in rng.integers(len(scenes), size=size):
        frame = int(rng.integers(scenes.frames.shape[1]))
        image = torch.from_numpy(np.array(scenes.frames[scene, frame])).permute(2, 0, 1).float() / 255
        images.append(recolour(image, rng) if augment else image)
        cues.append(torch.from_numpy(scenes.cues[scene, frame].astype(np.float32)))
        labels.append(torch.from_numpy(np.asarray(scenes.labels[scene, frame]) > 0).float())
    batch = torch.stack(images), torch.stack(cues), F.avg_pool2d(torch.stack(labels)[:, None], 2)
    if augment and rng.random() < 0.5:
        batch = batch[0].flip(-1), mirror_cues(batch[1]), batch[2].flip(-1)
    return MotionBatch(*batch)


def matching_batch(
    sources: list[SceneSet],
    rng: np.random.Generator,
    size: int,
    length: int = 4,
    target_frames: int = 2,
    augment: bool = True,
    flow_masks: list[np.ndarray | None] | None = None,
) -> MatchingBatch:
    """Draw objects at random: target frames, exemplars from the same scene, and rough masks of all.

    Masks are the truth, damaged as masks from motion are, or, where ``flow_masks`` holds them, what
    the motion network really made of that scene.
    """
    images: list[Tensor] = []
    masks: list[Tensor] = []
    quality: list[Tensor] = []
    targets: list[Tensor] = []
    while len(targets) < size:
        source = int(rng.integers(len(sources)))
        scenes = sources[source]
        scene = int(rng.integers(len(scenes)))
        labels = np.asarray(scenes.labels[scene])
        frames = rng.permutation(len(labels))[:length]
        ids, counts = np.unique(labels[frames], return_counts=True)
        ids = ids[(ids > 0) & (counts > 60 * len(frames))]
        if not len(ids):
            continue
        object_id = int(rng.choice(ids))
        truth = labels[frames] == object_id
        others = (labels[frames] > 0) & ~truth
        found = flow_masks[source] if flow_masks else None
        if found is not None and scene < len(found) and rng.random() < 0.4:
            rough = np.stack(
                [flow_plane(plane, labels[t], object_id) for plane, t in zip(found[scene][frames], frames, strict=True)]
            )
        else:
            rough = _damaged(truth, others, rng, target_frames)
        near = rng.random() < 0.5
        shown = torch.from_numpy(np.asarray(scenes.frames[scene])[frames]).permute(0, 3, 1, 2).float() / 255
        if augment:
            common = recolour_parameters(rng)
            shown = torch.stack([recolour(image, rng, common, 0.3 if near else 0.8) for image in shown])
        pair = torch.from_numpy(np.stack([rough, others & ~rough], 1)).float()
        wanted = torch.from_numpy(truth[:target_frames]).float()[:, None]
        if augment and rng.random() < 0.5:
            shown, pair, wanted = shown.flip(-1), pair.flip(-1), wanted.flip(-1)
        images.append(shown)
        masks.append(pair)
        targets.append(wanted)
        quality.append(torch.tensor([iou(a, b) for a, b in zip(rough, truth, strict=True)]))
    return MatchingBatch(torch.stack(images), torch.stack(masks), torch.stack(quality).float(), torch.stack(targets))


def _damaged(truth: np.ndarray, others: np.ndarray, rng: np.random.Generator, targets: int) -> np.ndarray:
    rough = truth.copy()
    share = float(rng.uniform(0, 0.6))
    strength = float(rng.uniform(0.2, 1.3))
    for index in range(len(rough)):
        wrong = rng.random() < (0.7 if index < targets else share)
        if wrong:
            rough[index] = damage_plane(truth[index], rng, strength, others[index])
    if rng.random() < 0.1:
        rough[0] = False
    return rough


def flow_plane(foreground: np.ndarray, labels: np.ndarray, object_id: int) -> np.ndarray:
    """Give an object its part of a foreground mask: what lies on it or beside it, and not on another object.

    Parameters
    ----------
    foreground : ndarray
        (Y / 2, X / 2) bool, everything that the motion network held to move.
    labels : ndarray
        (Y, X) uint8 truth.
    object_id : int
        The object.
    """
    full = cv2.resize(foreground.astype(np.uint8), labels.shape[::-1], interpolation=cv2.INTER_NEAREST)
    _, parts = cv2.connectedComponents(full)
    own = np.unique(parts[(labels == object_id) & (parts > 0)])
    plane = np.isin(parts, own)
    return np.asarray(plane & ((labels == 0) | (labels == object_id)))


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return intersection over union; 1 when both are empty."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def recolour_parameters(rng: np.random.Generator) -> np.ndarray:
    """Draw gain of the three channels, offset, gamma and saturation."""
    return np.concatenate(
        [
            np.exp(rng.normal(0, 0.12, 3)),
            rng.normal(0, 0.04, 1),
            np.exp(rng.normal(0, 0.2, 1)),
            rng.uniform(0.2, 1.4, 1),
        ]
    )


def recolour(image: Tensor, rng: np.random.Generator, common: np.ndarray | None = None, own: float = 1.0) -> Tensor:
    """Change the colours of an image (3, h, w) in 0..1: by ``common``, and a little of its own."""
    neutral = np.array([1.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    change = recolour_parameters(rng)
    if common is not None:
        change = common + own * 0.4 * (change - neutral)
    gain, offset, gamma, saturation = change[:3], change[3], max(change[4], 0.3), np.clip(change[5], 0, 2)
    grey = image.mean(0, keepdim=True)
    image = grey + float(saturation) * (image - grey)
    image = image * torch.from_numpy(gain).float()[:, None, None] + float(offset)
    return image.clamp(1e-3, 1).pow(float(gamma))
