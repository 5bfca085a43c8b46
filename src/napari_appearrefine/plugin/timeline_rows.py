"""What the timeline shows, as plain values: one row an object, one entry a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntFlag

import numpy as np

from ..core.review import ReviewTable
from ..core.review_cells import ExemplarState


class Mark(IntFlag):
    """What is known of one object in one frame besides its quality; several may hold."""

    CHOSEN = 1
    PINNED = 2
    BANNED = 4
    EDITED = 8
    LOCKED = 16
    ACCEPTED = 32
    PROPOSED = 64


MARK_WORDS = {
    Mark.CHOSEN: "exemplar, chosen by the program",
    Mark.PINNED: "exemplar, pinned by you",
    Mark.BANNED: "never an exemplar, banned by you",
    Mark.EDITED: "edited by you",
    Mark.LOCKED: "locked",
    Mark.ACCEPTED: "accepted by you",
    Mark.PROPOSED: "the last run proposes another mask here",
}


@dataclass(frozen=True)
class Curve:
    """One value a frame to draw as a line.

    Parameters
    ----------
    title : str
        Short name, such as ``"J"``.
    values : ndarray
        (T,) float in 0..1, NaN where there is none.
    """

    title: str
    values: np.ndarray


@dataclass(frozen=True)
class TimelineRow:
    """One object over the whole video.

    Parameters
    ----------
    object_id : int
        The user's id.
    title : str
        What to call the object.
    colour : tuple of int
        Red, green, blue, 0..255: the object's colour in the Labels layer.
    before, after : ndarray
        (T,) float32 in 0..1, estimated quality before and after the last refinement; NaN if unknown.
    present : ndarray
        (T,) bool, whether the object has a pixel in the frame.
    marks : ndarray
        (T,) uint8 of :class:`Mark` bits.
    measures : sequence of Curve
        Measures against a ground truth, if there is one.
    """

    object_id: int
    title: str
    colour: tuple[int, int, int]
    before: np.ndarray
    after: np.ndarray
    present: np.ndarray
    marks: np.ndarray
    measures: Sequence[Curve] = field(default=())

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, name.name)) for name in fields(self) if name.type == "np.ndarray"}
        if len(lengths | {len(curve.values) for curve in self.measures}) != 1:
            raise ValueError(f"the values of object {self.object_id} are not all of one length")

    def __len__(self) -> int:
        return len(self.present)

    @property
    def curves(self) -> list[Curve]:
        """All lines of the row: quality before and after, then the measures."""
        return [Curve("before", self.before), Curve("after", self.after), *self.measures]

    def describe(self, frame: int) -> str:
        """Say everything that is known of one frame, in plain words, one thing a line."""
        lines = [f"{self.title}, frame {frame}"]
        if not self.present[frame]:
            lines.append("not in this frame")
        for curve in self.curves:
            if not np.isnan(curve.values[frame]):
                what = f"quality {curve.title}" if curve.title in ("before", "after") else curve.title
                lines.append(f"{what}: {curve.values[frame]:.2f}")
        lines += [words for mark, words in MARK_WORDS.items() if self.marks[frame] & mark]
        return "\n".join(lines)


def row_of(
    table: ReviewTable,
    object_id: int,
    colour: tuple[int, int, int],
    proposed: np.ndarray | None = None,
    measures: Sequence[Curve] = (),
) -> TimelineRow:
    """Return what a review table knows of one object.

    Parameters
    ----------
    table : ReviewTable
        The table.
    object_id : int
        One of its objects.
    colour : tuple of int
        Red, green, blue, 0..255.
    proposed : ndarray, optional
        (T,) bool, frames in which a proposal would change the object.
    measures : sequence of Curve
        Measures against a ground truth.
    """
    cells = table.cells(object_id)
    marks = np.zeros(table.frames, np.uint8)
    exemplars = {
        ExemplarState.CHOSEN: Mark.CHOSEN,
        ExemplarState.PINNED: Mark.PINNED,
        ExemplarState.BANNED: Mark.BANNED,
    }
    for state, mark in exemplars.items():
        marks[cells["exemplar"] == state] |= np.uint8(mark)
    for name, mark in (("edited", Mark.EDITED), ("locked", Mark.LOCKED), ("accepted", Mark.ACCEPTED)):
        marks[cells[name]] |= np.uint8(mark)
    if proposed is not None:
        marks[proposed] |= np.uint8(Mark.PROPOSED)
    return TimelineRow(
        object_id,
        table.title(object_id),
        colour,
        cells["before"],
        cells["after"],
        cells["present"],
        marks,
        tuple(measures),
    )
