"""Which exemplars a frame is repaired from and how much each counts, for the built-in model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..core.guidance import Guidance
from .interface import ClipInputs
from .networks.matching import Memory

Weights = Mapping[int, Mapping[int, float]]
"""Object id to exemplar frame to how much it counts, 0 to 1."""

_LEAST = 0.05
_NEAREST = int(os.environ.get("X_NEAR", 6))
_NEXT_TO_TRUTH = float(os.environ.get("X_TRUTH", 0.5))
_CLOSER = float(os.environ.get("X_CLOSER", 1.0))


def exemplar_weights(inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]) -> Weights:
    """Return how much each exemplar counts: its score, or 1 where a person made the mask.

    Parameters
    ----------
    inputs : ClipInputs
        The clip and what a person decided.
    scores : ndarray
        (T, Q) estimated quality.
    exemplars : mapping of int to sequence of int
        Object id to frames.
    """
    weights: dict[int, dict[int, float]] = {}
    for slot, object_id in enumerate(inputs.areas):
        true_frames = inputs.guidance.true_exemplars_of(object_id)
        share = _NEXT_TO_TRUTH if true_frames else 1.0
        weights[object_id] = {
            frame: 1.0 if frame in true_frames else share * max(float(scores[frame, slot]), _LEAST)
            for frame in exemplars[object_id]
        }
    return weights


def weights_near(frame: int, weights: Weights, guidance: Guidance) -> Weights:
    """Return the weights of the exemplars nearest in time to a frame, itself left out."""
    near: dict[int, dict[int, float]] = {}
    for object_id, chosen in weights.items():
        true_frames = guidance.true_exemplars_of(object_id)

        def distance(other: int, true_frames: frozenset[int] = true_frames) -> tuple[float, int]:
            return abs(other - frame) * (_CLOSER if other in true_frames else 1.0), other

        others = sorted((other for other in chosen if other != frame), key=distance)
        near[object_id] = {other: chosen[other] for other in sorted(others[:_NEAREST])}
    return near


class NearbyMemories:
    """The memories of the frames corrected last; neighbours mostly share theirs.

    Parameters
    ----------
    remember : callable
        Weights to the memory of those exemplars.
    """

    def __init__(self, remember: Callable[[Weights], Memory]) -> None:
        self._remember = remember
        self._last: tuple[Weights, Memory] | None = None

    def __call__(self, weights: Weights) -> Memory:
        """Return the memory of some exemplars."""
        if self._last is None or self._last[0] != weights:
            self._last = (weights, self._remember(weights))
        return self._last[1]


def reused(
    inputs: ClipInputs, kind: str, frame: int, weights: Weights, compute: Callable[[], tuple[np.ndarray, ...]]
) -> tuple[np.ndarray, ...]:
    """Return what a frame's repair gives, from an earlier run if nothing that it depends on has changed."""
    results = inputs.reuse
    if results is None:
        return compute()
    frames = sorted({other for chosen in weights.values() for other in chosen})
    parts = [
        inputs.object_ids,
        *((other == frame, results.image_digest(other), inputs.labels(other)) for other in (frame, *frames)),
        [[chosen.get(other, 0.0) for other in frames] for chosen in weights.values()],
    ]
    return results.result(kind, parts, compute)
