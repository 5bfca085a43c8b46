"""How the published corrector's work is divided, in windows of frames and groups of objects, and joined again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.labels import labels_of
from .networks.corrector import OBJECTS, WINDOW
from .networks.inputs import resized_planes

ObjectGroup = tuple[int | None, ...]
"""The ids of three objects that are corrected together; None for an object that is not there."""


@dataclass(frozen=True)
class Window:
    """Frames that are corrected together, seven as released.

    Parameters
    ----------
    frames : tuple of int
        As many for every window; the last one of a shorter clip is repeated.
    final : tuple of int
        Those of them that no later window computes again, the first of ``frames``.
    """

    frames: tuple[int, ...]
    final: tuple[int, ...]


def object_groups(object_ids: Sequence[int]) -> list[ObjectGroup]:
    """Divide ids, ascending, into groups of three.

    Ids 1, 2 and 3 keep the places that the released code gives them, whichever of them are there.
    """
    if max(object_ids) <= OBJECTS:
        return [tuple(object_id if object_id in object_ids else None for object_id in range(1, OBJECTS + 1))]
    padded = [*object_ids, *[None] * (-len(object_ids) % OBJECTS)]
    return [tuple(padded[start : start + OBJECTS]) for start in range(0, len(padded), OBJECTS)]


def windows(frames: int, length: int = WINDOW) -> list[Window]:
    """Divide a clip into windows of seven (or ``length``); the last one is shifted back to end at the last frame."""
    starts = [max(min(start, frames - length), 0) for start in range(0, frames, length)]
    return [
        Window(
            frames=tuple(min(frame, frames - 1) for frame in range(start, start + length)),
            final=tuple(range(start, following)),
        )
        for start, following in zip(starts, [*starts[1:], frames], strict=True)
    ]


def labels_from_probabilities(
    probabilities: np.ndarray, groups: Sequence[ObjectGroup], size: tuple[int, int]
) -> np.ndarray:
    """Turn one frame's probabilities into labels at the clip's size.

    A pixel goes to the object of the highest probability, in whatever group, if that exceeds 0.5;
    where an absent object's is the highest, it stays background, as no id is the user's there.

    Parameters
    ----------
    probabilities : ndarray
        (3 * groups, 128, 224) float32.
    groups : sequence of ObjectGroup
        Whose probabilities they are.
    size : tuple of int
        Height and width of the clip.

    Returns
    -------
    ndarray
        (Y, X) uint8 or uint16.
    """
    places = [object_id for group in groups for object_id in group]
    winner = np.where(probabilities.max(axis=0) > 0.5, probabilities.argmax(axis=0), -1)
    present = [(place, object_id) for place, object_id in enumerate(places) if object_id is not None]
    planes = np.stack([winner == place for place, _ in present])
    return labels_of(resized_planes(planes, size), [object_id for _, object_id in present])
