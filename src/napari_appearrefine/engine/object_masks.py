"""Masks of one frame on the working grid, each kept in a box around it: memory follows the objects' area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from .boxes import Box, whole


@dataclass(frozen=True)
class Plane:
    """A plane of the working grid that is 0 outside of a box.

    Parameters
    ----------
    box : Box
        Where.
    values : ndarray
        (y, x) float32 of the box's shape: coverage or probability, 0 to 1.
    """

    box: Box
    values: np.ndarray

    @classmethod
    def around(cls, values: np.ndarray) -> Plane | None:
        """Cut a plane of the whole grid, (h, w) float32, to where it is not 0; None if it is nowhere."""
        rows, columns = np.flatnonzero(values.any(1)), np.flatnonzero(values.any(0))
        if not len(rows):
            return None
        box = Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
        return cls(box, values[box.at()])

    def within(self, box: Box) -> np.ndarray:
        """Return the plane in another box, (y, x) float32."""
        values = np.zeros(box.shape, np.float32)
        top, bottom = max(self.box.top, box.top), min(self.box.bottom, box.bottom)
        left, right = max(self.box.left, box.left), min(self.box.right, box.right)
        if top < bottom and left < right:
            own = self.values[top - self.box.top : bottom - self.box.top, left - self.box.left : right - self.box.left]
            values[top - box.top : bottom - box.top, left - box.left : right - box.left] = own
        return values

    def on(self, size: tuple[int, int]) -> np.ndarray:
        """Return the plane on the whole grid (height, width), float32."""
        return self.within(whole(size))

    def thresholded(self) -> Plane:
        """Return 1 where the plane is above 0.5, else 0."""
        return Plane(self.box, (self.values > 0.5).astype(np.float32))

    @property
    def area(self) -> float:
        """Sum of the values."""
        return float(self.values.sum())


def object_planes(labels: np.ndarray, object_ids: Sequence[int], size: tuple[int, int]) -> list[Plane | None]:
    """Bring the mask of each object to the working grid.

    Parameters
    ----------
    labels : ndarray
        (Y, X) integer labels of one frame.
    object_ids : sequence of int
        Whose masks.
    size : tuple of int
        Height and width of the working grid.

    Returns
    -------
    list of Plane or None
        For each object the share of each grid pixel that it covers; None where it has no mask.
    """
    rows, columns = _cells_of(labels.shape[0], size[0]), _cells_of(labels.shape[1], size[1])
    places = _places(labels)
    planes: list[Plane | None] = []
    for object_id in object_ids:
        place = places.get(object_id)
        planes.append(
            None if place is None else _plane(labels[place] == object_id, place, rows, columns, labels.shape, size)
        )
    return planes


def coverage_of_all(planes: Sequence[Plane | None], size: tuple[int, int]) -> np.ndarray:
    """Return the share (h, w) float32 of each grid pixel that any of some objects, which do not overlap, covers."""
    covered = np.zeros(size, np.float32)
    for plane in planes:
        if plane is not None:
            covered[plane.box.at()] += plane.values
    return np.minimum(covered, 1)


def _places(labels: np.ndarray) -> dict[int, tuple[slice, ...]]:
    """Return the rows and columns that each object takes."""
    left, top, width, height = cv2.boundingRect((labels > 0).view(np.uint8))
    if not width:
        return {}
    # Most of a picture is background, in which nothing has to be looked for.
    found = ndimage.find_objects(labels[top : top + height, left : left + width])
    return {
        index + 1: tuple(
            slice(part.start + first, part.stop + first) for part, first in zip(place, (top, left), strict=True)
        )
        for index, place in enumerate(found)
        if place is not None
    }


def _cells_of(length: int, cells: int) -> np.ndarray:
    """Return in which cell of the grid each of ``length`` pixels lies, by its centre."""
    return np.minimum(((np.arange(length) + 0.5) * cells / length).astype(np.intp), cells - 1)


def _plane(
    inside: np.ndarray,
    place: tuple[slice, ...],
    rows: np.ndarray,
    columns: np.ndarray,
    full: tuple[int, ...],
    size: tuple[int, int],
) -> Plane:
    own_rows, own_columns = rows[place[0]], columns[place[1]]
    top, bottom = own_rows[0], own_rows[-1] + 1
    left, right = own_columns[0], own_columns[-1] + 1
    cells = Box(int(top), int(bottom), int(left), int(right))
    if size[0] > full[0] or size[1] > full[1]:
        values = cv2.resize(inside.astype(np.float32), cells.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return Plane(cells, np.asarray(values, np.float32))
    ends = np.searchsorted(own_rows, range(top, bottom + 1)), np.searchsorted(own_columns, range(left, right + 1))
    up_to = cv2.integral(inside.view(np.uint8))[np.ix_(*ends)]
    counts = np.diff(np.diff(up_to, axis=0), axis=1)
    pixels = (
        np.bincount(rows, minlength=size[0])[top:bottom, None] * np.bincount(columns, minlength=size[1])[left:right]
    )
    return Plane(cells, (counts / pixels).astype(np.float32))
