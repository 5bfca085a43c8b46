"""From what the exemplars make of a frame to its labels: good masks are trusted, then the picture decides outlines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.labels import label_dtype
from .colour_edges import Edges, Picture, by_colour
from .merging import merge_with_input
from .object_masks import Plane, coverage_of_all
from .trust import estimated_iou, say_of_mask, trust_good_mask

_GOOD = 0.8
_PICTURE_GIVES_WAY = 2.0


def repaired(
    picture: Picture,
    given: np.ndarray,
    object_ids: Sequence[int],
    masks: Sequence[Plane | None],
    drawn: Sequence[Plane | None],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of a repaired frame.

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

    Returns
    -------
    labels : ndarray
        (Y, X) uint8 or uint16.
    expected : ndarray
        (Q,) float32: soft IoU of each result with its drawing, without calibration.
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
    return labels, np.array(expected, np.float32)


def share_of_picture(estimate: float) -> float:
    """Return how far colours and edges decide about a mask of an estimated IoU: the better it was, the less."""
    return float(np.exp(-((say_of_mask(estimate) / _PICTURE_GIVES_WAY) ** 2)))
