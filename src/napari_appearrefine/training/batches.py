"""What the motion network is shown: frames of rendered scenes with changed colours; and a mask's true quality."""

from __future__ import annotations

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
    """Frames with their motion and truth: (b, 3, h, w), (b, C, h / 2, w / 2) and (b, 1, h / 2, w / 2) floats."""

    images: Tensor
    cues: Tensor
    target: Tensor


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
