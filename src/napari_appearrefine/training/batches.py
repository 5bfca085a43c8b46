"""What the motion network is shown: frames of rendered scenes with changed colours; and a mask's true quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..engine.networks.motion import mirror_cues
from .dataset import SceneSet


@dataclass(frozen=True)
class MotionBatch:
    """Frames with their motion and truth, on grids of the frame's size and of half of it.

    Parameters
    ----------
    images : Tensor
        (b, 3, h, w) float.
    cues : Tensor
        (b, C, h / 2, w / 2) float.
    target : Tensor
        (b, 1, h / 2, w / 2) float, the share of each pixel that moving objects cover.
    objects : Tensor
        (b, h / 2, w / 2) int64, which object a pixel belongs to, 0 for none.
    shadows : Tensor
        (b, h / 2, w / 2) int64, whose shadow, reflection or dust a pixel shows, 0 for none.
    """

    images: Tensor
    cues: Tensor
    target: Tensor
    objects: Tensor
    shadows: Tensor


def motion_batch(scenes: Sequence[SceneSet], rng: np.random.Generator, size: int, augment: bool = True) -> MotionBatch:
    """Draw frames at random, with their cues; every scene is as likely as any other.

    Frames in the middle of a scene are drawn more often: as in a long video, they have neighbours on both sides.
    """
    counts = [len(each) for each in scenes]
    places = rng.choice(len(scenes), size, p=np.array(counts) / sum(counts))
    drawn = [_motion_sample(scenes[int(place)], rng, augment) for place in places]
    return MotionBatch(*(torch.stack(parts) for parts in zip(*drawn, strict=True)))


def _motion_sample(scenes: SceneSet, rng: np.random.Generator, augment: bool) -> tuple[Tensor, ...]:
    if scenes.cues is None:
        raise ValueError("these scenes were rendered without motion cues")
    scene = int(rng.integers(len(scenes)))
    frame = int(rng.integers(scenes.frames.shape[1], size=2).sum()) // 2
    image = torch.from_numpy(np.array(scenes.frames[scene, frame])).permute(2, 0, 1).float() / 255
    cues = torch.from_numpy(scenes.cues[scene, frame].astype(np.float32))
    labels, shadows = (torch.from_numpy(np.array(plane[scene, frame])) for plane in (scenes.labels, scenes.shadows))
    # What falls on another object is a part of what that one looks like.
    shadows[labels > 0] = 0
    if augment:
        image = recolour(image, rng)
        if rng.random() < 0.5:
            image, cues = image.flip(-1), mirror_cues(cues[None])[0]
            labels, shadows = labels.flip(-1), shadows.flip(-1)
    covered = F.avg_pool2d((labels > 0).float()[None], 2)
    return image, cues, covered, labels[::2, ::2].long(), shadows[::2, ::2].long()


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
