"""OCLR's planes as objects: kept apart through the groups of frames it works in, ranked by how much they show."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize

from ..core.events import Progress
from .regions import PackedPlane

if TYPE_CHECKING:
    from .oclr_masks import FrameLayers

_LEAST_SHARE_OF_LARGEST = 0.05


@dataclass(frozen=True)
class PackedLayers:
    """The objects of one frame, kept small in memory.

    Parameters
    ----------
    labels : PackedPlane
        (h, w) uint8 label map of what is visible.
    whole : dict of int to PackedPlane
        Object id to (h, w) bool, hidden parts included.
    front_to_back : tuple of int
        Their ids, the frontmost first.
    """

    labels: PackedPlane
    whole: dict[int, PackedPlane]
    front_to_back: tuple[int, ...]


def collect_planes(
    frames: Iterable[tuple[int, FrameLayers]], length: int, limit: int | None
) -> Generator[Progress, None, list[PackedLayers]]:
    """Turn OCLR's planes into label maps with one id an object.

    From frame to frame the planes are matched by overlap, since their order may change where a
    new group of frames begins. Objects get the ids 1, 2, ... by their total area; those under 5 %
    of the largest are left out.

    Parameters
    ----------
    frames : iterable of (int, FrameLayers)
        Frame, ascending from 0, and what OCLR sees in it.
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
    list of PackedLayers
        The objects of each frame.
    """
    last: np.ndarray | None = None
    totals: np.ndarray | None = None
    packed: list[tuple[PackedPlane, list[PackedPlane], np.ndarray]] = []
    for frame, layers in frames:
        planes = layers.modal
        if last is None or totals is None:
            last, totals = planes.copy(), np.zeros(len(planes), np.int64)
        order = _order(last, planes)
        planes = planes[order]
        totals += planes.sum(axis=(1, 2))
        # A plane that is empty for a while keeps its last mask, to be matched again.
        shown = planes.any(axis=(1, 2))
        last[shown] = planes[shown]
        slots = (planes * np.arange(1, len(planes) + 1)[:, None, None]).sum(0).astype(np.uint8)
        whole = [PackedPlane.pack(plane) for plane in layers.amodal[order]]
        packed.append((PackedPlane.pack(slots), whole, layers.depth[order]))
        yield Progress("Measuring motion", frame + 1, length)
    if totals is None:
        return []
    ids = np.zeros(len(totals) + 1, np.uint8)
    objects = {slot: object_id for object_id, slot in enumerate(_prominent(totals, limit), start=1)}
    for slot, object_id in objects.items():
        ids[slot + 1] = object_id
    return [
        PackedLayers(
            PackedPlane.pack(ids[slots.unpack()]),
            {object_id: whole[slot] for slot, object_id in objects.items()},
            tuple(objects[int(slot)] for slot in np.argsort(depth) if int(slot) in objects),
        )
        for slots, whole, depth in packed
    ]


def _prominent(totals: np.ndarray, limit: int | None) -> list[int]:
    ranked = [int(slot) for slot in np.argsort(-totals, kind="stable") if totals[slot] > 0]
    return [slot for slot in ranked if totals[slot] >= _LEAST_SHARE_OF_LARGEST * totals[ranked[0]]][:limit]


def _order(last: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Return for each object of the last frame which plane continues it."""
    shared = np.einsum("ayx,byx->ab", last.astype(np.float32), planes.astype(np.float32))
    either = last.sum(axis=(1, 2))[:, None] + planes.sum(axis=(1, 2))[None] - shared
    # Without overlap the order stays as it is.
    score = shared / np.maximum(either, 1) + 1e-6 * np.eye(len(planes))
    return np.asarray(optimize.linear_sum_assignment(-score)[1])
