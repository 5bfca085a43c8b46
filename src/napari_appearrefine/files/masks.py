"""Reading and writing masks: folders of PNG, TIFF stacks, NumPy files. Ids are never renumbered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from ..core.clip import Clip, FrameSource
from ..core.errors import UserError
from ..core.labels import as_labels, check_masks
from .arrays import open_npy, open_npz
from .atomic import atomic_path, explained_write_errors
from .images import IMAGE_SUFFIXES, TIFF_SUFFIXES
from .mask_folder import MaskFolder
from .names import existing
from .palette import davis_palette
from .tiff_stack import TiffStack

# A classic TIFF ends at 4 GiB; some room is left for what is not pixels.
_CLASSIC_TIFF_BYTES = 4_000_000_000


def open_masks(path: str | Path, clip: Clip | None = None) -> FrameSource:
    """Open masks, to be read frame by frame.

    Parameters
    ----------
    path : str or Path
        A folder of indexed, grey or RGB images (see :class:`MaskFolder`), a TIFF stack, a ``.npy`` file,
        or a ``.npz`` file with one array or one named masks, labels or arr_0.
    clip : Clip, optional
        The video they belong to. A folder is matched to it by names; everything is checked against its
        size and length.

    Returns
    -------
    FrameSource
        (T, Y, X) uint8 or uint16, 0 for background.

    Raises
    ------
    UserError
        If there is nothing at the path, or it holds no masks, or not this clip's.
    """
    path = existing(path)
    suffix = path.suffix.lower()
    if path.is_dir():
        masks: FrameSource = MaskFolder(path, clip)
    elif suffix in TIFF_SUFFIXES:
        masks = _Labels(TiffStack(path, channels=False), clip, path)
    elif suffix == ".npy":
        masks = _Labels(open_npy(path), clip, path)
    elif suffix == ".npz":
        masks = _Labels(open_npz(path), clip, path)
    else:
        raise UserError(
            f"{path} is no kind of masks that can be opened; give a folder of PNG images, .tif, .npy or .npz."
        )
    if clip is not None:
        check_masks(masks, clip, str(path))
    return masks


class MaskFolderWriter:
    """Writes masks as a folder of indexed PNG with the DAVIS palette, one file a frame.

    Every file appears whole when its frame is written, replacing one of that name; what was
    written stays if the run is cancelled. With ids above 255 all files are 16-bit grey instead.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.
    frame_names : sequence of str
        Names of the files, without suffix.
    size : tuple of int
        Height and width in pixels.
    object_ids : sequence of int
        All ids that will be written; only whether one is above 255 matters.

    Raises
    ------
    UserError
        If the folder cannot be made or written to, or holds other images, which would be taken for masks.
    """

    def __init__(
        self,
        folder: str | Path,
        frame_names: Sequence[str],
        size: tuple[int, int],
        object_ids: Sequence[int] = (),
    ) -> None:
        self.folder = Path(folder)
        self._names = list(frame_names)
        self._size = tuple(size)
        self._dtype = np.uint8 if max(object_ids, default=0) <= 255 else np.uint16
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder} is a file; give the name of a folder.")
        with explained_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            there = sorted(path.name for path in self.folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        own = {f"{name}.png" for name in self._names}
        foreign = [name for name in there if name not in own and not name.startswith(".")]
        if foreign:
            raise UserError(
                f"{self.folder} already holds other images ({foreign[0]}); choose an empty folder for the masks."
            )

    def write(self, frame: int, labels: np.ndarray) -> Path:
        """Write one frame's (Y, X) labels and return the file.

        Raises
        ------
        UserError
            If the file cannot be written.
        """
        labels = as_labels(labels)
        if labels.shape != self._size:
            raise ValueError(f"labels of frame {frame} are {labels.shape}, not {self._size}")
        if labels.size and labels.max() > np.iinfo(self._dtype).max:
            raise ValueError(f"frame {frame} holds id {labels.max()}, which was not announced in object_ids")
        image = Image.fromarray(labels.astype(self._dtype))
        if self._dtype == np.uint8:
            image.putpalette(davis_palette().tobytes())
        path = self.folder / f"{self._names[frame]}.png"
        with atomic_path(path, through_link=False) as beside:
            image.save(beside, format="PNG")
        return path


def write_tiff(path: str | Path, labels: FrameSource) -> None:
    """Write masks as a compressed TIFF stack, one page a frame.

    Parameters
    ----------
    path : str or Path
        File to write or to replace.
    labels : FrameSource
        (T, Y, X) label maps, read frame by frame.

    Raises
    ------
    UserError
        If the file cannot be written, or a label is negative or too large.
    """
    dtype = _stored_dtype(labels)
    size = math.prod(int(length) for length in labels.shape) * dtype.itemsize
    with atomic_path(path) as beside, tifffile.TiffWriter(beside, bigtiff=size > _CLASSIC_TIFF_BYTES) as writer:
        for frame in _stored_frames(labels, dtype):
            writer.write(frame, photometric="minisblack", compression="zlib", metadata=None, contiguous=False)


def write_npy(path: str | Path, labels: FrameSource) -> None:
    """Write masks as a ``.npy`` file; parameters and errors as of :func:`write_tiff`."""
    dtype = _stored_dtype(labels)
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": tuple(int(length) for length in labels.shape),
    }
    # Written in order, not mapped: a full disk ends a mapped write with a signal, not an error.
    with atomic_path(path) as beside, open(beside, "wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for frame in _stored_frames(labels, dtype):
            file.write(frame.tobytes())


def _stored_dtype(labels: FrameSource) -> np.dtype[Any]:
    return np.dtype(np.uint8 if np.dtype(labels.dtype) in (np.uint8, np.bool_) else np.uint16)


def _stored_frames(labels: FrameSource, dtype: np.dtype[Any]) -> Iterator[np.ndarray]:
    for index in range(len(labels)):
        yield np.ascontiguousarray(as_labels(labels[index], "The masks", index).astype(dtype))


class _Labels:
    """Integer frames of a file as label maps."""

    def __init__(self, frames: FrameSource, clip: Clip | None, path: Path) -> None:
        # A clip of the frames themselves fits them in size: what remains to be checked is their type.
        check_masks(frames, clip or Clip(frames, str(path)), str(path))
        self._frames = frames
        self._name = str(path)
        stored = np.dtype(frames.dtype)
        self.shape = tuple(frames.shape)
        self.dtype = _stored_dtype(frames)
        if stored.kind == "i" or stored.itemsize > 2:
            # Such a type can hold what no label may be; better known now than in the middle of a run.
            for index in range(len(self)):
                as_labels(frames[index], self._name, index)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, frame: int) -> np.ndarray:
        return as_labels(self._frames[frame], self._name, range(len(self))[frame]).astype(self.dtype)
