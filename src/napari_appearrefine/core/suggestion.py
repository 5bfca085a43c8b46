"""Next to fix: the frame whose correction would help most, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Measured on rendered scenes by benchmarks/annotator_constants.py, see there.
_REACH = 32.0
_WITHOUT_MOTION = 0.7
_DOUBT = 0.27
_FAIR, _GOOD = 0.75, 0.9


@dataclass(frozen=True)
class Suggestion:
    """A frame that a person should look at.

    Parameters
    ----------
    frame : int
        Its index.
    object_id : int
        The object that needs it most there.
    gain : float
        How much the whole clip is expected to gain, see :func:`expected_gains`; for comparison only.
    reason : str
        One sentence on why.
    """

    frame: int
    object_id: int
    gain: float
    reason: str


def expected_gains(
    quality: np.ndarray, known: np.ndarray, links: np.ndarray | None = None, reach: float = _REACH
) -> np.ndarray:
    """Estimate how much the clip gains if one frame of one object is corrected.

    The correction of frame ``f`` is taken to help frame ``t`` by
    ``k(f, t) = exp(-|f - t| / reach) * (0.7 + 0.3 w^2)``, where ``w`` is the product of the links between them: a
    part of the help only goes as far as the object can be followed. What is lost in ``t`` is ``1 - quality(t)``,
    and 0.27 more, by which estimates are too good where all masks share a fault. As much of it as the best of the
    true frames helps is not gained again. So

    ``gain(f) = sum_t (1.27 - quality(t)) * max(k(f, t) - max_e k(e, t), 0)``, e over the true frames,

    which is the step of the greedy algorithm for the facility-location problem (Nemhauser, Wolsey and
    Fisher, "An analysis of approximations for maximizing submodular set functions", 1978).

    Parameters
    ----------
    quality : ndarray
        (T,) float estimated quality of the masks in 0..1; NaN counts as 0.5.
    known : ndarray
        (T,) bool, frames that are true already: a person painted or accepted them.
    links : ndarray, optional
        (T - 1,) float in 0..1, how well the object can be followed from each frame to the next, from
        :func:`engine.followability.motion_links`; 1 if not given, so that time alone counts.
    reach : float
        Over how many frames the help falls to 1 / e where the object can be followed.

    Returns
    -------
    ndarray
        (T,) float64, 0 for known frames.
    """
    lost = 1 + _DOUBT - np.clip(np.where(np.isnan(quality), 0.5, quality), 0, 1)
    lost = np.where(known, 0.0, lost)
    helps = _Help(len(quality), links, reach)
    covered = np.zeros(len(quality))
    for frame in np.flatnonzero(known).tolist():
        covered = np.maximum(covered, helps.of(frame))
    gains = np.zeros(len(quality))
    for frame in np.flatnonzero(~known).tolist():
        gains[frame] = float((lost * np.maximum(helps.of(frame) - covered, 0)).sum())
    return gains


def next_to_fix(
    quality: np.ndarray,
    known: np.ndarray,
    object_ids: Sequence[int],
    links: Mapping[int, np.ndarray] | None = None,
    reach: float = _REACH,
) -> Suggestion | None:
    """Return the frame whose correction would help most over all objects.

    Parameters
    ----------
    quality : ndarray
        (T, Q) float estimated quality of the masks as they are; NaN if unknown.
    known : ndarray
        (T, Q) bool, masks that a person painted, locked or accepted.
    object_ids : sequence of int
        The Q objects.
    links : mapping of int to ndarray, optional
        Object id to (T - 1,) links as of :func:`expected_gains`.
    reach : float
        As of :func:`expected_gains`.

    Returns
    -------
    Suggestion or None
        None if a person has seen all masks.
    """
    if known.size == 0 or known.all():
        return None
    of_objects = [(links or {}).get(object_id) for object_id in object_ids]
    gains = np.stack(
        [expected_gains(quality[:, slot], known[:, slot], each, reach) for slot, each in enumerate(of_objects)], axis=1
    )
    gains[known.all(axis=1)] = -1.0
    total = gains.sum(axis=1)
    frame = int(np.argmax(total))
    slot = int(np.argmax(np.where(known[frame], -1.0, gains[frame])))
    near = _Help(len(quality), of_objects[slot], reach).of(frame) > np.exp(-1)
    return Suggestion(
        frame, object_ids[slot], float(total[frame]), _reason(frame, quality[:, slot], known[:, slot], near)
    )


def next_unreviewed(reviewed: np.ndarray, frame: int, step: int = 1) -> int | None:
    """Return the next frame, or with ``step=-1`` the previous one, with a mask that no person has seen.

    Parameters
    ----------
    reviewed : ndarray
        (T, Q) bool, masks that a person painted, locked or accepted.
    frame : int
        Where to start; the search goes on at the other end of the clip.
    step : {1, -1}
        Direction.
    """
    count = len(reviewed)
    for distance in range(1, count + 1):
        candidate = (frame + step * distance) % count
        if not reviewed[candidate].all():
            return candidate
    return None


class _Help:
    """How much the correction of one frame helps every other, as :func:`expected_gains` describes it."""

    def __init__(self, frames: int, links: np.ndarray | None, reach: float) -> None:
        self._times = np.arange(frames) / reach
        # Where the object can be followed there is no loss on the way: the logarithm of the link is 0.
        steps = np.zeros(max(frames - 1, 0)) if links is None else -2 * np.log(np.clip(links, 1e-3, 1))
        self._lost_on_the_way = np.concatenate([[0.0], np.cumsum(steps)])

    def of(self, frame: int) -> np.ndarray:
        """Return the help of one frame for each, (T,) float64 in 0..1."""
        followed = np.exp(-np.abs(self._lost_on_the_way - self._lost_on_the_way[frame]))
        near = np.exp(-np.abs(self._times - self._times[frame]))
        return np.asarray(near * (_WITHOUT_MOTION + (1 - _WITHOUT_MOTION) * followed))


def _reason(frame: int, quality: np.ndarray, known: np.ndarray, near: np.ndarray) -> str:
    poor = int(np.count_nonzero(near & ~known & ~(quality >= _FAIR)))
    own = quality[frame]
    if np.isnan(own):
        opening = "Nothing is known yet about the mask here"
    else:
        word = "poor" if own < _FAIR else "fair" if own < _GOOD else "good"
        opening = f"The mask here looks {word} (about {100 * own:.0f} % right)"
    true_frames = np.flatnonzero(known)
    if true_frames.size:
        apart = int(np.abs(true_frames - frame).min())
        place = f"the nearest frame you corrected is {apart} frame{'s' if apart != 1 else ''} away"
    else:
        place = "no frame near it has been corrected"
    if poor > 1:
        return f"{opening}, {place}, and {poor} poor masks around it would follow it."
    return f"{opening}, and {place}."
