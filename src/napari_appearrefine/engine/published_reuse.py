"""What scores and corrected windows of the published model depend on, to find those of an earlier run like this one."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.events import Progress
from .digests import digest
from .interface import ClipInputs
from .reuse import Found


def find_scores(inputs: ClipInputs) -> Generator[Progress, None, Found]:
    """Look for the scores of an earlier run; they depend on all frames and all masks."""
    for frame in range(len(inputs.clip)):
        inputs.reuse.image_digest(frame)
        yield Progress("Reading frames", frame + 1, len(inputs.clip))
    return inputs.reuse.find("score", _everything(inputs))


def windows_digest(
    inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]], size: tuple[int, int]
) -> bytes:
    """Return a digest of what all corrected windows depend on: they too on all frames, through the scores."""
    chosen = [list(exemplars[object_id]) for object_id in inputs.object_ids]
    return digest([*_everything(inputs), scores, chosen, size])


def _everything(inputs: ClipInputs) -> list[Any]:
    frames = range(len(inputs.clip))
    return [inputs.object_ids, *((inputs.reuse.image_digest(frame), inputs.label_digest(frame)) for frame in frames)]
