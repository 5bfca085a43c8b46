"""Where an object probably is in a frame that has no mask of it: between where its neighbours in time show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .boxes import Box
from .object_masks import Plane

_REACH_BETWEEN, _REACH_BEYOND = 10, 3


@dataclass(frozen=True)
class Gap:
    """The frames nearest to a gap in which an object has a mask; one of them may be missing."""

    before: int | None
    after: int | None

    @property
    def frames(self) -> list[int]:
        """Those of the two that are there."""
        return [frame for frame in (self.before, self.after) if frame is not None]


def gap_at(area: np.ndarray, frame: int) -> Gap | None:
    """Find the masks around a frame without one.

    Parameters
    ----------
    area : ndarray
        (T,) area of the object's mask in each frame.
    frame : int
        A frame.

    Returns
    -------
    Gap or None
        None if the frame has a mask, or the gap is too long to guess: more than 10 frames on either
        side between two masks, more than 3 beyond the first or the last.
    """
    if area[frame] > 0:
        return None
    earlier, later = np.flatnonzero(area[:frame]), np.flatnonzero(area[frame + 1 :])
    before = int(earlier[-1]) if len(earlier) else None
    after = frame + 1 + int(later[0]) if len(later) else None
    reach = _REACH_BEYOND if before is None or after is None else _REACH_BETWEEN
    near = [other for other in (before, after) if other is not None]
    if not near or max(abs(other - frame) for other in near) > reach:
        return None
    return Gap(before, after)


def guess(frame: int, gap: Gap, plane_of: Callable[[int], Plane | None], size: tuple[int, int]) -> Plane | None:
    """Return the nearer mask of a gap, moved to where a straight way between the two leads.

    Parameters
    ----------
    frame : int
        The frame without a mask.
    gap : Gap
        Where masks are.
    plane_of : callable
        Frame index to the object's mask there.
    size : tuple of int
        Height and width of the working grid.
    """
    planes = {other: plane for other in gap.frames if (plane := plane_of(other)) is not None}
    if not planes:
        return None
    nearest = min(planes, key=lambda other: abs(other - frame))
    moved = np.zeros(2)
    if len(planes) == 2:
        (first, start), (last, end) = sorted(planes.items())
        way = _centre(end) - _centre(start)
        moved = way * (frame - nearest) / (last - first)
    return _shifted(planes[nearest], np.round(moved).astype(int), size)


def frames_of_guesses(areas: Sequence[np.ndarray], frame: int) -> list[int]:
    """Return the frames whose masks the guesses at a frame depend on, ascending."""
    gaps = (gap_at(area, frame) for area in areas)
    return sorted({other for gap in gaps if gap is not None for other in gap.frames})


def _centre(plane: Plane) -> np.ndarray:
    rows, columns = np.nonzero(plane.values > 0)
    return np.array([plane.box.top + rows.mean(), plane.box.left + columns.mean()])


def _shifted(plane: Plane, by: np.ndarray, size: tuple[int, int]) -> Plane | None:
    box = plane.box
    moved = replace(plane, box=Box(box.top + by[0], box.bottom + by[0], box.left + by[1], box.right + by[1]))
    inside = Box(
        max(moved.box.top, 0), min(moved.box.bottom, size[0]), max(moved.box.left, 0), min(moved.box.right, size[1])
    )
    if inside.top >= inside.bottom or inside.left >= inside.right:
        return None
    return Plane(inside, moved.within(inside))
