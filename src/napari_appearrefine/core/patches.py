"""A change of label pixels in one frame, as indices and new values: what edits are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .clip import FrameSource


@dataclass(frozen=True)
class LabelPatch:
    """New values of some pixels of one frame.

    Parameters
    ----------
    frame : int
        Index of the frame.
    rows, columns : ndarray
        (n,) integer places in the frame.
    values : ndarray
        (n,) of the labels' dtype, the new ids; 0 is background.
    """

    frame: int
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def apply(self, labels: np.ndarray) -> LabelPatch:
        """Write the patch into (T, Y, X) labels and return the patch that takes it back."""
        place = (self.frame, self.rows, self.columns)
        inverse = LabelPatch(self.frame, self.rows, self.columns, labels[place].copy())
        labels[place] = self.values
        return inverse


def differing_frames(one: FrameSource, other: FrameSource) -> list[int]:
    """Return the frames in which two (T, Y, X) label arrays differ."""
    return [frame for frame in range(len(one)) if not np.array_equal(one[frame], other[frame])]


def difference(frame: int, before: np.ndarray, after: np.ndarray) -> LabelPatch:
    """Return the patch that turns one (Y, X) label map into another; it may be empty."""
    rows, columns = np.nonzero(before != after)
    return LabelPatch(frame, rows, columns, after[rows, columns].astype(before.dtype))
