"""From repaired planes to labels of the video's size, keeping the input's outline where it was right."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from .flow_masks import render_labels

_SLIGHT = 3


def merge_with_input(planes: Mapping[int, np.ndarray], given: np.ndarray) -> np.ndarray:
    """Bring repaired planes to the video's size.

    Where a repaired outline follows the given one to within about a pixel of the working grid, the
    given pixels stay: they were drawn at a finer grid than the network's.

    Parameters
    ----------
    planes : mapping of int to ndarray
        Object id to (h, w) float32 probability on the working grid.
    given : ndarray
        (Y, X) integer labels before the repair.

    Returns
    -------
    ndarray
        (Y, X) of the dtype of ``given``.
    """
    repaired = render_labels(planes, given.shape).astype(given.dtype)
    changed = (repaired != given).astype(np.uint8)
    if not changed.any():
        return repaired
    height = next(iter(planes.values())).shape[0]
    side = 2 * round(_SLIGHT * given.shape[0] / height / 2) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    # An opening removes the thin strips between two outlines that agree; what stays is a real change.
    real = cv2.morphologyEx(changed, cv2.MORPH_OPEN, kernel)
    real = cv2.dilate(real, kernel)
    return np.where(real > 0, repaired, given)
