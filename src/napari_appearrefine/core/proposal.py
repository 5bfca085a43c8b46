"""A run proposes, the person disposes: what would change, and the patches of what was accepted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .clip import FrameSource
from .guidance import keep_settled
from .patches import LabelPatch, difference

ADDED, REMOVED, MOVED = 1, 2, 3


class Decision(IntEnum):
    """What a person decided about a proposed mask."""

    OPEN = 0
    ACCEPTED = 1
    REJECTED = 2


@dataclass(frozen=True)
class FrameChange:
    """How many pixels each object would gain and lose in one frame.

    Parameters
    ----------
    added, removed : dict of int to int
        Object id to pixels; objects that do not change are left out.
    """

    added: dict[int, int]
    removed: dict[int, int]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)

    def changes_most(self, object_ids: Iterable[int]) -> int:
        """Return which of some objects gains and loses the most pixels; 0 if there are none."""
        pixels = {key: self.added.get(key, 0) + self.removed.get(key, 0) for key in object_ids}
        return max(pixels, key=lambda key: pixels[key], default=0)


def frame_change(current: np.ndarray, proposed: np.ndarray) -> FrameChange:
    """Count what would change from one (Y, X) label map to another."""
    different = current != proposed
    return FrameChange(_counts(proposed[different]), _counts(current[different]))


def change_map(
    current: np.ndarray, proposed: np.ndarray, changing: Sequence[int], settled: Sequence[int] = ()
) -> np.ndarray:
    """Mark what would change, to be shown in colours.

    Parameters
    ----------
    current, proposed : ndarray
        (Y, X) integer labels.
    changing : sequence of int
        Only changes of these objects.
    settled : sequence of int
        Objects that neither gain nor lose a pixel.

    Returns
    -------
    ndarray
        (Y, X) uint8: 0 unchanged, 1 added to an object, 2 removed from one, 3 moved from one object to another.
    """
    different = np.isin(current, changing) | np.isin(proposed, changing)
    different &= (current != proposed) & ~np.isin(current, settled) & ~np.isin(proposed, settled)
    marks = np.zeros(current.shape, np.uint8)
    marks[different & (current == 0)] = ADDED
    marks[different & (proposed == 0)] = REMOVED
    marks[different & (current != 0) & (proposed != 0)] = MOVED
    return marks


class Proposal:
    """Proposed masks, beside those that were there when they were computed.

    Frames are read one at a time, so that memory does not grow with the clip beyond the decisions.

    Parameters
    ----------
    baseline : FrameSource
        (T, Y, X) integer labels when the run began.
    proposed : FrameSource
        (T, Y, X) integer labels that the run gave.
    object_ids : sequence of int
        The objects that are decided about.
    """

    def __init__(self, baseline: FrameSource, proposed: FrameSource, object_ids: Sequence[int]) -> None:
        self._baseline = baseline
        self._proposed = proposed
        self.object_ids = list(object_ids)
        self.decisions = np.zeros((len(baseline), len(self.object_ids)), np.uint8)

    def is_open(self, frames: Iterable[int], object_ids: Iterable[int] | None = None) -> bool:
        """Whether something is still to be decided in some frames, about some objects or any."""
        rows, columns = self._chosen(frames, object_ids)
        return bool((self.decisions[np.ix_(rows, columns)] == Decision.OPEN).any())

    def decide(
        self, decision: Decision, frames: Iterable[int] | None = None, object_ids: Iterable[int] | None = None
    ) -> np.ndarray:
        """Decide about all that is open in some frames and objects; all of them by default.

        Returns
        -------
        ndarray
            (T, Q) the decisions as they were before, to be put back when this is undone.
        """
        before = self.decisions.copy()
        rows, columns = self._chosen(frames, object_ids)
        place = np.ix_(rows, columns)
        self.decisions[place] = np.where(self.decisions[place] == Decision.OPEN, decision, self.decisions[place])
        return before

    def patches(
        self,
        current: FrameSource,
        frames: Iterable[int] | None = None,
        object_ids: Iterable[int] | None = None,
    ) -> Iterator[LabelPatch]:
        """Compute what accepting would write; call it before :meth:`decide`, as only what is open counts.

        Parameters
        ----------
        current : FrameSource
            (T, Y, X) integer labels as they are now. Objects that a person changed in a frame since the
            run began keep their pixels there.
        frames, object_ids : iterable of int, optional
            What is accepted; everything by default.

        Yields
        ------
        LabelPatch
            One for each frame in which something changes.
        """
        rows, columns = self._chosen(frames, object_ids)
        for frame in rows.tolist():
            wanted = [
                self.object_ids[slot] for slot in columns.tolist() if self.decisions[frame, slot] == Decision.OPEN
            ]
            if wanted:
                now = np.asarray(current[frame])
                patch = difference(frame, now, self._accepted(frame, now, wanted))
                if len(patch):
                    yield patch

    def _accepted(self, frame: int, now: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
        baseline, proposed = np.asarray(self._baseline[frame]), np.asarray(self._proposed[frame])
        result = np.where(np.isin(now, wanted), 0, now)
        ours = np.isin(proposed, wanted)
        result[ours] = proposed[ours]
        return keep_settled(result, now, touched_objects(baseline, now))

    def _chosen(self, frames: Iterable[int] | None, object_ids: Iterable[int] | None) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(len(self.decisions)) if frames is None else np.unique(np.fromiter(frames, np.int64))
        ids = self.object_ids if object_ids is None else [key for key in object_ids if key in self.object_ids]
        return rows, np.array(sorted(self.object_ids.index(object_id) for object_id in ids), np.int64)


def touched_objects(baseline: np.ndarray, now: np.ndarray) -> list[int]:
    """Return the objects that gained or lost a pixel between two (Y, X) label maps, ascending."""
    different = baseline != now
    ids = np.union1d(np.unique(baseline[different]), np.unique(now[different]))
    return [int(object_id) for object_id in ids if object_id]


def _counts(ids: np.ndarray) -> dict[int, int]:
    values, counts = np.unique(ids, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True) if value}
