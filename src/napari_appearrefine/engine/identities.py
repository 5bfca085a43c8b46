"""Identities: parts of a rough mask that look like another object are taken as hints at that one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from scipy import ndimage

from .networks.matching import KEY_STRIDE
from .object_masks import Plane
from .object_memory import coarse_coverage

_MAJORITY = 0.5
_COVERED = 0.3
_LEAST_SHARE = 0.1
_LEAST_POSITIONS = 3


def reassigned(
    planes: Sequence[Plane | None], votes: Mapping[int, np.ndarray], size: tuple[int, int]
) -> list[Plane | None]:
    """Give parts of masks to the object that they look like, where an id was exchanged or two objects ran together.

    Parameters
    ----------
    planes : sequence of Plane or None
        The rough mask of each object.
    votes : mapping of int to ndarray
        Place among the objects to the votes (rows, columns) for that one, 0 to 1, from
        :func:`networks.matching.match_by_frame`; objects of which nothing is remembered are left out.
    size : tuple of int
        Height and width of the working grid.

    Returns
    -------
    list of Plane or None
        The masks with connected parts moved to another object where most votes are for that one and fewer than half
        for their own, and the rest of a separate piece that is mostly moved; parts of less than a tenth of a mask stay.
    """
    known = [slot for slot, plane in enumerate(planes) if slot in votes and plane is not None]
    if not known or len(votes) < 2:
        return list(planes)
    slots = list(votes)
    voted = np.stack([cv2.blur(votes[slot], (3, 3)) for slot in slots])
    best, highest = voted.argmax(0), voted.max(0)
    empty = np.zeros(size, np.float32)
    full = {slot: empty if (plane := planes[slot]) is None else plane.on(size) for slot in slots}
    moved = dict.fromkeys(slots, (empty, empty))
    for slot in known:
        covered = coarse_coverage(planes[slot], best.shape, size).reshape(best.shape) > _COVERED
        own = voted[slots.index(slot)]
        clear = covered & (highest > _MAJORITY) & (own < _MAJORITY)
        least = max(_LEAST_SHARE * np.count_nonzero(covered), _LEAST_POSITIONS)
        for place, other in enumerate(slots):
            region = _whole_parts(_large_parts(clear & (best == place), least), covered)
            if region.any():
                part = np.where(_enlarged(region, size), full[slot], 0)
                moved[slot] = np.maximum(moved[slot][0], part), moved[slot][1]
                moved[other] = moved[other][0], np.maximum(moved[other][1], part)
    result = list(planes)
    for slot, (gone, come) in moved.items():
        if gone.any() or come.any():
            result[slot] = Plane.around(np.maximum(full[slot] - gone, come))
    return result


def _large_parts(region: np.ndarray, least: float) -> np.ndarray:
    parts, count = ndimage.label(region, np.ones((3, 3), int))
    large = np.bincount(parts.ravel(), minlength=count + 1) >= least
    large[0] = False
    return np.asarray(large[parts])


def _whole_parts(region: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Add the rest of each connected part of a mask of which the region holds more than half."""
    parts, count = ndimage.label(covered, np.ones((3, 3), int))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    mostly = 2 * np.bincount(parts[region], minlength=count + 1) > sizes
    mostly[0] = False
    return np.asarray(region | mostly[parts])


def _enlarged(region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.repeat(np.repeat(region, KEY_STRIDE, 0), KEY_STRIDE, 1)[: size[0], : size[1]]
