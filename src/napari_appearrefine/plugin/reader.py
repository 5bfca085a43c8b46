"""Opens videos as lazy Image layers and masks as editable Labels layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_warning
from PIL import Image as Picture
from PIL import UnidentifiedImageError

from ..core.clip import Clip, FrameSource, spread_frames
from ..core.errors import UserError
from ..files.images import IMAGE_SUFFIXES
from .layers import METADATA_KEY, distinct_colours, load_labels

LayerTuple = tuple[Any, dict[str, Any], str]

_AXES = ("t", "y", "x")
_MASK_ARCHIVES = {".npz"}
_VIDEO_OR_MASKS = {".tif", ".tiff", ".npy"}
_SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"} | _MASK_ARCHIVES | _VIDEO_OR_MASKS
_FRAMES_LOOKED_AT = 3
_MOST_IDS = 256
_LARGEST_SHARE_OF_EDGES = 0.1


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerTuple]] | None:
    """Return what reads a path, or None if it is no single video, stack, array or folder of frames."""
    if not isinstance(path, str):
        return None
    given = Path(path)
    if given.is_dir():
        return read if any(file.suffix.lower() in IMAGE_SUFFIXES for file in given.iterdir()) else None
    return read if given.suffix.lower() in _SUFFIXES else None


def read(path: str) -> list[LayerTuple]:
    """Read a path as layers for napari.

    Masks are read whole, because a Labels layer must be editable; video stays on disk until a
    frame is shown. A folder of palette PNG holds masks, a ``.npz`` too; other folders, TIFF
    stacks and arrays are masks if they look like it, see :func:`looks_like_masks`.

    Raises
    ------
    UserError
        If the path holds no video or masks that can be read.
    """
    from ..files.masks import open_masks
    from ..files.video import open_video

    given = Path(path)
    if given.suffix.lower() in _MASK_ARCHIVES or _is_palette_folder(given):
        return [labels_layer(open_masks(given), given.stem)]
    clip = open_video(given)
    if (given.is_dir() or given.suffix.lower() in _VIDEO_OR_MASKS) and looks_like_masks(clip):
        return [labels_layer(open_masks(given), given.stem, clip.frame_names)]
    if clip.notice:
        show_warning(f"{clip.name}: {clip.notice}.")
    return [video_layer(clip)]


def video_layer(clip: Clip) -> LayerTuple:
    """Return a clip as a lazy Image layer, one chunk a frame."""
    from ..files.video import as_dask

    options: dict[str, Any] = {
        "name": clip.name,
        "rgb": len(clip.shape) == 4,
        "axis_labels": _AXES,
        "metadata": {METADATA_KEY: {"frame_names": clip.frame_names}},
    }
    data = as_dask(clip)
    if data.dtype != np.uint8 and len(clip.shape) == 3:
        options["contrast_limits"] = clip.value_range
    return data, options, "image"


def labels_layer(source: FrameSource, name: str, frame_names: Sequence[str] | None = None) -> LayerTuple:
    """Return masks as an editable Labels layer.

    Raises
    ------
    UserError
        If a mask cannot be read or holds values that are no ids.
    """
    if len(source.shape) != 3 or np.dtype(source.dtype).kind not in "uib":
        raise UserError(
            f"{name} holds {source.dtype} values of the shape {tuple(source.shape)}; "
            "masks must be whole numbers of the shape (time, height, width)."
        )
    metadata = {METADATA_KEY: {"frame_names": list(frame_names)}} if frame_names else {}
    options = {"name": name, "axis_labels": _AXES, "metadata": metadata, "colormap": distinct_colours()}
    return load_labels(source, name), options, "labels"


def looks_like_masks(clip: Clip) -> bool:
    """Tell masks from pictures by a few frames.

    Masks hold whole numbers, 0 among them, few different ones, in areas: next to none of the
    neighbouring pixels differ. A dim 16-bit recording may have few values too, but its noise
    differs from pixel to pixel.
    """
    if len(clip.shape) != 3:
        return False
    frames = [clip.raw(frame) for frame in spread_frames(len(clip), _FRAMES_LOOKED_AT)]
    if any(frame.dtype.kind not in "uib" or frame.min() != 0 for frame in frames):
        return False
    if not any(frame.any() for frame in frames):
        return False
    edges = max(float(np.mean(frame[:, 1:] != frame[:, :-1])) for frame in frames)
    return edges < _LARGEST_SHARE_OF_EDGES and all(np.unique(frame).size <= _MOST_IDS for frame in frames)


def _is_palette_folder(path: Path) -> bool:
    first = min(path.glob("*.png"), default=None) if path.is_dir() else None
    if first is None:
        return False
    try:
        with Picture.open(first) as picture:
            return picture.mode == "P"
    except (OSError, UnidentifiedImageError):
        return False
