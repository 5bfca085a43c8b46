"""The selector on a whole clip: frames encoded one by one, related to each other, decoded to error maps and scores."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.events import Progress
from .device import autocast
from .interface import ClipInputs
from .networks.attention import FRAMES_A_STEP
from .networks.inputs import HEIGHT, WIDTH, normalised, resized_planes
from .networks.selector import Selector, clip_scores, error_sums

_KEPT_LEVELS = 256 << 20


@dataclass(frozen=True)
class SelectorInputs:
    """What the selector needs of every frame, gathered once for all objects.

    Parameters
    ----------
    images : ndarray
        (T, 128, 224, 3) uint8.
    dino16 : ndarray
        (T, 112, 384) float32.
    packed_masks : ndarray
        (T, Q, 3584) uint8, eight pixels of a 128 x 224 mask in each byte.
    """

    images: np.ndarray
    dino16: np.ndarray
    packed_masks: np.ndarray

    def masks(self, place: int | None) -> np.ndarray:
        """Return the masks of one object by its place in the order of ids, or empty ones: (T, 128, 224) bool."""
        shape = (len(self.images), HEIGHT, WIDTH)
        if place is None:
            return np.zeros(shape, bool)
        return np.unpackbits(self.packed_masks[:, place], axis=1).reshape(shape).astype(bool)


def gather_inputs(inputs: ClipInputs) -> Generator[Progress, None, SelectorInputs]:
    """Gather what the selector needs of every frame, yielding progress."""
    images, features, masks = [], [], []
    for frame in range(len(inputs.clip)):
        yield Progress("Reading appearance", frame, len(inputs.clip))
        found = inputs.features(frame)
        images.append(found["image"])
        features.append(found["dino16"])
        planes = small_planes(inputs, frame, inputs.object_ids)
        masks.append(np.packbits(planes.reshape(len(planes), -1), axis=1))
    yield Progress("Reading appearance", len(inputs.clip), len(inputs.clip))
    return SelectorInputs(np.stack(images), np.stack(features), np.stack(masks))


class SelectorRun:
    """Runs the selector over a clip, for one object after the other.

    Parameters
    ----------
    network : Selector
        With its weights, on the device.
    device : torch.device
        Where to compute.
    precision : torch.dtype
        Of convolutions and matrix products; the rest is float32.
    """

    def __init__(self, network: Selector, device: torch.device, precision: torch.dtype) -> None:
        self._network = network
        self._device = device
        self._precision = precision

    def error_maps(self, gathered: SelectorInputs, masks: np.ndarray) -> Iterator[tuple[int, Tensor] | None]:
        """Predict where the masks of one object are wrong.

        Frames are encoded before the attention between frames and decoded after it. The encoder's
        levels take 3.4 MB a frame; those that find no room are computed again.

        Parameters
        ----------
        gathered : SelectorInputs
            The clip.
        masks : ndarray
            (T, 128, 224) bool.

        Yields
        ------
        tuple of int and Tensor, or None
            The first frame of a few and their error maps (B, 3, 128, 224), probabilities; None
            after a step of work that gave no map yet.
        """
        chunks = _chunks(len(masks))
        kept: dict[int, list[Tensor]] = {}
        room = _KEPT_LEVELS
        embedded = []
        for chunk in chunks:
            for frame in chunk:
                with autocast(self._device, self._precision):
                    levels = self._encode(gathered, masks, frame)
                    dino16 = self._tensor(gathered.dino16[frame : frame + 1])
                    embedded.append(self._network.embed(levels[-1], dino16).float())
                room -= sum(level.nbytes for level in levels)
                if room > 0:
                    kept[frame] = levels
            yield None
        related = yield from self._network.relate(torch.cat(embedded))
        for chunk in chunks:
            maps = []
            for frame in chunk:
                with autocast(self._device, self._precision):
                    levels = kept.pop(frame) if frame in kept else self._encode(gathered, masks, frame)
                    maps.append(self._network.decode(related[frame : frame + 1], levels).float())
            yield chunk.start, torch.cat(maps)

    def steps(self, frames: int) -> int:
        """Return how many steps :meth:`scores` takes."""
        return 2 * len(_chunks(frames)) + self._network.number_of_steps(frames)

    def scores(self, gathered: SelectorInputs, place: int | None) -> Generator[None, None, np.ndarray]:
        """Score the masks of one object, by its place in the order of ids, or empty ones, in :meth:`steps` steps.

        Returns
        -------
        ndarray
            (T,) float32, sums to 1.
        """
        masks = gathered.masks(place)
        errors = torch.zeros(len(masks))
        for result in self.error_maps(gathered, masks):
            if result is not None:
                start, maps = result
                errors[start : start + len(maps)] = error_sums(maps).cpu()
            yield
        areas = torch.from_numpy(masks.sum(axis=(1, 2), dtype=np.float32))
        scores: np.ndarray = clip_scores(errors, areas).numpy()
        return scores

    def _encode(self, gathered: SelectorInputs, masks: np.ndarray, frame: int) -> list[Tensor]:
        # One frame at a time: its finest level just fits the processor's cache.
        rgb = images_tensor(gathered.images[frame : frame + 1], self._device)
        return self._network.encode(rgb, self._tensor(masks[frame : frame + 1, None].astype(np.float32)))

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._device)


def _chunks(frames: int) -> list[range]:
    return [range(start, min(start + FRAMES_A_STEP, frames)) for start in range(0, frames, FRAMES_A_STEP)]


def images_tensor(images: np.ndarray, device: torch.device) -> Tensor:
    """Turn small images (B, 128, 224, 3) uint8 into normalised ones, in the layout of the networks' weights."""
    layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    return torch.from_numpy(normalised(images)).to(device).contiguous(memory_format=layout)


def small_planes(inputs: ClipInputs, frame: int, group: Sequence[int | None]) -> np.ndarray:
    """Return the masks of a group of objects in one frame, (group, 128, 224) bool; empty ones for those absent."""
    present = [object_id for object_id in group if object_id is not None]
    planes = np.zeros((len(group), HEIGHT, WIDTH), bool)
    if present:
        places = [place for place, object_id in enumerate(group) if object_id is not None]
        planes[places] = resized_planes(inputs.planes(frame, present))
    return planes
