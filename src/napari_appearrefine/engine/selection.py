"""Selection: which frames' masks are good enough to teach the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ..core.guidance import Guidance

_NEAREST = 5


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
        Frames that a person pinned or made true are exemplars besides those that are chosen; with
        ``spread``, chosen ones too near to them give way. Banned frames are none. So a correction of one
        frame leaves the exemplars far from it as they were.

    Returns
    -------
    dict of int to list of int
        Object id to frames, ascending.
    """
    guidance = guidance or Guidance()
    chosen: dict[int, list[int]] = {}
    for column, (object_id, area) in enumerate(areas.items()):
        first = sorted(guidance.exemplars_of(object_id))
        ranked = np.argsort(-scores[:, column], kind="stable")
        ranked = ranked[~np.isin(ranked, list(guidance.banned.get(object_id, ())))]
        gap = 1.0
        if spread:
            ranked = ranked[area[ranked] > 0]
            gap = max(len(ranked) / (2 * count), 1.0)
            ranked = _spread(ranked, count, gap)
        free = [int(frame) for frame in ranked[:count] if all(abs(int(frame) - other) >= gap for other in first)]
        chosen[object_id] = sorted([*first, *free])
    return chosen


def nearest_exemplars(frame: int, chosen: Collection[int], count: int = _NEAREST) -> list[int]:
    """Return the exemplars of an object nearest in time to a frame, five unless told otherwise, ascending.

    The frame itself is left out if there is another: then a model has something to compare it with. Far exemplars
    add little to near ones, and so a change of one leaves frames far from it as they were.
    """
    others = sorted((other for other in chosen if other != frame), key=lambda other: (abs(other - frame), other))
    return sorted(others[:count]) or list(chosen)


def with_true_scores(scores: np.ndarray, object_ids: Sequence[int], guidance: Guidance) -> np.ndarray:
    """Give true masks the best score there is, because a person has judged them; (T, Q) in and out.

    Exemplars are chosen before, by the scores of the masks that were there: so those far from a true one stay.
    """
    scores = scores.copy()
    for slot, object_id in enumerate(object_ids):
        scores[sorted(guidance.truth.get(object_id, ())), slot] = scores[:, slot].max()
    return scores


def _spread(ranked: np.ndarray, count: int, gap: float) -> np.ndarray:
    """Keep the best frames that are apart from each other."""
    taken: list[int] = []
    for frame in ranked:
        if len(taken) == count:
            break
        if all(abs(int(frame) - other) >= gap for other in taken):
            taken.append(int(frame))
    return np.asarray(taken, dtype=np.int64)
