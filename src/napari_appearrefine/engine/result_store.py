"""Results of runs on disk: a run like an earlier one, also after a restart, reads what that one computed."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .digests import code_digest
from .folder_store import FolderStore

LIMIT = 1 << 30


class ResultStore:
    """Arrays in a :class:`FolderStore`, found by a digest of all that they depend on."""

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
        """Keep packed arrays, if the disk takes them."""
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


def _name(key: bytes) -> str:
    return hashlib.blake2b(code_digest().encode() + key, digest_size=20).hexdigest()
