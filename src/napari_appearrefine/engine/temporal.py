"""Foreground made steady in time: each frame's probability averaged with its neighbours' along the flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from .flow import warp
from .foreground import Foreground
from .motion_cues import MotionCues

_TRUST = 2.0


class Found(NamedTuple):
    """What moves in a frame, and what says so; the cues have the gaps 1 and -1 among others."""

    foreground: Foreground
    cues: MotionCues


def steady(frames: Iterable[Found]) -> Iterator[Found]:
    """Average the probability of each frame with that of the next and the previous one.

    A neighbour counts less where the flow there and back does not return to its start. Memory is
    that of three frames.

    Parameters
    ----------
    frames : iterable of Found
        Successive frames.

    Yields
    ------
    Found
        The same frames with averaged probability, one frame late.
    """
    before: np.ndarray | None = None
    current: Found | None = None
    for following in frames:
        if current is not None:
            yield _averaged(before, current, following.foreground.probability)
            before = current.foreground.probability
        current = following
    if current is not None:
        yield _averaged(before, current, None)


def _averaged(before: np.ndarray | None, current: Found, after: np.ndarray | None) -> Found:
    (probability, features), cues = current
    total, weights = np.array(probability, np.float32), np.ones_like(probability, np.float32)
    for gap, neighbour in ((1, after), (-1, before)):
        if neighbour is not None:
            index = cues.gaps.index(gap)
            weight = 1 / (1 + (cues.inconsistency[index] / _TRUST) ** 2)
            weights += weight
            total += np.multiply(weight, warp(neighbour, cues.flow[index]), out=weight)
    return Found(Foreground(np.divide(total, weights, out=total), features), cues)
