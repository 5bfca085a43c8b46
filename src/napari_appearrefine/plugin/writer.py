"""Saves a Labels layer: a folder of indexed PNG with the DAVIS palette, a TIFF stack, a NumPy array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.labels import as_labels, label_dtype
from .layers import METADATA_KEY


def write_mask_folder(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write one indexed PNG a frame, named as the frames of the video that the labels belong to.

    Raises
    ------
    UserError
        If the labels are no (time, height, width), or an id does not fit.
    """
    from ..files.masks import MaskFolderWriter

    source, name = _frames_of(data, meta)
    names = meta.get("metadata", {}).get(METADATA_KEY, {}).get("frame_names")
    if names is None or len(names) != len(source):
        names = [f"{frame:05d}" for frame in range(len(source))]
    # Read once before anything is written, so that a negative label in the last frame leaves no half folder.
    largest = max(int(as_labels(source[frame], name, frame).max(initial=0)) for frame in range(len(source)))
    writer = MaskFolderWriter(Path(path), names, (int(source.shape[1]), int(source.shape[2])), [largest])
    for frame in range(len(source)):
        writer.write(frame, as_labels(source[frame], name, frame))
    return [path]


def write_tiff_stack(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a (T, Y, X) TIFF stack of uint8 or uint16.

    Raises
    ------
    UserError
        If the labels are no (time, height, width), or an id does not fit.
    """
    from ..files.masks import write_tiff

    write_tiff(Path(path), _whole(data, meta))
    return [path]


def write_array(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a (T, Y, X) ``.npy`` of uint8 or uint16.

    Raises
    ------
    UserError
        If the labels are no (time, height, width), or an id does not fit.
    """
    from ..files.masks import write_npy

    write_npy(Path(path), _whole(data, meta))
    return [path]


def _whole(data: Any, meta: dict[str, Any]) -> np.ndarray:
    source, name = _frames_of(data, meta)
    labels = np.stack([as_labels(source[frame], name, frame) for frame in range(len(source))])
    return labels.astype(label_dtype([int(labels.max(initial=0))]))


def _frames_of(data: Any, meta: dict[str, Any]) -> tuple[Any, str]:
    name = str(meta.get("name", "labels"))
    if getattr(data, "ndim", 0) == 2:
        data = data[None]
    if getattr(data, "ndim", 0) != 3 or data.shape[0] == 0:
        raise UserError(f"{name} is not (time, height, width); save it with another writer.")
    return data, name
