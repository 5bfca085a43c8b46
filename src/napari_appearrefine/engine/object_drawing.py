"""Drawing the masks of one frame with the matching network, each object in a box of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .boxes import Box, box_around, whole
from .device import autocast
from .identities import reassigned
from .networks.matching import KEY_STRIDE, MATCH_CHANNELS, MatchingNetwork, Memory, match, match_by_frame
from .object_masks import Plane
from .retreat import is_out_of_memory

_PIXELS_AT_ONCE = 240 * 432
_SEARCHED_OBJECTS = 8
_MARGIN_SHARE, _LEAST_MARGIN, _LARGEST_MARGIN = 0.2, 10.0, 16.0
_EVIDENCE = 0.6
_LEAST_EVIDENCE = 0.2
_SHARE_CHANNEL = 3


@dataclass(frozen=True)
class FrameFeatures:
    """What the model keeps of a frame: pixels at the working size, projected features and keys.

    Parameters
    ----------
    image : ndarray
        (h, w, 3) uint8.
    levels : list of Tensor
        (1, c, h / s, w / s) for strides 2 to 32, half precision.
    keys : Tensor
        (p, 64) unit vectors, half precision.
    """

    image: np.ndarray
    levels: list[Tensor]
    keys: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the working grid."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the positions that have keys."""
        rows, columns = self.levels[2].shape[-2:]
        return int(rows), int(columns)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that these features take."""
        return self.image.nbytes + sum(tensor.nbytes for tensor in (*self.levels, self.keys))


@dataclass(frozen=True)
class DrawnFrame:
    """A frame's labels (Y, X), its image on the working grid (h, w, 3), each object's mask and probability there."""

    given: np.ndarray
    image: np.ndarray
    masks: list[Plane | None]
    likely: list[Plane | None]


class ObjectDrawer:
    """Draws objects with the matching network.

    Parameters
    ----------
    network : MatchingNetwork
        Ready for inference on ``device``.
    device : device
        Where to compute.
    dtype : dtype
        Precision of the convolutions.
    """

    def __init__(self, network: MatchingNetwork, device: torch.device, dtype: torch.dtype) -> None:
        self._network = network
        self._device = device
        self._dtype = dtype
        self._pixels_at_once = _PIXELS_AT_ONCE

    def draw(
        self,
        frame: int,
        features: FrameFeatures,
        planes: Sequence[Plane | None],
        covered: np.ndarray,
        memories: Sequence[Memory | None],
    ) -> list[Plane | None]:
        """Draw every object of a frame from what is remembered of it in other frames.

        Parameters
        ----------
        frame : int
            Its index: nothing remembered of the frame itself is used.
        features : FrameFeatures
            Of the frame.
        planes : sequence of Plane or None
            The rough mask of each object, a hint that may be wrong.
        covered : ndarray
            (h, w) float32 share of each pixel that any object covers.
        memories : sequence of Memory or None
            What is remembered of each object.

        Returns
        -------
        list of Plane or None
            The probability of each object. The rough mask itself where nothing is remembered of an
            object; None where it has no mask either or is not found.
        """
        drawn = list(planes)
        usable = {
            slot: other
            for slot, memory in enumerate(memories)
            if memory is not None and (other := _without(memory, frame)) is not None
        }
        matches: dict[int, Tensor] = {}
        if len(usable) == 1 and len(planes) <= _SEARCHED_OBJECTS:
            # An object alone needs no votes on whose its mask is.
            matches = {slot: self._matches(features, memory, whole(features.size)) for slot, memory in usable.items()}
        elif len(planes) <= _SEARCHED_OBJECTS:
            found_by_slot = {slot: self._matches_and_votes(features, memory) for slot, memory in usable.items()}
            matches = {slot: found for slot, (found, _) in found_by_slot.items()}
            planes = reassigned(planes, {slot: votes for slot, (_, votes) in found_by_slot.items()}, features.size)
        by_shape: dict[tuple[int, int], list[tuple[int, Box, Tensor]]] = defaultdict(list)
        for slot, memory in usable.items():
            found = self._place(features, planes[slot], memory, matches.get(slot))
            if found is None:
                drawn[slot] = None
            else:
                by_shape[found[0].shape].append((slot, *found))
        for shape, boxes in by_shape.items():
            many = max(self._pixels_at_once // (shape[0] * shape[1]), 1)
            for start in range(0, len(boxes), many):
                batch = boxes[start : start + many]
                probabilities = self._in_halves(features, planes, covered, batch)
                for (slot, box, _), probability in zip(batch, probabilities, strict=True):
                    drawn[slot] = Plane(box, probability)
        return drawn

    def _in_halves(
        self,
        features: FrameFeatures,
        planes: Sequence[Plane | None],
        covered: np.ndarray,
        batch: Sequence[tuple[int, Box, Tensor]],
    ) -> list[np.ndarray]:
        """Draw a batch; where the device has no memory for it, one half after the other, and fewer from then on."""
        try:
            return list(self._probabilities(features, planes, covered, batch))
        except RuntimeError as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
        self._pixels_at_once //= 2
        half = len(batch) // 2
        return [
            *self._in_halves(features, planes, covered, batch[:half]),
            *self._in_halves(features, planes, covered, batch[half:]),
        ]

    def _place(
        self, features: FrameFeatures, plane: Plane | None, memory: Memory, matches: Tensor | None
    ) -> tuple[Box, Tensor] | None:
        """Return the box to draw an object in, and the matches (6, y / 8, x / 8) there.

        Without matches of the whole grid the object is sought around its rough mask only.
        """
        present = None if plane is None else _present(plane, features.size)
        if matches is None:
            if present is None or plane is None:
                return None
            box = box_around(present, _margin(plane))
            return None if box is None else (box, self._matches(features, memory, box))
        evidence = _evidence(matches[_SHARE_CHANNEL].numpy(), plane, memory)
        full = np.repeat(np.repeat(evidence, KEY_STRIDE, 0), KEY_STRIDE, 1)[: features.size[0], : features.size[1]]
        margin = _LEAST_MARGIN if plane is None else _margin(plane)
        box = box_around(full if present is None else full | present, margin)
        return None if box is None else (box, matches[(..., *box.at(KEY_STRIDE))])

    def _matches(self, features: FrameFeatures, memory: Memory, box: Box) -> Tensor:
        rows, columns = box.at(KEY_STRIDE)
        keys = features.keys.unflatten(0, features.grid)[rows, columns].to(memory.keys)
        with torch.inference_mode(), autocast(self._device, self._dtype):
            found = match(keys.flatten(0, 1), memory.keys, memory.inside, memory.outside)[0]
        return found.reshape(MATCH_CHANNELS, *keys.shape[:2]).float().cpu()

    def _matches_and_votes(self, features: FrameFeatures, memory: Memory) -> tuple[Tensor, np.ndarray]:
        """Return the matches (6, rows, columns) on the whole grid, and where the object is by vote (rows, columns)."""
        with torch.inference_mode(), autocast(self._device, self._dtype):
            found, votes = match_by_frame(features.keys.to(memory.keys), memory)
        shaped = found[0].reshape(MATCH_CHANNELS, *features.grid)
        return shaped.float().cpu(), votes.reshape(features.grid).float().cpu().numpy()

    def _probabilities(
        self,
        features: FrameFeatures,
        planes: Sequence[Plane | None],
        covered: np.ndarray,
        batch: Sequence[tuple[int, Box, Tensor]],
    ) -> np.ndarray:
        images, hints, levels = [], [], []
        for slot, box, _ in batch:
            where = box.at()
            own = np.zeros(box.shape, np.float32) if (plane := planes[slot]) is None else plane.within(box)
            others = np.clip(covered[where] - own, 0, 1)
            hints.append(torch.from_numpy(np.stack([own, others])))
            images.append(torch.from_numpy(np.ascontiguousarray(features.image[where])).permute(2, 0, 1))
            levels.append([level[(0, slice(None), *box.at(2 << index))] for index, level in enumerate(features.levels)])
        with torch.inference_mode(), autocast(self._device, self._dtype):
            logits = self._network(
                self._batch(images, torch.float32) / 255,
                [self._batch(each, self._dtype) for each in zip(*levels, strict=True)],
                self._batch([matches for _, _, matches in batch], torch.float32),
                self._batch(hints, torch.float32),
            )
        probabilities: np.ndarray = logits.float().sigmoid()[:, 0].cpu().numpy()
        return probabilities

    def _batch(self, parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        # All in one layout: where the network joins tensors of two, it spends a quarter of its time on copies.
        shape = len(parts), *parts[0].shape
        batch = torch.empty(shape, dtype=dtype, device=parts[0].device, memory_format=torch.channels_last)
        for row, part in zip(batch, parts, strict=True):
            row.copy_(part)
        return batch.to(self._device)


def _without(memory: Memory, frame: int) -> Memory | None:
    """Leave out what is remembered of one frame; None if no position on the object is left."""
    others = memory.frames != frame
    if not bool(others.all()):
        memory = Memory(memory.keys[others], memory.inside[others], memory.outside[others], memory.frames[others])
    return memory if float(memory.inside.sum()) > 0 else None


def _present(plane: Plane, size: tuple[int, int]) -> np.ndarray:
    present = np.zeros(size, bool)
    present[plane.box.at()] = plane.values > 0
    return present


def _margin(plane: Plane) -> float:
    longest = max(plane.box.shape)
    return float(np.clip(_MARGIN_SHARE * longest, _LEAST_MARGIN, _LARGEST_MARGIN))


def _evidence(share: np.ndarray, plane: Plane | None, memory: Memory) -> np.ndarray:
    """Return the positions (rows, columns) bool that look like the object, in pieces worth drawing.

    Pieces that touch the rough mask count at any size, others from a fifth of the object's usual size.
    """
    pieces, count = ndimage.label(share > _EVIDENCE, np.ones((3, 3), int))
    if not count:
        return np.zeros(share.shape, bool)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    everything = float((memory.inside + memory.outside).sum())
    usual = float(memory.inside.sum()) / max(everything, 1e-6) * share.size
    kept = sizes >= max(_LEAST_EVIDENCE * usual, 2)
    if plane is not None:
        top, left = plane.box.top // KEY_STRIDE, plane.box.left // KEY_STRIDE
        bottom, right = -(-plane.box.bottom // KEY_STRIDE), -(-plane.box.right // KEY_STRIDE)
        kept[np.unique(pieces[top:bottom, left:right])] = True
    kept[0] = False
    return np.asarray(kept[pieces])
