"""From objects on the working grid to labels of the video's size, keeping the input's outline where it was right."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import cv2
import numpy as np

from ..core.labels import label_dtype
from .boxes import Box, whole
from .colour_edges import Edges, Picture, along_edges
from .object_masks import Plane

_SLIGHT = 3
_OCCUPIED, _OCCUPIED_NEARBY = 0.45, 0.2


def merge_with_input(
    planes: Mapping[int, Plane],
    grid: tuple[int, int],
    given: np.ndarray,
    good: Collection[int],
    edges: Edges | None = None,
) -> np.ndarray:
    """Bring drawn objects to the video's size.

    Where the outline of a mask that was good follows the drawn one to within about a pixel of the
    working grid, the given pixels stay: they were drawn at a finer grid than the network's.

    Parameters
    ----------
    planes : mapping of int to Plane
        Object id to its probability on the working grid.
    grid : tuple of int
        Height and width of the working grid.
    given : ndarray
        (Y, X) integer labels before the repair.
    good : collection of int
        Objects whose given mask was good as a whole.
    edges : Edges, optional
        What the outlines go along.

    Returns
    -------
    ndarray
        (Y, X) of the dtype of ``given``.
    """
    drawn = render_planes(planes, grid, given.shape, edges).astype(given.dtype)
    keeping = np.asarray([0, *good], given.dtype)
    changed = drawn != given
    changed[changed] = np.isin(given[changed], keeping) & np.isin(drawn[changed], keeping)
    left, top, width, height = cv2.boundingRect(changed.view(np.uint8))
    if not width:
        return drawn
    side = 2 * round(_SLIGHT * given.shape[0] / grid[0] / 2) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    window = slice(max(top - side, 0), top + height + side), slice(max(left - side, 0), left + width + side)
    # An opening removes the thin strips between two outlines that agree; what stays is a real change.
    opened = cv2.morphologyEx(changed[window].astype(np.uint8), cv2.MORPH_OPEN, kernel)
    slight = changed[window] & (cv2.dilate(opened, kernel) == 0)
    np.copyto(drawn[window], given[window], where=slight)
    return drawn


def render_labels(planes: Mapping[int, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Bring planes of a whole grid to the video's size, with smooth outlines.

    Parameters
    ----------
    planes : mapping of int to ndarray
        Object id to (h, w) float32 on the working grid, above 0.5 where the object is.
    size : tuple of int
        Height and width of the result.

    Returns
    -------
    ndarray
        (Y, X) uint8 or uint16 labels.
    """
    grid = next((plane.shape for plane in planes.values()), size)
    boxed = {object_id: Plane(whole(grid), plane) for object_id, plane in planes.items()}
    return render_planes(boxed, grid, size).astype(label_dtype(list(planes)))


def render_planes(
    planes: Mapping[int, Plane], grid: tuple[int, int], size: tuple[int, int], edges: Edges | None = None
) -> np.ndarray:
    """Interpolate planes to the video's size; every pixel goes to the highest above 0.5.

    Parameters
    ----------
    planes : mapping of int to Plane
        Object id to its probability.
    grid, size : tuple of int
        Height and width of the working grid and of the result.
    edges : Edges, optional
        What the outlines go along.

    Returns
    -------
    ndarray
        (Y, X) uint16 labels.
    """
    labels = np.zeros(size, np.uint16)
    best = np.full(size, 0.5, np.float32)
    for object_id, plane in planes.items():
        along = (None, 0.0) if edges is None else (edges.picture, edges.shares[object_id])
        enlarged = enlarge(plane, grid, size, *along)
        if enlarged is None:
            continue
        window, values = enlarged
        higher = values > best[window]
        best[window][higher] = values[higher]
        labels[window][higher] = object_id
    return labels


def enlarge(
    plane: Plane, grid: tuple[int, int], size: tuple[int, int], picture: Picture | None = None, share: float = 1.0
) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """Interpolate the occupied part of a plane; with a picture, so that it follows its edges to a share.

    Returns
    -------
    window : tuple of slice
        Rows and columns of the result's place at the video's size.
    values : ndarray
        (y, x) float32.
        None instead of both if the plane is empty.
    """
    occupied = plane.values > (_OCCUPIED if picture is None else _OCCUPIED_NEARBY)
    if not occupied.any():
        return None
    scales = size[0] / grid[0], size[1] / grid[1]
    rows, columns = np.flatnonzero(occupied.any(1)), np.flatnonzero(occupied.any(0))
    part = _with_rim(plane if picture is None else along_edges(plane, picture, share), rows, columns)
    bounds = []
    for low, high, scale, length in (
        (part.box.top, part.box.bottom, scales[0], size[0]),
        (part.box.left, part.box.right, scales[1], size[1]),
    ):
        bounds.append((max(int((low + 1) * scale), 0), min(int(np.ceil((high - 1) * scale)), length)))
    (top, bottom), (left, right) = (
        _at_least_one(low, high, length) for (low, high), length in zip(bounds, size, strict=True)
    )
    # Pixel centres of the two grids lie at (i + 0.5) * scale - 0.5 of each other.
    there = np.array(
        [
            [1 / scales[1], 0, (left + 0.5) / scales[1] - 0.5 - part.box.left],
            [0, 1 / scales[0], (top + 0.5) / scales[0] - 0.5 - part.box.top],
        ]
    )
    values = cv2.warpAffine(
        part.values,
        there,
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    window = slice(top, bottom), slice(left, right)
    if picture is not None:
        colours = picture.full[window].astype(np.float32)
        values = np.einsum("yxc,yxc->yx", values[..., :3], colours) / 255 + values[..., 3]
    return window, values


def _with_rim(plane: Plane, rows: np.ndarray, columns: np.ndarray) -> Plane:
    """Cut to the occupied rows and columns and two more all around; beyond the box the edge is repeated."""
    top, bottom, left, right = rows[0] - 2, rows[-1] + 3, columns[0] - 2, columns[-1] + 3
    height, width = plane.box.shape
    inner = plane.values[max(top, 0) : bottom, max(left, 0) : right]
    pads = (max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0))
    box = Box(plane.box.top + top, plane.box.top + bottom, plane.box.left + left, plane.box.left + right)
    return Plane(box, np.pad(inner, pads + ((0, 0),) * (inner.ndim - 2), mode="edge"))


def _at_least_one(low: int, high: int, length: int) -> tuple[int, int]:
    low = min(low, length - 1)
    return low, max(high, low + 1)
