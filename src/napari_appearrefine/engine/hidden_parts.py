"""What is hidden of an object behind another one, and their order by depth: from visible masks and motion alone.

Where an object was seen and, moved along, another one is seen now, it lies behind that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .regions import Patch, patches_of
from .spool import Spool
from .whole_shapes import WholeShapes

_REMEMBERED = 0.9
_LEAST_SHARE = 0.02
_LEAST_PIECE = 0.1
_LARGEST = 1.25
_NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Depth:
    """What is behind what in one frame.

    Parameters
    ----------
    hidden : dict of int to Patch
        Object id to where it is behind another one; only objects that are hidden in part.
    front_to_back : tuple of int
        The ids of all objects that are seen or hidden, the frontmost first.
    size : tuple of int
        Height and width of the grid on which the hidden parts are.
    """

    hidden: dict[int, Patch]
    front_to_back: tuple[int, ...]
    size: tuple[int, int]

    def whole(self, labels: np.ndarray) -> WholeShapes:
        """Complete visible masks: object id to (Y, X) bool, for labels (Y, X) of any size, which must not change."""

        def shape_of(object_id: int) -> np.ndarray:
            shape: np.ndarray = labels == object_id
            if object_id in self.hidden:
                hidden = self.hidden[object_id].on(self.size)
                seen = cv2.resize(shape.view(np.uint8), self.size[::-1], interpolation=cv2.INTER_NEAREST)
                closed = cv2.morphologyEx(seen | hidden.view(np.uint8), cv2.MORPH_CLOSE, _NEIGHBOURS)
                likely = cv2.resize(closed.astype(np.float32), labels.shape[::-1], interpolation=cv2.INTER_LINEAR)
                shape |= (likely > 0.5) & (labels > 0)
            return shape

        return WholeShapes(self.front_to_back, shape_of)


def hidden_parts(labels: Spool, motions: np.ndarray, object_ids: Sequence[int]) -> Iterator[Depth]:
    """Find what is hidden in every frame of a clip, by what was seen before and by what is seen afterwards.

    Who is in front is decided by how much of one lies behind the other, counted over the frames nearby: a mask
    that trembles speaks for both, and a strip of a pixel or two is no part. What is hidden moves as the rest of the
    object, without turning. What would make an object larger than a quarter more than it is ever seen is not believed.

    Parameters
    ----------
    labels : Spool
        For each frame (h, w) integer labels, what is seen.
    motions : ndarray
        (T, Q, 2) float, the motion (x, y) of each object to the next frame, in pixels of the labels.
    object_ids : sequence of int
        The Q ids.

    Yields
    ------
    Depth
        Of each frame in order. Memory does not grow with their number, nor with that of the objects but by what
        is hidden of them.
    """
    length = len(motions)
    behind_later, votes_later = Spool(), Spool()
    largest = np.zeros(len(object_ids))
    for step in _carried(labels, -motions, range(length - 1, -1, -1), object_ids):
        behind_later.append(step.behind)
        votes_later.append(step.votes)
        largest = np.maximum(largest, step.areas)
    arriving = np.concatenate([motions[:1], motions[:-1]])
    for frame, step in enumerate(_carried(labels, arriving, range(length), object_ids)):
        votes = step.votes + votes_later[length - 1 - frame]
        in_front = votes > votes.T
        behind = np.unique(np.concatenate([step.behind, behind_later[length - 1 - frame]]), axis=0)
        behind = behind[in_front[behind[:, 0], behind[:, 2]]]
        hidden = {}
        for slot in np.unique(behind[:, 0]):
            places = np.zeros(step.size, np.uint8)
            places.ravel()[behind[behind[:, 0] == slot, 1]] = 1
            # Strips that came into sight one after the other leave gaps between them.
            closed = cv2.morphologyEx(places, cv2.MORPH_CLOSE, _NEIGHBOURS)
            part = _solid(cv2.morphologyEx(closed, cv2.MORPH_OPEN, _NEIGHBOURS))
            area = np.count_nonzero(part)
            whole = step.areas[slot] + area
            if area >= max(_LEAST_SHARE * whole, 1) and whole <= _LARGEST * largest[slot]:
                hidden[object_ids[slot]] = patches_of(part.view(np.uint8))[1]
        present = [slot for slot, key in enumerate(object_ids) if step.areas[slot] or key in hidden]
        yield Depth(hidden, tuple(object_ids[slot] for slot in _front_first(present, in_front)), step.size)


@dataclass(frozen=True)
class _Step:
    """What carrying in one direction of time tells of a frame.

    Parameters
    ----------
    behind : ndarray
        (n, 3) int32: which object lies at which pixel behind which other one; objects by their place among all.
    votes : ndarray
        (Q, Q) float32, how much speaks for the second being in front of the first.
    areas : ndarray
        (Q,) pixels that are seen of each.
    size : tuple of int
        Height and width of the frame.
    """

    behind: np.ndarray
    votes: np.ndarray
    areas: np.ndarray
    size: tuple[int, int]


def _carried(labels: Spool, motions: np.ndarray, frames: Iterable[int], object_ids: Sequence[int]) -> Iterator[_Step]:
    """Carry what is seen and what is hidden along from frame to frame; ``motions`` are those that arrive at a frame."""
    count = len(object_ids)
    slots = np.zeros(max(object_ids) + 1, np.int32)
    slots[list(object_ids)] = np.arange(1, count + 1)
    votes = np.zeros((count, count), np.float32)
    points, owners, fresh = np.zeros((0, 2)), np.zeros(0, np.int32), np.zeros(0, bool)
    for frame in frames:
        seen = slots[labels[frame]]
        height, width = seen.shape
        points = points + motions[frame][owners]
        # Not to the nearest even number: places half a pixel off would fall on each other.
        columns, rows = np.floor(points + 0.5).astype(np.intp).T
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        places = np.where(inside, rows * width + columns, 0)
        others = np.where(inside, seen.ravel()[places], 0) - 1
        behind = (others >= 0) & (others != owners)
        votes = _REMEMBERED * votes
        np.add.at(votes, (owners[behind & fresh], others[behind & fresh]), 1)
        _, first = np.unique(owners[behind].astype(np.int64) * seen.size + places[behind], return_index=True)
        kept = np.flatnonzero(behind)[first]
        found = np.stack([owners[kept], places[kept], others[kept]], axis=1).astype(np.int32)
        yield _Step(found, votes, np.bincount(seen.ravel(), minlength=count + 1)[1:], (height, width))
        shown = np.flatnonzero(seen)
        points = np.concatenate([np.stack([shown % width, shown // width], axis=1), points[kept]])
        owners = np.concatenate([seen.ravel()[shown] - 1, owners[kept]])
        fresh = np.arange(len(points)) < len(shown)


def _solid(mask: np.ndarray) -> np.ndarray:
    """Leave out pieces of a mask (h, w) uint8 far smaller than its largest one and fill its holes; (h, w) bool."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    areas[0] = 0
    kept = (areas >= max(_LEAST_PIECE * areas.max(), 1))[pieces].astype(np.uint8)
    outlines, _ = cv2.findContours(kept, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(kept, outlines, -1, 1, cv2.FILLED) > 0)


def _front_first(present: Sequence[int], in_front: np.ndarray) -> list[int]:
    """Order objects so that as few as can be come before one that is in front of them."""
    left, ordered = list(present), []
    while left:
        following = min(left, key=lambda slot: int(in_front[slot, left].sum()))
        left.remove(following)
        ordered.append(following)
    return ordered
