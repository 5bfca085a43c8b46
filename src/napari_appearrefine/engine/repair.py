"""From what the exemplars make of a frame to its labels: good masks are trusted, then the picture decides outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.labels import label_dtype
from .colour_edges import Edges, Picture, by_colour
from .merging import enlarge, merge_with_input
from .object_masks import Plane, coverage_of_all
from .trust import estimated_iou, say_of_mask, trust_good_mask

_GOOD = 0.8
_PICTURE_GIVES_WAY = 2.0


@dataclass(frozen=True)
class Repair:
    """A repaired frame, and what its labels came of.

    Parameters
    ----------
    labels : ndarray
        (Y, X) uint8 or uint16.
    expected : ndarray
        (Q,) float32: soft IoU of each result with its drawing, without calibration.
    planes : mapping of int to Plane
        Object id to its probability on the working grid, of those that have any.
    grid : tuple of int
        Height and width of the working grid.
    edges : Edges
        What the outlines go along.
    """

    labels: np.ndarray
    expected: np.ndarray
    planes: Mapping[int, Plane]
    grid: tuple[int, int]
    edges: Edges

    def likely(self, object_id: int) -> Plane | None:
        """Return the probability of an object at the frame's size: above 0.5 exactly where the labels say it is.

        Where they say otherwise than its probability - the given outline was kept, another object is likelier -
        it is certain. None if the object has no pixel and none is likely.
        """
        plane, size = self.planes.get(object_id), self.labels.shape
        along = self.edges.picture, self.edges.shares[object_id]
        enlarged = None if plane is None else enlarge(plane, self.grid, size, *along)
        probability = np.zeros(size, np.float32)
        if enlarged is not None:
            window, values = enlarged
            probability[window] = np.clip(values, 0, 1)
        own = self.labels == object_id
        agrees = np.where(own, probability, 1 - probability) > 0.5
        return Plane.around(np.where(agrees, probability, own.astype(np.float32)))


def repaired(
    picture: Picture,
    given: np.ndarray,
    object_ids: Sequence[int],
    masks: Sequence[Plane | None],
    drawn: Sequence[Plane | None],
) -> Repair:
    """Repair a frame.

    Parameters
    ----------
    picture : Picture
        The frame.
    given : ndarray
        (Y, X) integer labels before the repair.
    object_ids : sequence of int
        The objects.
    masks, drawn : sequence of Plane or None
        Of each object the given mask on the working grid, and the probability that was drawn.
    """
    grid = picture.small.shape[0], picture.small.shape[1]
    estimates = [estimated_iou(*pair) for pair in zip(masks, drawn, strict=True)]
    trusted = [
        None if plane is None else trust_good_mask(mask, plane, estimate)
        for mask, plane, estimate in zip(masks, drawn, estimates, strict=True)
    ]
    covered = coverage_of_all(trusted, grid)
    shares = [share_of_picture(estimate) for estimate in estimates]
    coloured = [
        None if plane is None else by_colour(plane, picture, covered, share)
        for plane, share in zip(trusted, shares, strict=True)
    ]
    expected = [
        0.0 if plane is None else estimated_iou(plane.thresholded(), likely)
        for plane, likely in zip(coloured, drawn, strict=True)
    ]
    planes = {key: plane for key, plane in zip(object_ids, coloured, strict=True) if plane is not None}
    good = [key for key, estimate in zip(object_ids, estimates, strict=True) if estimate > _GOOD]
    edges = Edges(picture, dict(zip(object_ids, shares, strict=True)))
    labels = merge_with_input(planes, grid, given.astype(label_dtype(object_ids)), good, edges)
    return Repair(labels, np.array(expected, np.float32), planes, grid, edges)


def share_of_picture(estimate: float) -> float:
    """Return how far colours and edges decide about a mask of an estimated IoU: the better it was, the less."""
    return float(np.exp(-((say_of_mask(estimate) / _PICTURE_GIVES_WAY) ** 2)))
