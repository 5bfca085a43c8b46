"""Arrays put aside until they are needed again: in memory up to a limit, beyond it in a temporary file."""

from __future__ import annotations

import tempfile
import threading
import weakref
import zlib
from array import array
from typing import Any

import numpy as np

_IN_MEMORY = 1 << 20


class Spool:
    """A growing sequence of arrays that takes at most 1 MiB of memory, however many they are.

    Parameters
    ----------
    compress : bool
        Whether to compress them, as pays for label maps; the file is gone with the object.
    """

    def __init__(self, compress: bool = True) -> None:
        self._compress = compress
        # Open as long as the object lives.
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, prefix="napari-appearrefine-")  # noqa: SIM115
        self._starts = array("Q")
        self._kinds: list[tuple[tuple[int, ...], np.dtype[Any]]] = []
        self._kind_of = array("L")
        self._end = 0
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def memory(self) -> int:
        """Bytes of memory that it takes at most."""
        return min(self._end, _IN_MEMORY)

    def append(self, values: np.ndarray) -> None:
        """Put an array of any shape and dtype at the end."""
        raw = np.ascontiguousarray(values).tobytes()
        data = zlib.compress(raw, 1) if self._compress else raw
        with self._lock:
            self._file.seek(self._end)
            self._file.write(data)
            kind = values.shape, values.dtype
            if not self._kinds or self._kinds[-1] != kind:
                self._kinds.append(kind)
            self._kind_of.append(len(self._kinds) - 1)
            self._starts.append(self._end)
            self._end += len(data)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return an array, writable."""
        index = range(len(self))[index]
        shape, dtype = self._kinds[self._kind_of[index]]
        with self._lock:
            start, end = self._starts[index], self._starts[index + 1] if index + 1 < len(self) else self._end
            self._file.seek(start)
            data = self._file.read(end - start)
        return np.frombuffer(bytearray(zlib.decompress(data) if self._compress else data), dtype).reshape(shape)


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
