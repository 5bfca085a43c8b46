"""Selection: which frames' masks are good enough to teach the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..core.guidance import Guidance


def select_exemplars(
    scores: np.ndarray,
    areas: Mapping[int, np.ndarray],
    count: int,
    spread: bool = False,
    guidance: Guidance | None = None,
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
    guidance : Guidance, optional
        Frames that a person pinned or made true are exemplars before all others, whatever their score
        and their number; banned ones never are.

    Returns
    -------
    dict of int to list of int
        Object id to frames, ascending.
    """
    guidance = guidance or Guidance()
    chosen: dict[int, list[int]] = {}
    for column, (object_id, area) in enumerate(areas.items()):
        first = sorted(guidance.exemplars_of(object_id))
        refused = [*first, *guidance.banned.get(object_id, ())]
        ranked = np.argsort(-scores[:, column], kind="stable")
        ranked = ranked[~np.isin(ranked, refused)]
        if spread:
            ranked = _spread(ranked[area[ranked] > 0], count, first)
        chosen[object_id] = sorted([*first, *(int(frame) for frame in ranked[: max(count - len(first), 0)])])
    return chosen


def _spread(ranked: np.ndarray, count: int, first: Sequence[int]) -> np.ndarray:
    """Rank only frames that are apart from each other, and from those that were chosen first."""
    gap = (len(ranked) + len(first)) / (2 * count)
    taken = list(first)
    for frame in ranked:
        if len(taken) >= count:
            break
        if all(abs(int(frame) - other) >= gap for other in taken):
            taken.append(int(frame))
    return np.asarray(taken[len(first) :], dtype=np.int64)
