"""Label maps and the planes of single objects; object ids are the user's and are never renumbered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .clip import Clip, FrameSource, check_clip, spread_frames
from .errors import UserError

LARGEST_ID = int(np.iinfo(np.uint16).max)
_FRAMES_LOOKED_AT = 16


def check_masks(masks: FrameSource, clip: Clip, name: str = "masks") -> None:
    """Check that masks can belong to a clip, without reading a frame.

    Parameters
    ----------
    masks : FrameSource
        (T, Y, X) of an integer or boolean dtype.
    clip : Clip
        The video.
    name : str
        What to call the masks in messages.

    Raises
    ------
    UserError
        If one of them is something else, as a path, or the dtype, the number of frames or the size does not fit.
    """
    check_clip(clip)
    if not isinstance(masks, FrameSource):
        raise UserError(
            f"{name} is of the type {type(masks).__name__}; give an integer array, or what open_masks returns."
        )
    shape = tuple(int(length) for length in masks.shape)
    if np.dtype(masks.dtype).kind not in "uib":
        raise UserError(
            f"{name} holds {masks.dtype} values; masks must hold whole numbers "
            "(0 for background, 1, 2, ... for objects): convert them to integers first."
        )
    if len(shape) != 3:
        raise UserError(f"{name} has the shape {shape}; masks must be (time, height, width).")
    if shape[0] != len(clip):
        raise UserError(
            f"{name} has {shape[0]} frames but {clip.name} has {len(clip)}; give one mask for each frame of the video."
        )
    if shape[1:] != clip.size:
        # Of a telephone's upright video that lies on its side in the file, some programs see what lies there.
        turned = " that are turned as players show it" if shape[1:] == clip.size[::-1] else " of the video's size"
        raise UserError(
            f"{name} is {shape[2]} x {shape[1]} pixels but {clip.name} is {clip.size[1]} x {clip.size[0]}; "
            f"give masks{turned}."
        )


def as_labels(frame: np.ndarray, name: str = "masks", index: int | None = None) -> np.ndarray:
    """Return one frame of masks as (Y, X) uint16.

    Raises
    ------
    UserError
        If a value is negative or above 65535.
    """
    frame = np.asarray(frame)
    if frame.dtype in (np.uint8, np.uint16, np.bool_):
        return frame.astype(np.uint16)
    where = "" if index is None else f" (frame {index})"
    if frame.size and int(frame.min()) < 0:
        raise UserError(f"{name}{where} holds negative labels; use 0 for background and 1 to {LARGEST_ID} for objects.")
    if frame.size and int(frame.max()) > LARGEST_ID:
        raise UserError(f"{name}{where} holds labels above {LARGEST_ID}; use ids from 1 to {LARGEST_ID}.")
    return frame.astype(np.uint16)


def object_areas(masks: FrameSource, name: str = "masks") -> dict[int, np.ndarray]:
    """Count the pixels of every object in every frame, reading one frame at a time.

    Returns
    -------
    dict of int to ndarray
        Object id, ascending, to (T,) int64 areas in pixels.
    """
    areas: dict[int, np.ndarray] = {}
    for index in range(len(masks)):
        labels = as_labels(masks[index], name, index)
        counts = np.bincount(labels[labels > 0])
        for object_id in np.flatnonzero(counts):
            areas.setdefault(int(object_id), np.zeros(len(masks), np.int64))[index] = counts[object_id]
    return dict(sorted(areas.items()))


def ids_in_some_frames(masks: FrameSource, name: str = "masks") -> list[int]:
    """Return the ids in sixteen frames spread over the clip, ascending: quickly, nearly all there are."""
    chosen = spread_frames(len(masks), _FRAMES_LOOKED_AT)
    found = [np.unique(as_labels(masks[frame], name, frame)) for frame in chosen]
    return [int(label) for label in np.unique(np.concatenate(found)) if label]


def label_dtype(object_ids: Sequence[int]) -> type[np.uint8] | type[np.uint16]:
    """Return the smallest of uint8 and uint16 that holds all ids."""
    return np.uint8 if max(object_ids, default=0) <= 255 else np.uint16


def planes_of(labels: np.ndarray, object_ids: Sequence[int]) -> np.ndarray:
    """Split a label map into one boolean plane an object: (Y, X) to (Q, Y, X)."""
    ids = np.asarray(object_ids, dtype=labels.dtype).reshape(-1, 1, 1)
    return np.asarray(labels[None] == ids, np.bool_)


def labels_of(planes: np.ndarray, object_ids: Sequence[int]) -> np.ndarray:
    """Join planes (Q, Y, X) into a label map (Y, X); where planes overlap the later object wins."""
    labels = np.zeros(planes.shape[1:], label_dtype(object_ids))
    for object_id, plane in zip(object_ids, planes, strict=True):
        labels[plane.astype(bool)] = object_id
    return labels


def label_ious(one: np.ndarray, other: np.ndarray, object_ids: Sequence[int]) -> np.ndarray:
    """Return the IoU of each object's masks in two label maps (Y, X), (Q,) float; 0 for an object in neither."""
    anything = (one != 0) | (other != 0)
    one, other = one[anything], other[anything]
    length = int(max(one.max(initial=0), other.max(initial=0), *object_ids)) + 1
    shared, first, second = (np.bincount(each, minlength=length) for each in (one[one == other], one, other))
    counts = np.stack([shared, first, second])[:, list(object_ids)]
    return np.asarray(counts[0] / np.maximum(counts[1] + counts[2] - counts[0], 1))
