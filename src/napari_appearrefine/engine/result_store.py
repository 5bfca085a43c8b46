"""Results of runs on disk: a run like an earlier one, also after a restart, reads what that one computed."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .. import __version__
from .folder_store import FolderStore

LIMIT = 1 << 30


class ResultStore:
    """Arrays in a :class:`FolderStore`, found by a digest of all that they depend on.

    Parameters
    ----------
    folder : Path
        Where; made when the first file is written.
    limit : int
        Bytes.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._files = FolderStore(folder, limit, ".arrays")

    def read(self, key: bytes) -> bytes | None:
        """Return packed arrays, or None if there are none that can be read."""
        data = self._files.read(_name(key))
        if data is None:
            return None
        try:
            unpacked(data)
        except (zlib.error, SafetensorError):
            return None
        return data

    def write(self, key: bytes, data: bytes) -> None:
        """Keep packed arrays."""
        self._files.write(_name(key), data)


def packed(arrays: Sequence[np.ndarray]) -> bytes:
    """Turn arrays of any shapes and numeric types into few bytes."""
    # Flow hardly shrinks, and packing it takes a third of the time that computing it took.
    level = 1 if any(each.dtype.kind != "f" for each in arrays) else 0
    data = save({str(place): np.ascontiguousarray(each) for place, each in enumerate(arrays)})
    return zlib.compress(data, level)


def unpacked(data: bytes) -> tuple[np.ndarray, ...]:
    """Return the arrays that :func:`packed` took, writable.

    Raises
    ------
    zlib.error, SafetensorError
        If the data is damaged.
    """
    arrays = load(zlib.decompress(data))
    return tuple(arrays[str(place)].copy() for place in range(len(arrays)))


@cache
def code_digest() -> str:
    """Return what tells this version of the computing code from others, so that none takes the results of another."""
    digest = hashlib.blake2b(f"{__version__} {torch.__version__} {cv2.__version__}".encode(), digest_size=16)
    package = Path(__file__).resolve().parent.parent
    for folder in ("core", "engine"):
        for file in sorted((package / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _name(key: bytes) -> str:
    return hashlib.blake2b(code_digest().encode() + key, digest_size=20).hexdigest()
