"""Edits of whole objects on labels - delete, merge, split, swap, another id - as patches of pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .clip import FrameSource
from .errors import UserError
from .labels import LARGEST_ID
from .patches import LabelPatch


def delete_object(labels: FrameSource, object_id: int, frames: Iterable[int]) -> Iterator[LabelPatch]:
    """Turn an object's pixels into background.

    Parameters
    ----------
    labels : FrameSource
        (T, Y, X) integer labels, read frame by frame; here and below they are not written.
    frames : iterable of int
        Where; here and below.

    Yields
    ------
    LabelPatch
        One for each frame that changes; here and below.
    """
    return _replaced(labels, {object_id: 0}, frames)


def merge_objects(labels: FrameSource, into: int, other: int, frames: Iterable[int]) -> Iterator[LabelPatch]:
    """Give an object's pixels to another."""
    return _replaced(labels, {other: into}, frames)


def change_id(labels: FrameSource, object_id: int, new_id: int, frames: Iterable[int]) -> Iterator[LabelPatch]:
    """Give an object another id, which no object has in these frames.

    Raises
    ------
    UserError
        If the new id is no valid one.
    """
    _check_id(labels, new_id)
    return _replaced(labels, {object_id: new_id}, frames)


def swap_objects(labels: FrameSource, one: int, other: int, frames: Iterable[int]) -> Iterator[LabelPatch]:
    """Exchange the ids of two objects."""
    return _replaced(labels, {one: other, other: one}, frames)


def split_part(
    labels: FrameSource, object_id: int, new_id: int, frame: int, row: int, column: int, last: int | None = None
) -> Iterator[LabelPatch]:
    """Make one connected part of an object an object of its own, and follow it through time.

    In each later frame it is the connected parts that overlap it most in the frame before, as long as
    the object has more than one part: where the parts touch, the split ends.

    Parameters
    ----------
    labels : FrameSource
        (T, Y, X) integer labels.
    object_id, new_id : int
        Whose part, and its new id.
    frame, row, column : int
        A pixel of the part.
    last : int, optional
        The last frame to follow the part to; ``frame`` itself by default.

    Raises
    ------
    UserError
        If the new id is no valid one, the pixel is not the object's, or the object has only one part there.
    """
    _check_id(labels, new_id)
    plane = np.asarray(labels[frame]) == object_id
    if not plane[row, column]:
        raise UserError(f"Object {object_id} is not at this point of frame {frame}; click on the part to split off.")
    if parts_of(plane)[0] == 1:
        raise UserError(
            f"Object {object_id} is in one piece in frame {frame}; erase where its parts touch, and repeat."
        )
    return _followed_part(labels, object_id, new_id, frame, (row, column), frame if last is None else last)


def parts_of(plane: np.ndarray) -> tuple[int, np.ndarray]:
    """Return how many connected parts a (Y, X) bool plane has, and their numbers from 1, (Y, X) int32.

    Pixels that touch at a corner are connected.
    """
    # Here, because a window that opens need not wait for SciPy; napari loads it with the first Labels layer.
    from scipy import ndimage

    numbered, count = ndimage.label(plane, np.ones((3, 3), bool))
    return int(count), numbered


def _followed_part(
    labels: FrameSource, object_id: int, new_id: int, start: int, point: tuple[int, int], last: int
) -> Iterator[LabelPatch]:
    part = rest = np.zeros((0, 0), bool)
    for frame in range(start, last + 1):
        plane = np.asarray(labels[frame]) == object_id
        count, numbered = parts_of(plane)
        if frame == start:
            part = numbered == numbered[point]
        else:
            with_part = np.bincount(numbered[part], minlength=count + 1)[1:]
            with_rest = np.bincount(numbered[rest], minlength=count + 1)[1:]
            mine = np.flatnonzero(with_part > with_rest) + 1
            if not 0 < mine.size < count:
                return
            part = np.isin(numbered, mine)
        rest = plane & ~part
        rows, columns = np.nonzero(part)
        yield LabelPatch(frame, rows, columns, np.full(rows.size, new_id, np.dtype(labels.dtype)))


def _replaced(labels: FrameSource, ids: dict[int, int], frames: Iterable[int]) -> Iterator[LabelPatch]:
    for frame in frames:
        current = np.asarray(labels[frame])
        planes = {before: current == before for before in ids}
        places = np.flatnonzero(np.logical_or.reduce(list(planes.values())))
        if places.size:
            values = current.ravel()[places]
            for before, after in ids.items():
                values[planes[before].ravel()[places]] = after
            rows, columns = np.divmod(places, current.shape[1])
            yield LabelPatch(frame, rows, columns, values)


def _check_id(labels: FrameSource, object_id: int) -> None:
    largest = min(int(np.iinfo(np.dtype(labels.dtype)).max), LARGEST_ID)
    if not 1 <= object_id <= largest:
        raise UserError(f"Object ids of these labels go from 1 to {largest}; {object_id} is not one of them.")
