"""Arrays put aside until they are needed again: in memory up to a limit, beyond it in a temporary file."""

from __future__ import annotations

import tempfile
import threading
import weakref
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

_IN_MEMORY = 4 << 20


@dataclass(frozen=True, slots=True)
class _Place:
    start: int
    length: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Spool:
    """A growing sequence of arrays that takes at most 4 MiB of memory, however many they are.

    Parameters
    ----------
    compress : bool
        Whether to compress them, as pays for label maps; the file is gone with the object.
    """

    def __init__(self, compress: bool = True) -> None:
        self._compress = compress
        # Open as long as the object lives.
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, prefix="napari-appearrefine-")  # noqa: SIM115
        self._places: list[_Place] = []
        self._end = 0
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def memory(self) -> int:
        """Bytes of memory that it takes at most."""
        return min(self._end, _IN_MEMORY)

    def append(self, array: np.ndarray) -> None:
        """Put an array of any shape and dtype at the end."""
        raw = np.ascontiguousarray(array).tobytes()
        data = zlib.compress(raw, 1) if self._compress else raw
        with self._lock:
            self._file.seek(self._end)
            self._file.write(data)
            self._places.append(_Place(self._end, len(data), array.shape, array.dtype))
            self._end += len(data)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return an array, writable."""
        place = self._places[index]
        with self._lock:
            self._file.seek(place.start)
            data = self._file.read(place.length)
        return np.frombuffer(bytearray(zlib.decompress(data) if self._compress else data), place.dtype).reshape(
            place.shape
        )


class CoarseSpool:
    """A sequence of planes of real numbers, (c, h, w) each, of which 256 steps a plane are kept."""

    def __init__(self) -> None:
        self._steps = Spool(compress=False)
        self._ranges = Spool(compress=False)

    def __len__(self) -> int:
        return len(self._steps)

    def append(self, planes: np.ndarray) -> None:
        """Put planes, (c, h, w) floating, at the end."""
        lowest = planes.min(axis=(1, 2), keepdims=True)
        step = np.maximum((planes.max(axis=(1, 2), keepdims=True) - lowest) / 255, 1e-12)
        self._steps.append(np.rint((planes - lowest) / step).astype(np.uint8))
        self._ranges.append(np.stack([lowest, step]).astype(np.float32))

    def __getitem__(self, index: int) -> np.ndarray:
        """Return planes as (c, h, w) float32, off by half a step at most."""
        lowest, step = self._ranges[index]
        return np.asarray(lowest + step * self._steps[index], np.float32)
