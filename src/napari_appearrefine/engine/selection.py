"""Selection: which frames' masks are good enough to teach the others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def select_exemplars(
    scores: np.ndarray, areas: Mapping[int, np.ndarray], count: int, spread: bool = False
) -> dict[int, list[int]]:
    """Choose the exemplar frames of every object.

    Parameters
    ----------
    scores : ndarray
        (T, Q) float, higher is better, one column an object in the order of ``areas``.
    areas : dict of int to ndarray
        Object id to (T,) areas in pixels.
    count : int
        Exemplars an object; all frames if there are fewer.
    spread : bool
        False: the best scores, as published (METHOD: "the n best frames per object, sorted by
        time"). True: only frames where the object is present, at most one in each stretch of
        T / (2 * count) frames, so that ten neighbours of one good frame are never chosen.

    Returns
    -------
    dict of int to list of int
        Object id to frames, ascending.
    """
    chosen: dict[int, list[int]] = {}
    for column, (object_id, area) in enumerate(areas.items()):
        ranked = np.argsort(-scores[:, column], kind="stable")
        if spread:
            ranked = _spread(ranked[area[ranked] > 0], count)
        chosen[object_id] = sorted(int(frame) for frame in ranked[:count])
    return chosen


def _spread(ranked: np.ndarray, count: int) -> np.ndarray:
    gap = len(ranked) / (2 * count)
    taken: list[int] = []
    for frame in ranked:
        if len(taken) == count:
            break
        if all(abs(int(frame) - other) >= gap for other in taken):
            taken.append(int(frame))
    return np.asarray(taken, dtype=np.int64)
