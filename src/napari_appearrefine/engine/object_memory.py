"""What the built-in model remembers of each object: positions on and beside it in frames with good masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .networks.matching import KEY_STRIDE, Memory
from .object_masks import Plane

_POSITIONS = 24576
_MOST, _FEWEST = 1536, 384
_TRAINED_POSITIONS = 1536
_NEAR_SHARE = 2 / 3
_TOUCHED = 0.02
_KEPT_MEMORIES = 3


@dataclass(frozen=True)
class RememberedFrame:
    """One frame to learn from.

    Parameters
    ----------
    keys : Tensor
        (p, c) unit vectors of its positions, row by row.
    grid : tuple of int
        Rows and columns of the positions.
    planes : sequence of Plane or None
        The mask of each object on the working grid.
    """

    keys: Tensor
    grid: tuple[int, int]
    planes: Sequence[Plane | None]
    _kept: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def kept(self, slot: int, size: tuple[int, int], budget: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return which of its positions to remember of an object, and how much each counts as on and as beside it.

        From one frame to the next most of the exemplars stay: this is worked out once for each.
        """
        if (slot, budget) not in self._kept:
            coverage = torch.from_numpy(coarse_coverage(self.planes[slot], self.grid, size))
            kept, share = _thin_out(coverage, self.grid, budget)
            self._kept[slot, budget] = kept, coverage[kept] * share, (1 - coverage[kept]) * share
        return self._kept[slot, budget]


class ObjectMemories:
    """Collects positions for each object from the frames that teach it, and keeps the last few memories.

    Parameters
    ----------
    frame_of : callable
        Frame index to what is there to learn.
    size : tuple of int
        Height and width of the working grid.
    """

    def __init__(self, frame_of: Callable[[int], RememberedFrame], size: tuple[int, int]) -> None:
        self._frame_of = frame_of
        self._size = size
        self._last: dict[int, list[tuple[Mapping[int, float], Memory]]] = {}

    def __call__(self, weights: Mapping[int, Mapping[int, float]]) -> list[Memory | None]:
        """Return the memory of every object, thinned out far from it; None for one without a frame to learn from.

        Parameters
        ----------
        weights : mapping of int to mapping
            For each object id, in the order of the planes, frame to how much it counts, 0 to 1.
        """
        budget = int(np.clip(_POSITIONS // max(len(weights), 1), _FEWEST, _MOST))
        return [self._memory(slot, chosen, budget) if chosen else None for slot, chosen in enumerate(weights.values())]

    def _memory(self, slot: int, chosen: Mapping[int, float], budget: int) -> Memory:
        recent = self._last.setdefault(slot, [])
        for known, memory in recent:
            if known == chosen:
                return memory
        memory = _collect(self._frame_of, slot, chosen, self._size, budget)
        # Three: beside an exemplar, which leaves itself out, frames need those of both sides.
        recent[:] = [(chosen, memory), *recent[: _KEPT_MEMORIES - 1]]
        return memory


def _collect(
    frame_of: Callable[[int], RememberedFrame],
    slot: int,
    chosen: Mapping[int, float],
    size: tuple[int, int],
    budget: int,
) -> Memory:
    keys, inside, outside, origins = [], [], [], []
    for frame, trust in sorted(chosen.items()):
        seen = frame_of(frame)
        kept, on, beside = seen.kept(slot, size, max(budget // len(chosen), 32))
        keys.append(seen.keys[kept.to(seen.keys.device)])
        inside.append(on * trust)
        outside.append(beside * trust)
        origins.append(torch.full((len(kept),), frame))
    within, without = torch.cat(inside), torch.cat(outside)
    # The network learned from 1536 positions an object; evidence grows with their number.
    scale = _TRAINED_POSITIONS * float(np.mean(list(chosen.values()))) / (within + without).sum().clamp_min(1e-6)
    device = keys[0].device
    return Memory(
        torch.cat(keys),
        (within * scale)[:, None].float().to(device),
        (without * scale)[:, None].float().to(device),
        torch.cat(origins).to(device),
    )


def coarse_coverage(plane: Plane | None, grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Return the share of each position's pixels that an object covers, (p,) float32 row by row."""
    coverage = np.zeros(grid, np.float32)
    if plane is not None:
        box = plane.box
        stride = KEY_STRIDE
        top, left = box.top // stride, box.left // stride
        bottom, right = min(-(-box.bottom // stride), grid[0]), min(-(-box.right // stride), grid[1])
        padded = np.zeros(((bottom - top) * stride, (right - left) * stride), np.float32)
        padded[
            box.top - top * stride : box.bottom - top * stride, box.left - left * stride : box.right - left * stride
        ] = plane.values[: padded.shape[0], : padded.shape[1]]
        pooled = F.avg_pool2d(torch.from_numpy(padded)[None, None], stride)[0, 0].numpy()
        # Positions of the last row and column may stand for fewer pixels than the others.
        rows = np.minimum(size[0] - np.arange(top, bottom) * stride, stride) / stride
        columns = np.minimum(size[1] - np.arange(left, right) * stride, stride) / stride
        coverage[top:bottom, left:right] = pooled / (rows[:, None] * columns)
    return coverage.ravel()


def _thin_out(coverage: Tensor, grid: tuple[int, int], budget: int) -> tuple[Tensor, Tensor]:
    """Keep positions on and beside the object first; return their indices and how many each stands for."""
    near = F.max_pool2d(coverage.reshape(1, 1, *grid), 3, 1, 1).flatten() > _TOUCHED
    kept, share = [], []
    room_near = int(budget * _NEAR_SHARE)
    for chosen, room in ((near.nonzero()[:, 0], room_near), ((~near).nonzero()[:, 0], budget - room_near)):
        if not len(chosen):
            continue
        taken = chosen[torch.linspace(0, len(chosen) - 1, min(len(chosen), max(room, 1))).round().long()]
        kept.append(taken)
        share.append(torch.full((len(taken),), len(chosen) / len(taken)))
    return torch.cat(kept), torch.cat(share)
