"""Which object is which in two labellings of one clip whose ids mean nothing to each other."""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..core.clip import FrameSource


def counterparts(masks: FrameSource, truth: FrameSource) -> dict[int, int]:
    """Pair objects with the true ones that they overlap most over the whole clip, one to one.

    Parameters
    ----------
    masks, truth : FrameSource
        (T, Y, X) integer labels of the same size, read frame by frame.

    Returns
    -------
    dict of int to int
        Object id to the true id, so that the sum of the pairs' intersections over unions is largest; without
        the objects that overlap none that is left.
    """
    shared: Counter[tuple[int, int]] = Counter()
    for frame in range(len(masks)):
        shared.update(_shared_pixels(np.asarray(masks[frame]), np.asarray(truth[frame])))
    own, true = Counter[int](), Counter[int]()
    for (one, other), pixels in shared.items():
        own[one] += pixels
        true[other] += pixels
    ids, true_ids = (sorted(key for key in areas if key) for areas in (own, true))
    overlap = np.zeros((len(ids), len(true_ids)))
    for row, one in enumerate(ids):
        for column, other in enumerate(true_ids):
            pixels = shared[one, other]
            overlap[row, column] = pixels / (own[one] + true[other] - pixels)
    pairs = zip(*linear_sum_assignment(-overlap), strict=True)
    return {ids[row]: true_ids[column] for row, column in pairs if overlap[row, column] > 0}


def _shared_pixels(one: np.ndarray, other: np.ndarray) -> dict[tuple[int, int], int]:
    """Count the pixels of every pair of values, the background's 0 included."""
    values, others = np.flatnonzero(np.bincount(one.ravel())), np.flatnonzero(np.bincount(other.ravel()))
    place, place_of_other = np.zeros(values[-1] + 1, np.intp), np.zeros(others[-1] + 1, np.intp)
    place[values], place_of_other[others] = np.arange(len(values)), np.arange(len(others))
    both = place[one.ravel()] * len(others) + place_of_other[other.ravel()]
    counts = np.bincount(both, minlength=len(values) * len(others))
    return {
        (int(values[each // len(others)]), int(others[each % len(others)])): int(counts[each])
        for each in np.flatnonzero(counts)
    }
