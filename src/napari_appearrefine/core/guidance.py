"""What a person tells a run: exemplars pinned and banned, frames that are true, frames that are locked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from .clip import FrameSource

FramesOfObjects = Mapping[int, frozenset[int]]
"""Object id to frames."""


@dataclass(frozen=True)
class Guidance:
    """Marks of a person that a run honours, for each object id the frames that they are on.

    Parameters
    ----------
    pinned : mapping of int to frozenset of int
        Frames that must be exemplars.
    banned : mapping of int to frozenset of int
        Frames that must not be exemplars.
    truth : mapping of int to frozenset of int
        Frames whose mask a person made, an empty one included: exemplars of full weight that are
        never changed. They win over ``banned``, which then only keeps them from being exemplars.
    locked : mapping of int to frozenset of int
        Frames that are read and never written.
    """

    pinned: FramesOfObjects = field(default_factory=dict)
    banned: FramesOfObjects = field(default_factory=dict)
    truth: FramesOfObjects = field(default_factory=dict)
    locked: FramesOfObjects = field(default_factory=dict)

    def __post_init__(self) -> None:
        for mark in fields(self):
            given = getattr(self, mark.name)
            frozen = {int(key): frozenset(map(int, frames)) for key, frames in sorted(given.items()) if len(frames)}
            object.__setattr__(self, mark.name, frozen)

    def exemplars_of(self, object_id: int) -> frozenset[int]:
        """Return the frames that must be exemplars of an object: true or pinned, and not banned."""
        nothing: frozenset[int] = frozenset()
        wanted = self.truth.get(object_id, nothing) | self.pinned.get(object_id, nothing)
        return wanted - self.banned.get(object_id, nothing)

    def true_exemplars_of(self, object_id: int) -> frozenset[int]:
        """Return the frames of an object that count fully: true, and not banned."""
        return self.truth.get(object_id, frozenset()) - self.banned.get(object_id, frozenset())

    @property
    def any_settled(self) -> bool:
        """Whether pixels of any object in any frame must stay as they are."""
        return bool(self.truth or self.locked)

    def without_settled(self) -> Guidance:
        """Return what is left without true and locked masks: exemplars pinned and banned."""
        return Guidance(self.pinned, self.banned)

    def settled(self, frame: int) -> list[int]:
        """Return the objects whose pixels must stay as they are in a frame: true or locked ones, ascending."""
        marks = (self.truth, self.locked)
        return sorted({object_id for mark in marks for object_id, frames in mark.items() if frame in frames})

    def to_json(self) -> dict[str, dict[str, list[int]]]:
        """Return the marks as JSON-ready objects: mark to object id to frames, ascending."""
        return {
            mark.name: {str(object_id): sorted(frames) for object_id, frames in getattr(self, mark.name).items()}
            for mark in fields(self)
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Guidance:
        """Return the guidance that :meth:`to_json` stored."""
        marks = {
            mark.name: {int(key): frozenset(frames) for key, frames in stored.get(mark.name, {}).items()}
            for mark in fields(cls)
        }
        return cls(**marks)


def keep_settled(labels: np.ndarray, given: np.ndarray, settled: Iterable[int]) -> np.ndarray:
    """Give settled objects exactly the pixels that they had.

    Parameters
    ----------
    labels : ndarray
        (Y, X) integer labels that were computed.
    given : ndarray
        (Y, X) integer labels as they were.
    settled : iterable of int
        Objects that must come out as they were.

    Returns
    -------
    ndarray
        (Y, X) of the dtype of ``labels``. A settled object's given pixels are its own; pixels that it
        had not are never its own, but what they were before.
    """
    ids = list(settled)
    if not ids:
        return labels
    touched = np.isin(given, ids) | np.isin(labels, ids)
    return np.where(touched, given, labels).astype(labels.dtype)


class MasksWithTruth:
    """Rough masks in which the objects that a person drew are as drawn; read frame by frame.

    A run that starts from these depends on the rough masks and on what a person did, and not on what
    earlier runs made of them: so an edit of one frame leaves most of an earlier run valid.

    Parameters
    ----------
    rough : FrameSource
        (T, Y, X) integer labels to start from.
    drawn : FrameSource
        (T, Y, X) integer labels that hold what a person drew.
    guidance : Guidance
        Tells which objects of which frames are settled, true or locked, and so taken from ``drawn``.
    """

    def __init__(self, rough: FrameSource, drawn: FrameSource, guidance: Guidance) -> None:
        self.rough = rough
        self._drawn = drawn
        self._guidance = guidance
        self.shape: tuple[int, ...] = tuple(int(length) for length in rough.shape)
        self.dtype: np.dtype[Any] = np.promote_types(rough.dtype, drawn.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frame: int) -> np.ndarray:
        """Return the (Y, X) label map of one frame."""
        rough = np.asarray(self.rough[frame]).astype(self.dtype)
        settled = self._guidance.settled(frame)
        if not settled:
            return rough
        drawn = np.asarray(self._drawn[frame]).astype(self.dtype)
        own = np.isin(drawn, settled)
        rough[np.isin(rough, settled)] = 0
        rough[own] = drawn[own]
        return rough
