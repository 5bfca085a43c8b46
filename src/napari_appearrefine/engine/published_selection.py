"""The selector on a whole clip: frames encoded one by one, related to each other, decoded to error maps and scores."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from ..core.events import Progress
from .device import autocast
from .interface import ClipInputs
from .networks.inputs import HEIGHT, WIDTH, normalised, resized_planes
from .networks.selector import Selector, clip_scores, error_sums
from .selector_inputs import SelectorInputs, chunks_of, parts_of
from .side_by_side import side_by_side

_KEPT_LEVELS = 256 << 20


def gather_inputs(inputs: ClipInputs, device: torch.device) -> Generator[Progress, None, SelectorInputs]:
    """Gather what the selector needs of every frame, yielding progress; ``device`` is where features are computed."""
    gathered = SelectorInputs(len(inputs.object_ids))
    frames = range(len(inputs.clip))
    yield Progress("Reading appearance", 0, len(frames))
    with closing(side_by_side(frames, inputs.prepare_features, device)) as features:
        for frame, found in zip(frames, features, strict=True):
            gathered.append(found["image"], found["dino16"], small_planes(inputs, frame, inputs.object_ids))
            yield Progress("Reading appearance", frame + 1, len(frames))
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

        def embedding(frame: int) -> Callable[[], tuple[list[Tensor], Tensor]]:
            encode, dino16 = self._encoding(gathered, place, frame), self._tensor(gathered.dino16(frame)[None])

            def embed() -> tuple[list[Tensor], Tensor]:
                with autocast(self._device, self._precision):
                    levels = encode()
                    return levels, self._network.embed(levels[-1], dino16).float()

            return embed

        with closing(side_by_side(part, embedding, self._device)) as found:
            for chunk in chunks_of(part):
                for frame in chunk:
                    levels, tokens = next(found)
                    embedded.append(tokens)
                    room -= sum(level.nbytes for level in levels)
                    if room > 0:
                        kept[frame] = levels
                yield None
        related = yield from self._network.relate(torch.cat(embedded))

        def decoding(frame: int) -> Callable[[], Tensor]:
            tokens, levels = related[part.index(frame)][None], kept.pop(frame, None)
            encode = self._encoding(gathered, place, frame) if levels is None else None

            def decode() -> Tensor:
                with autocast(self._device, self._precision):
                    return self._network.decode(tokens, encode() if encode else levels or []).float()

            return decode

        with closing(side_by_side(part, decoding, self._device)) as maps:
            for chunk in chunks_of(part):
                yield chunk, torch.cat([next(maps) for _ in chunk])

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

    def _encoding(self, gathered: SelectorInputs, place: int | None, frame: int) -> Callable[[], list[Tensor]]:
        # One frame at a time: its finest level just fits the processor's cache.
        image, mask = gathered.image(frame)[None], gathered.mask(frame, place).astype(np.float32)[None, None]
        return lambda: self._network.encode(images_tensor(image, self._device), self._tensor(mask))

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
