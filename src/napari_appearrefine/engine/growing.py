"""A new object from a box or a click: a mask that grows over what looks alike, in one frame."""

from __future__ import annotations

import cv2
import numpy as np

from ..core.errors import UserError

_WORKING_SIDE = 256
_MARGIN = 0.35
_ROUNDS = 5
_CORE = 0.8
_SURE_RADIUS = 0.012
_EXTENTS = ((0.16, 0.45), (0.25, 0.6), (0.08, 0.45))
"""Shares of the frame's shorter side: how far from a click colours are the object's, and the object reaches."""
_LEAST_SHARE = 0.1
_SMALLEST_BOX = 4

Box = tuple[int, int, int, int]
"""Top, left, bottom and right in pixels; bottom and right are the first row and column outside."""


def grow_from_box(image: np.ndarray, box: Box, taken: np.ndarray | None = None) -> np.ndarray:
    """Find the object that a box encloses.

    The colours inside are separated from those around the box by GrabCut (C. Rother, V. Kolmogorov
    and A. Blake, "GrabCut: interactive foreground extraction using iterated graph cuts", SIGGRAPH
    2004, as OpenCV has it), on a grid of about 256 pixels.

    Parameters
    ----------
    image : ndarray
        (Y, X, 3) uint8.
    box : tuple of int
        Where the object is, drawn with a little room; its part outside the frame does not count.
    taken : ndarray, optional
        (Y, X) bool, pixels of other objects, which it cannot get.

    Returns
    -------
    ndarray
        (Y, X) bool; the box itself if no colours can be told apart.

    Raises
    ------
    UserError
        If less than 4 x 4 pixels of the box lie in the frame.
    """
    height, width = image.shape[:2]
    top, left = max(box[0], 0), max(box[1], 0)
    bottom, right = min(box[2], height), min(box[3], width)
    if bottom - top < _SMALLEST_BOX or right - left < _SMALLEST_BOX:
        raise UserError("The box holds less than 4 x 4 pixels of the frame; draw a larger one around the object.")
    margin = max(round(_MARGIN * max(bottom - top, right - left)), 2)
    window = _window(image, (top - margin, left - margin, bottom + margin, right + margin))
    seeds = np.full(image.shape[:2], cv2.GC_BGD, np.uint8)
    seeds[top:bottom, left:right] = cv2.GC_PR_BGD
    rows, columns = np.ogrid[:height, :width]
    down = (rows - (top + bottom - 1) / 2) / (_CORE * (bottom - top) / 2)
    across = (columns - (left + right - 1) / 2) / (_CORE * (right - left) / 2)
    seeds[down**2 + across**2 <= 1] = cv2.GC_PR_FGD
    grown = _separated(image, seeds, window, taken)
    if not grown.any():
        grown[top:bottom, left:right] = True
        grown &= ~taken if taken is not None else True
    return _largest_part(grown)


def grow_from_click(image: np.ndarray, row: int, column: int, taken: np.ndarray | None = None) -> np.ndarray:
    """Find the object at a pixel; parameters and result as of :func:`grow_from_box`.

    Without a box its extent must be guessed. Its colours are learned within 0.16 of the frame's shorter side from
    the click. If they cannot be told from what is around, so that next to nothing is left, a larger object is
    tried, then a smaller one.

    Raises
    ------
    UserError
        If the pixel is outside the frame or another object's.
    """
    height, width = image.shape[:2]
    if not (0 <= row < height and 0 <= column < width):
        raise UserError("The click is outside the frame; click on the object.")
    if taken is not None and taken[row, column]:
        raise UserError("There is another object at this point; click on a pixel that no object has.")
    shorter = min(height, width)
    for likely, reach in _EXTENTS:
        radius = max(likely * shorter, 3)
        grown = _grown_within(image, row, column, radius, max(round(reach * shorter), 8), taken)
        if np.count_nonzero(grown) >= _LEAST_SHARE * np.pi * radius**2:
            break
    return grown


def _grown_within(
    image: np.ndarray, row: int, column: int, likely: float, reach: int, taken: np.ndarray | None
) -> np.ndarray:
    height, width = image.shape[:2]
    window = _window(image, (row - reach, column - reach, row + reach + 1, column + reach + 1))
    rows, columns = np.ogrid[:height, :width]
    distance = np.hypot(rows - row, columns - column)
    seeds = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    seeds[distance > reach] = cv2.GC_BGD
    seeds[distance <= likely] = cv2.GC_PR_FGD
    seeds[distance <= max(_SURE_RADIUS * min(height, width), 1)] = cv2.GC_FGD
    grown = _separated(image, seeds, window, taken)
    grown[row, column] = True
    count, numbered = cv2.connectedComponents(grown.astype(np.uint8))
    return np.asarray(numbered == numbered[row, column]) if count > 1 else grown


def _window(image: np.ndarray, box: Box) -> tuple[slice, slice]:
    height, width = image.shape[:2]
    return slice(max(box[0], 0), min(box[2], height)), slice(max(box[1], 0), min(box[3], width))


def _separated(
    image: np.ndarray, seeds: np.ndarray, window: tuple[slice, slice], taken: np.ndarray | None
) -> np.ndarray:
    if taken is not None:
        seeds = np.where(taken, cv2.GC_BGD, seeds).astype(np.uint8)
    colours, marks = image[window], seeds[window]
    full = marks.shape
    scale = min(4.0, _WORKING_SIDE / max(full))
    size = max(round(full[1] * scale), 2), max(round(full[0] * scale), 2)
    small = np.ascontiguousarray(
        cv2.resize(colours, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    )
    small_marks = np.ascontiguousarray(cv2.resize(marks, size, interpolation=cv2.INTER_NEAREST))
    grown = np.zeros(image.shape[:2], np.bool_)
    inside = np.isin(small_marks, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if not inside.any() or inside.all():
        grown[window] = np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD))
        return grown
    cv2.setRNGSeed(0)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    nowhere = (0, 0, 0, 0)
    cv2.grabCut(small, small_marks, nowhere, background, foreground, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = np.isin(small_marks, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    smooth = cv2.GaussianBlur(
        cv2.resize(found, full[::-1], interpolation=cv2.INTER_LINEAR), (0, 0), max(0.7 / scale, 0.5)
    )
    grown[window] = (smooth > 0.5) & (marks != cv2.GC_BGD)
    return grown


def _largest_part(grown: np.ndarray) -> np.ndarray:
    count, numbered, statistics, _ = cv2.connectedComponentsWithStats(grown.astype(np.uint8))
    if count < 3:
        return grown
    return np.asarray(numbered == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA])))
