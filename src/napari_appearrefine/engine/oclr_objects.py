"""OCLR's planes as objects: kept apart through the groups of frames it works in, ranked by how much they show."""

from __future__ import annotations

from collections.abc import Generator, Iterable

import numpy as np
from scipy import optimize

from ..core.events import Progress
from .regions import PackedPlane

_LEAST_SHARE_OF_LARGEST = 0.05


def collect_planes(
    frames: Iterable[tuple[int, np.ndarray]], length: int, limit: int | None
) -> Generator[Progress, None, list[PackedPlane]]:
    """Turn OCLR's planes into label maps with one id an object.

    From frame to frame the planes are matched by overlap, since their order may change where a
    new group of frames begins. Objects get the ids 1, 2, ... by their total area; those under 5 %
    of the largest are left out.

    Parameters
    ----------
    frames : iterable of (int, ndarray)
        Frame, ascending from 0, and (Q, h, w) bool planes that do not overlap.
    length : int
        Frames of the clip.
    limit : int or None
        At most this many objects.

    Yields
    ------
    Progress
        After each frame.

    Returns
    -------
    list of PackedPlane
        (h, w) uint8 label map of each frame.
    """
    last: np.ndarray | None = None
    totals: np.ndarray | None = None
    packed: list[PackedPlane] = []
    for frame, planes in frames:
        if last is None or totals is None:
            last, totals = planes.copy(), np.zeros(len(planes), np.int64)
        planes = planes[_order(last, planes)]
        totals += planes.sum(axis=(1, 2))
        # A plane that is empty for a while keeps its last mask, to be matched again.
        shown = planes.any(axis=(1, 2))
        last[shown] = planes[shown]
        packed.append(PackedPlane.pack((planes * np.arange(1, len(planes) + 1)[:, None, None]).sum(0).astype(np.uint8)))
        yield Progress("Measuring motion", frame + 1, length)
    if totals is None:
        return []
    ranked = [slot for slot in np.argsort(-totals, kind="stable") if totals[slot] > 0]
    ranked = [slot for slot in ranked if totals[slot] >= _LEAST_SHARE_OF_LARGEST * totals[ranked[0]]][:limit]
    ids = np.zeros(len(totals) + 1, np.uint8)
    for object_id, slot in enumerate(ranked, start=1):
        ids[slot + 1] = object_id
    return [PackedPlane.pack(ids[plane.unpack()]) for plane in packed]


def _order(last: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Return for each object of the last frame which plane continues it."""
    shared = np.einsum("ayx,byx->ab", last.astype(np.float32), planes.astype(np.float32))
    either = last.sum(axis=(1, 2))[:, None] + planes.sum(axis=(1, 2))[None] - shared
    # Without overlap the order stays as it is.
    score = shared / np.maximum(either, 1) + 1e-6 * np.eye(len(planes))
    return np.asarray(optimize.linear_sum_assignment(-score)[1])
