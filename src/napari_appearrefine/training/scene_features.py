"""Backbone features of rendered scenes, computed once: training then costs the small networks alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ..engine.builtin_weights import inference_dtype
from ..engine.device import autocast
from ..engine.networks.backbone import LEVEL_CHANNELS, LEVEL_STRIDES, Backbone
from .batches import recolour, recolour_parameters
from .dataset import SceneSet

FEATURE_SIZE = (224, 384)


@dataclass(frozen=True)
class FeatureSet:
    """Views of scenes, memory-mapped: what is seen, the truth, and the frozen backbone's pyramid.

    Parameters
    ----------
    frames : ndarray
        (N, T, y, x, 3) uint8, colours changed as cameras change them.
    labels : ndarray
        (N, T, y, x) uint8.
    shadows : ndarray
        (N, T, y, x) uint8, whose shadow or reflection is seen, 0 for none.
    levels : tuple of ndarray
        (N, T, c, y / s, x / s) float16 for strides s of 2 to 32.
    rough : ndarray or None
        (N, T, y / 2, x / 2) bool, what the motion network held to move; None if it was not asked.
    """

    frames: np.ndarray
    labels: np.ndarray
    shadows: np.ndarray
    levels: tuple[np.ndarray, ...]
    rough: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @classmethod
    def open(cls, folder: Path, rough: np.ndarray | None = None) -> FeatureSet:
        """Open what :func:`write_features` finished writing."""
        count = json.loads((folder / "views.json").read_text())["done"]
        levels = (np.load(folder / f"level_{stride}.npy", mmap_mode="r")[:count] for stride in LEVEL_STRIDES)
        frames, labels, shadows = (
            np.load(folder / f"{name}.npy", mmap_mode="r")[:count] for name in ("frames", "labels", "shadows")
        )
        return cls(frames, labels, shadows, tuple(levels), rough)


def write_features(
    scenes: SceneSet, folder: Path, backbone: Backbone, device: torch.device, seed: int, part: bool = False
) -> Iterator[int]:
    """Compute the features of one view of every scene, going on where an earlier call stopped.

    A view is the whole picture brought to 224 x 384 or, with ``part``, a window of that size cut
    from a larger one, so that objects are seen large and soft as well.

    Yields
    ------
    int
        Number of scenes finished.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state_file = folder / "views.json"
    done = json.loads(state_file.read_text())["done"] if state_file.exists() else 0
    arrays = _open_arrays(folder, len(scenes), scenes.frames.shape[1])
    for index in range(done, len(scenes)):
        rng = np.random.default_rng([seed, index])
        images, labels, shadows = _view(scenes, index, rng, part)
        seen = _recoloured(images, rng)
        arrays["frames"][index] = (seen * 255).round().permute(0, 2, 3, 1).byte()
        arrays["labels"][index], arrays["shadows"][index] = labels, shadows
        with torch.inference_mode(), autocast(device, inference_dtype(device)):
            pyramid = backbone(seen.to(device).contiguous(memory_format=torch.channels_last))
        for stride, level in zip(LEVEL_STRIDES, pyramid, strict=True):
            arrays[f"level_{stride}"][index] = level.half().cpu().numpy()
        if index % 20 == 19 or index + 1 == len(scenes):
            for array in arrays.values():
                array.flush()
            state_file.write_text(json.dumps({"done": index + 1}))
            yield index + 1


def _open_arrays(folder: Path, count: int, frames: int) -> dict[str, np.memmap[Any, Any]]:
    height, width = FEATURE_SIZE
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "frames": ((count, frames, height, width, 3), np.uint8),
        "labels": ((count, frames, height, width), np.uint8),
        "shadows": ((count, frames, height, width), np.uint8),
    }
    for stride, channels in zip(LEVEL_STRIDES, LEVEL_CHANNELS, strict=True):
        shapes[f"level_{stride}"] = (count, frames, channels, height // stride, width // stride), np.float16
    return {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy",
            mode="r+" if (folder / f"{name}.npy").exists() else "w+",
            dtype=dtype,
            shape=shape,
        )
        for name, (shape, dtype) in shapes.items()
    }


def _view(scenes: SceneSet, index: int, rng: np.random.Generator, part: bool) -> list[np.ndarray]:
    """Return frames, labels and shadows of a scene, at the size of the features."""
    planes = [np.asarray(array[index]) for array in (scenes.frames, scenes.labels, scenes.shadows)]
    if planes[0].shape[1:3] == FEATURE_SIZE:
        return planes
    height, width = FEATURE_SIZE
    if part:
        full = planes[0].shape[1:3]
        top, left = (int(rng.integers(length - kept + 1)) for length, kept in zip(full, FEATURE_SIZE, strict=True))
        return [plane[:, top : top + height, left : left + width] for plane in planes]
    hows = (cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_NEAREST)
    return [
        np.stack([cv2.resize(frame, (width, height), interpolation=how) for frame in plane])
        for plane, how in zip(planes, hows, strict=True)
    ]


def _recoloured(images: np.ndarray, rng: np.random.Generator) -> Tensor:
    shown = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    common = recolour_parameters(rng)
    own = 0.3 if rng.random() < 0.5 else 0.8
    return torch.stack([recolour(image, rng, common, own) for image in shown])
