"""The selector on a whole clip: frames encoded one by one, related to each other, decoded to error maps and scores."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..core.events import Progress
from .device import autocast
from .interface import ClipInputs
from .networks.inputs import HEIGHT, WIDTH, normalised, resized_planes
from .networks.selector import Selector, clip_scores, error_sums
from .selector_inputs import SelectorInputs, chunks_of, parts_of

_KEPT_LEVELS = 256 << 20


def gather_inputs(inputs: ClipInputs) -> Generator[Progress, None, SelectorInputs]:
    """Gather what the selector needs of every frame, yielding progress."""
    gathered = SelectorInputs(len(inputs.object_ids))
    for frame in range(len(inputs.clip)):
        yield Progress("Reading appearance", frame, len(inputs.clip))
        found = inputs.features(frame)
        gathered.append(found["image"], found["dino16"], small_planes(inputs, frame, inputs.object_ids))
    yield Progress("Reading appearance", len(inputs.clip), len(inputs.clip))
    return gathered


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

    def error_maps(
        self, gathered: SelectorInputs, place: int | None, part: range
    ) -> Iterator[tuple[range, Tensor] | None]:
        """Predict where the masks of one object are wrong.

        Frames are encoded before the attention between frames and decoded after it. The encoder's
        levels take 3.4 MB a frame; those that find no room are computed again.

        Parameters
        ----------
        gathered : SelectorInputs
            The clip.
        place : int or None
            The object's place in the order of ids; None for empty masks.
        part : range
            Frames that are seen together, from :func:`parts_of`.

        Yields
        ------
        tuple of range and Tensor, or None
            A few frames and their error maps (B, 3, 128, 224), probabilities; None after a step of
            work that gave no map yet.
        """
        kept: dict[int, list[Tensor]] = {}
        room = _KEPT_LEVELS
        embedded = []
        for chunk in chunks_of(part):
            for frame in chunk:
                with autocast(self._device, self._precision):
                    levels = self._encode(gathered, place, frame)
                    dino16 = self._tensor(gathered.dino16(frame)[None])
                    embedded.append(self._network.embed(levels[-1], dino16).float())
                room -= sum(level.nbytes for level in levels)
                if room > 0:
                    kept[frame] = levels
            yield None
        related = yield from self._network.relate(torch.cat(embedded))
        for chunk in chunks_of(part):
            maps = []
            for frame in chunk:
                with autocast(self._device, self._precision):
                    levels = kept.pop(frame) if frame in kept else self._encode(gathered, place, frame)
                    maps.append(self._network.decode(related[part.index(frame)][None], levels).float())
            yield chunk, torch.cat(maps)

    def steps(self, frames: int) -> int:
        """Return how many steps :meth:`scores` takes."""
        parts = parts_of(frames)
        return sum(2 * len(list(chunks_of(part))) + self._network.number_of_steps(len(part)) for part in parts)

    def scores(self, gathered: SelectorInputs, place: int | None) -> Generator[None, None, np.ndarray]:
        """Score the masks of one object, by its place in the order of ids, or empty ones, in :meth:`steps` steps.

        Returns
        -------
        ndarray
            (T,) float32, sums to 1.
        """
        errors = torch.zeros(len(gathered))
        for part in parts_of(len(gathered)):
            for result in self.error_maps(gathered, place, part):
                if result is not None:
                    frames, maps = result
                    errors[frames] = error_sums(maps).cpu()
                yield
        areas = [float(gathered.mask(frame, place).sum()) for frame in range(len(gathered))]
        scores: np.ndarray = clip_scores(errors, torch.tensor(areas)).numpy()
        return scores

    def _encode(self, gathered: SelectorInputs, place: int | None, frame: int) -> list[Tensor]:
        # One frame at a time: its finest level just fits the processor's cache.
        rgb = images_tensor(gathered.image(frame)[None], self._device)
        mask = gathered.mask(frame, place).astype(np.float32)
        return self._network.encode(rgb, self._tensor(mask[None, None]))

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._device)


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
