"""NumPy files as frames, mapped into memory; pickles in them are never loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from .images import unreadable

_PREFERRED_NAMES = ("masks", "labels", "arr_0")


class ArrayFrames:
    """An array as frames; each is copied when it is read, in native byte order.

    Parameters
    ----------
    array : ndarray
        The first axis is time.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = np.dtype(array.dtype.newbyteorder("="))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frame: int) -> np.ndarray:
        """Return one frame as a copy."""
        return np.array(self._array[frame], dtype=self.dtype, order="C")


def open_npy(path: Path) -> ArrayFrames:
    """Map a ``.npy`` file into memory.

    Raises
    ------
    UserError
        If it is damaged, holds no frames, or holds Python objects (a pickle).
    """
    try:
        with open(path, "rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise UserError(f"{path} is not a NumPy array; save it with numpy.save.")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise _refused(path, error) from error
    return _frames_of(array, path)


def open_npz(path: Path) -> ArrayFrames:
    """Read the only array of a ``.npz`` file, or the one named masks, labels or arr_0.

    Raises
    ------
    UserError
        If the file is damaged, holds Python objects, or does not say which array is meant.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path} is not a NumPy archive or is cut off; save it with numpy.savez_compressed.")
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            named = [name for name in _PREFERRED_NAMES if name in names]
            chosen = names if len(names) == 1 else named[:1]
            if not chosen:
                raise UserError(
                    f"{path} holds the arrays {', '.join(names) or '(none)'}; keep one array, or name it masks."
                )
            array = archive[chosen[0]]
    except Exception as error:
        raise _refused(path, error) from error
    return _frames_of(array, path)


def _frames_of(array: np.ndarray, path: Path) -> ArrayFrames:
    if array.ndim < 3:
        raise UserError(f"{path} has the shape {array.shape}; it must be (time, height, width).")
    return ArrayFrames(array)


def _refused(path: Path, error: Exception) -> UserError:
    if isinstance(error, ValueError) and ("allow_pickle" in str(error) or "Python objects" in str(error)):
        return UserError(f"{path} holds Python objects, which are never loaded; save a plain array of numbers.")
    return unreadable(path, error)
