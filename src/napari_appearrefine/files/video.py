"""Opening a video of any kind as a clip, and a clip as a lazy array for napari."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.clip import Clip
from ..core.errors import UserError
from .arrays import open_npy
from .container_end import is_cut_off
from .images import TIFF_SUFFIXES, ImageFolder
from .names import existing, numbering_gap
from .tiff_stack import TiffStack
from .video_file import VideoFile

if TYPE_CHECKING:
    import dask.array

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")


def open_video(path: str | Path) -> Clip:
    """Open a video without reading it whole.

    Parameters
    ----------
    path : str or Path
        A video file (mp4, m4v, mov, avi, mkv, webm), a folder of numbered images (jpg, png, bmp, tif,
        webp), a TIFF stack (of up to four channels; two get an empty third, the fourth is left
        out), or a ``.npy`` file of (T, Y, X) or (T, Y, X, 3).

    Returns
    -------
    Clip
        Named after the folder, or the file without suffix. The frames of a folder have the names of
        its files. Its notice says if frames are missing.

    Raises
    ------
    UserError
        If there is nothing at the path, or it is no whole video of one size.
    """
    path = existing(path)
    name = path.resolve().name if path.is_dir() else path.stem
    if path.is_dir():
        folder = ImageFolder(path)
        return Clip(folder, name, folder.names, _notice_of_gap(folder.names))
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        video = VideoFile(path)
        return Clip(video, name, notice=_notice_of_damage(path, video))
    if suffix in TIFF_SUFFIXES:
        return Clip(TiffStack(path), name)
    if suffix == ".npy":
        return Clip(open_npy(path), name)
    raise UserError(
        f"{path} is no kind of video that can be opened; give {', '.join(VIDEO_SUFFIXES)}, .tif, .npy "
        "or a folder of images."
    )


def _notice_of_gap(names: Sequence[str]) -> str:
    gap = numbering_gap(names)
    return f"there is no frame between {gap[0]} and {gap[1]}" if gap else ""


def _notice_of_damage(path: Path, video: VideoFile) -> str:
    if is_cut_off(path):
        return f"the file is cut off; anything after its {len(video)} frames is lost"
    if video.missing:
        return f"{video.missing} of {len(video) + video.missing} frames are lost; the file is damaged or cut off"
    return ""


def as_dask(clip: Clip) -> dask.array.Array:
    """Return a clip as a lazy array with one chunk a frame.

    Returns
    -------
    dask.array.Array
        Of the clip's shape; frame 0 is read now to learn the type, the others when they are asked for.
    """
    import dask.array

    first = clip.raw(0)

    def read(block_id: tuple[int, ...]) -> np.ndarray:
        return clip.raw(block_id[0])[None]

    chunks: tuple[Any, ...] = ((1,) * len(clip), *((length,) for length in first.shape))
    # The name must be ours: dask would otherwise hash the clip to find one.
    name = f"{clip.name}-{uuid.uuid4().hex}"
    lazy: dask.array.Array = dask.array.map_blocks(  # type: ignore[no-untyped-call]
        read, chunks=chunks, dtype=first.dtype, meta=first[None][:0], name=name
    )
    return lazy
