"""Region similarity J and boundary accuracy F of the masks of one frame, as DAVIS defines them.

Definitions: F. Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", CVPR 2016; boundary maps after D. Martin's ``seg2bmap`` of the Berkeley benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np

_TOLERANCE = 0.008  # of the frame's diagonal


def region_similarity(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Return J, the intersection over union of two masks; 1 where both are empty.

    Parameters
    ----------
    truth, prediction : ndarray
        (Y, X) bool.
    """
    union = np.count_nonzero(truth | prediction)
    return np.count_nonzero(truth & prediction) / union if union else 1.0


def boundary_radius(shape: Sequence[int]) -> int:
    """Return the tolerance in pixels for frames of (Y, X) = ``shape``, rounded up."""
    return int(np.ceil(_TOLERANCE * np.linalg.norm(shape)))


def boundary_map(plane: np.ndarray) -> np.ndarray:
    """Mark the pixels that differ from their right, lower or lower right neighbour, (Y, X) bool.

    In the last row only the right neighbour counts, in the last column only the lower one: the
    edge of the frame itself is no boundary.
    """
    edge = np.zeros(plane.shape, np.bool_)
    right, below = plane[:, :-1] ^ plane[:, 1:], plane[:-1] ^ plane[1:]
    edge[:, :-1] = right
    edge[:-1, -1] = below[:, -1]
    edge[:-1, :-1] |= below[:, :-1] | (plane[:-1, :-1] ^ plane[1:, 1:])
    return edge


@dataclass(frozen=True)
class Boundary:
    """The boundary of one mask, kept to be compared with several others.

    Parameters
    ----------
    plane : ndarray
        (Y, X) bool.
    radius : int
        How far, in pixels, another boundary may be and still match.
    """

    plane: np.ndarray
    radius: int

    @cached_property
    def _window(self) -> tuple[int, int, int, int]:
        left, top, width, height = cv2.boundingRect(self.plane.view(np.uint8))
        # The boundary lies one pixel up and left of the mask at most.
        return max(top - 1, 0), max(left - 1, 0), top + height, left + width

    @cached_property
    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the boundary's pixels."""
        top, left, bottom, right = self._window
        # One more pixel below and to the right, where the frame has one: neighbours decide.
        rows, columns = np.nonzero(boundary_map(self.plane[top : bottom + 1, left : right + 1]))
        return rows + top, columns + left

    @cached_property
    def reach(self) -> np.ndarray:
        """(Y, X) bool, all pixels within the radius of the boundary (a dilation by a disk)."""
        rows, columns = self.points
        near = np.zeros(self.plane.shape, np.bool_)
        if rows.size:
            top, left, bottom, right = self._window
            top, left = max(top - self.radius, 0), max(left - self.radius, 0)
            window = np.s_[top : bottom + self.radius + 1, left : right + self.radius + 1]
            edge = np.zeros(near[window].shape, np.uint8)
            edge[rows - top, columns - left] = 1
            near[window] = cv2.dilate(edge, _disk(self.radius))
        return near

    def f_measure(self, other: Boundary) -> float:
        """Return F of this boundary and another of the same frame; it is symmetric."""
        own, others = self.points[0].size, other.points[0].size
        if not own or not others:
            return 1.0 if own == others else 0.0
        precision = np.count_nonzero(self.reach[other.points]) / others
        recall = np.count_nonzero(other.reach[self.points]) / own
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def frame_measures(
    truth: np.ndarray,
    truth_ids: Sequence[int],
    prediction: np.ndarray,
    prediction_ids: Sequence[int],
    void: np.ndarray | None = None,
    pairs: Sequence[tuple[int, int]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Measure every true object of a frame against every predicted one.

    Parameters
    ----------
    truth, prediction : ndarray
        (Y, X) label maps of integers.
    truth_ids, prediction_ids : sequence of int
        The objects to measure, G and P of them. An id that is not in the frame is an empty mask.
    void : ndarray, optional
        (Y, X) bool, pixels that do not count.
    pairs : sequence of (int, int), optional
        Measure only these pairs of positions in ``truth_ids`` and ``prediction_ids``; the rest is NaN.

    Returns
    -------
    J, F : ndarray
        (G, P) float64 each.
    """
    radius = boundary_radius(truth.shape)
    true = [Boundary(_valid(truth == object_id, void), radius) for object_id in truth_ids]
    predicted = [Boundary(_valid(prediction == object_id, void), radius) for object_id in prediction_ids]
    region = np.full((len(true), len(predicted)), np.nan)
    contour = region.copy()
    for row, column in np.ndindex(*region.shape) if pairs is None else pairs:
        region[row, column] = region_similarity(true[row].plane, predicted[column].plane)
        contour[row, column] = true[row].f_measure(predicted[column])
    return region, contour


@lru_cache(maxsize=8)
def _disk(radius: int) -> np.ndarray:
    """Return the structuring element of all offsets no longer than the radius, (2 r + 1, 2 r + 1) uint8."""
    squares = np.arange(-radius, radius + 1) ** 2
    return (squares[:, None] + squares <= radius**2).astype(np.uint8)


def _valid(plane: np.ndarray, void: np.ndarray | None) -> np.ndarray:
    """Return a contiguous boolean plane without its void pixels."""
    plane = np.ascontiguousarray(plane, dtype=np.bool_)
    return plane if void is None else plane & ~void
