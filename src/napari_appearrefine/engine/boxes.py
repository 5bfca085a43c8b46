"""Boxes of the working grid in which one object is drawn, on whole cells of the coarsest features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CELL = 32
"""Pixels; boxes begin and end on multiples of it, so that every level of features can be cut exactly."""


@dataclass(frozen=True)
class Box:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` (exclusive) in pixels of the working grid."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.bottom - self.top, self.right - self.left

    def at(self, stride: int = 1) -> tuple[slice, slice]:
        """Return rows and columns as slices of an array that is coarser by ``stride``."""
        return slice(self.top // stride, -(-self.bottom // stride)), slice(
            self.left // stride, -(-self.right // stride)
        )


def whole(size: tuple[int, int]) -> Box:
    """Return the box of a whole grid (height, width)."""
    return Box(0, size[0], 0, size[1])


def box_around(inside: np.ndarray, margin: float, least: int = 2 * CELL) -> Box | None:
    """Return the smallest box of whole cells that holds some pixels with a margin.

    Parameters
    ----------
    inside : ndarray
        (h, w) bool.
    margin : float
        Pixels around them.
    least : int
        Each side is at least this long, where the grid is.

    Returns
    -------
    Box or None
        None if no pixel is inside. A box that reaches the last cells ends where the grid ends.
    """
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    top, bottom = _whole_cells(rows[0] - margin, rows[-1] + 1 + margin, inside.shape[0], least)
    left, right = _whole_cells(columns[0] - margin, columns[-1] + 1 + margin, inside.shape[1], least)
    return Box(top, bottom, left, right)


def _whole_cells(low: float, high: float, length: int, least: int) -> tuple[int, int]:
    missing = max(least - (high - low), 0)
    cells = -(-length // CELL)
    first = max(int(np.floor((low - missing / 2) / CELL)), 0)
    last = min(int(np.ceil((high + missing / 2) / CELL)), cells)
    return first * CELL, min(last * CELL, length)
