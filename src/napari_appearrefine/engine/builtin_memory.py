"""Which exemplars a frame is repaired from and how much each counts, for the built-in model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .interface import ClipInputs
from .networks.matching import TEMPERATURES, Memory
from .selection import nearest_exemplars

Weights = Mapping[int, Mapping[int, float]]
"""Object id to exemplar frame to how much it counts, 0 to 1."""

Arrays = tuple[np.ndarray, ...]

_LEAST = 0.05


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
        weights[object_id] = {
            frame: 1.0 if frame in true_frames else max(float(scores[frame, slot]), _LEAST)
            for frame in exemplars[object_id]
        }
    return weights


def weights_near(frame: int, weights: Weights) -> Weights:
    """Return the weights of the exemplars nearest in time to a frame, see :func:`selection.nearest_exemplars`."""
    return {
        object_id: {other: chosen[other] for other in nearest_exemplars(frame, chosen)}
        for object_id, chosen in weights.items()
    }


def influence(queries: Tensor, memory: Memory) -> dict[int, float]:
    """Return the share of each exemplar frame in the evidence for one object, on the mean over its positions.

    Parameters
    ----------
    queries : Tensor
        (p, c) keys of the frame, those of the positions where the object is.
    memory : Memory
        What the exemplars look like.

    Returns
    -------
    dict of int to float
        Frame to share; empty for an object without positions or evidence.
    """
    frames, origin = torch.unique(memory.frames, return_inverse=True)
    similarity = (queries @ memory.keys.T).float()
    evidence = torch.exp((similarity - 1) / TEMPERATURES[-1]) * memory.inside[:, 0]
    by_frame = evidence.new_zeros(len(evidence), len(frames)).index_add_(1, origin, evidence)
    total = by_frame.sum(1, keepdim=True)
    mean = (by_frame / total)[total[:, 0] > 0].mean(0) if bool((total > 0).any()) else by_frame.sum(0)
    return {int(frame): round(float(share), 4) for frame, share in zip(frames, mean, strict=True) if share > 0}


def reused(
    inputs: ClipInputs,
    kind: str,
    frame: int,
    weights: Weights,
    prepare: Callable[[], Callable[[], Arrays]],
    further: Sequence[Any] = (),
) -> Callable[[], Arrays]:
    """Return what gives a frame's repair, from an earlier run if nothing that it depends on has changed.

    Parameters
    ----------
    inputs : ClipInputs
        The clip.
    kind : str
        What is computed.
    frame : int
        The frame, whose pixels and masks count, as do those of the exemplars.
    weights : mapping
        The exemplars.
    prepare : callable
        Gathers what is needed and returns what computes it; called only if it has to be computed.
    further : sequence
        What else it depends on.
    """
    reuse = inputs.reuse
    frames = sorted({other for chosen in weights.values() for other in chosen})

    def parts() -> Iterator[Any]:
        yield inputs.object_ids
        for other in (frame, *frames):
            yield other == frame, reuse.image_digest(other), inputs.label_digest(other)
        yield [[chosen.get(other, 0.0) for other in frames] for chosen in weights.values()]
        yield further

    found = reuse.find(kind, parts())
    kept = found.arrays
    if kept is not None:
        return lambda: kept
    compute = prepare()

    def compute_and_keep() -> Arrays:
        arrays = compute()
        reuse.keep(found, arrays)
        return arrays

    return compute_and_keep
