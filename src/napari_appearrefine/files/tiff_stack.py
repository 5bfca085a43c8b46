"""A TIFF stack as frames, read page by page."""

from __future__ import annotations

import math
import struct
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ..core.errors import UserError
from .images import unreadable

_MOST_CHANNELS = 4


@dataclass(frozen=True)
class StackLayout:
    """Which axes of a stack are time and channel; ``y`` and ``x`` are always there, all others have one entry.

    Parameters
    ----------
    shape : tuple of int
        Lengths of all axes.
    time, channel : int or None
        Positions in ``shape``; None if there is no such axis.
    y, x : int
        Positions in ``shape``.
    """

    shape: tuple[int, ...]
    time: int | None
    channel: int | None
    y: int
    x: int

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(T, Y, X), or (T, Y, X, 3) if there are channels."""
        length = 1 if self.time is None else self.shape[self.time]
        return (length, self.shape[self.y], self.shape[self.x]) + (() if self.channel is None else (3,))

    def frame(self, block: Any, time: int) -> np.ndarray:
        """Cut one frame out of an array of these axes; two channels get an empty third, four lose the last."""
        index: list[Any] = [0] * len(self.shape)
        index[self.y] = index[self.x] = slice(None)
        if self.time is not None:
            index[self.time] = time
        if self.channel is not None:
            index[self.channel] = slice(0, 3)
        cut = np.asarray(block[tuple(index)])
        kept = [axis for axis, entry in enumerate(index) if isinstance(entry, slice)]
        order = [self.y, self.x] + ([] if self.channel is None else [self.channel])
        cut = cut.transpose([kept.index(axis) for axis in order])
        if cut.ndim == 3 and cut.shape[2] < 3:
            cut = np.pad(cut, ((0, 0), (0, 0), (0, 3 - cut.shape[2])))
        return np.array(cut, dtype=cut.dtype.newbyteorder("="), order="C")


def find_layout(shape: tuple[int, ...], axes: str, name: str, channels: bool = True) -> StackLayout:
    """Decide which axis is time and which the channel.

    Parameters
    ----------
    shape : tuple of int
        Lengths of the axes.
    axes : str
        One letter an axis as tifffile gives them: T time, Z depth, C channel, S sample, Y, X, others unknown.
    name : str
        What to call the file in messages.
    channels : bool
        False for masks: every axis but height and width is time.

    Raises
    ------
    UserError
        If there is more than one axis that could be time, or there are more than four channels.
    """
    if "Y" not in axes or "X" not in axes:
        raise UserError(f"{name} has the axes {axes}; save it as a stack of images.")
    y, x = axes.index("Y"), axes.index("X")
    long = [axis for axis, length in enumerate(shape) if length > 1 and axis not in (y, x)]
    # A sample axis of length 1 in front of (Y, X) cannot happen; a channel axis of length 1 is simply grey.
    channel = next((axis for letter in "SC" for axis in long if axes[axis] == letter), None) if channels else None
    times = [axis for axis in long if axis != channel]
    if channel is None and channels and len(times) == 2 and shape[times[1]] <= _MOST_CHANNELS:
        channel = times.pop()
    if channel is not None and not times:
        # Some writers of ImageJ files call the only axis a channel, whatever it is; others take three or four grey
        # frames for the separate colours of one picture.
        separate = axes[channel] == "S" and channel < min(y, x)
        if separate or (axes[channel] == "C" and shape[channel] > _MOST_CHANNELS):
            times, channel = [channel], None
    described = " x ".join(f"{letter} {length}" for letter, length in zip(axes, shape, strict=True))
    if len(times) > 1:
        raise UserError(f"{name} has more axes than time, channel, height and width ({described}); save one plane.")
    if channel is not None and shape[channel] > _MOST_CHANNELS:
        raise UserError(f"{name} has {shape[channel]} channels ({described}); save at most {_MOST_CHANNELS} of them.")
    return StackLayout(shape, times[0] if times else None, channel, y, x)


class TiffStack:
    """The frames of a TIFF file, (T, Y, X) or (T, Y, X, 3), read page by page or mapped into memory.

    Parameters
    ----------
    path : Path
        A stack of one series: ImageJ, OME or plain, compressed or not.
    channels : bool
        False for masks, which have no channels.

    Raises
    ------
    UserError
        If the file is damaged or is no such stack.
    """

    def __init__(self, path: Path, channels: bool = True) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            tiff = tifffile.TiffFile(path)
        except Exception as error:
            raise unreadable(path, error) from error
        self._close = weakref.finalize(self, tiff.close)
        try:
            series = list(tiff.series)
            self._byteorder = tiff.byteorder
            whole = _ends_well(tiff)
        except Exception as error:
            raise unreadable(path, error) from error
        if not whole:
            raise UserError(f"{path} is cut off or damaged: pages are missing at its end; save the stack again.")
        if len(series) != 1:
            raise UserError(f"{path} holds {len(series)} images of different kinds; save one stack of one size.")
        self._series = series[0]
        shape, axes = tuple(int(length) for length in self._series.shape), str(self._series.axes)
        self._layout = find_layout(shape, axes, str(path), channels)
        self.shape = self._layout.frame_shape
        self.dtype = np.dtype(np.dtype(self._series.dtype).newbyteorder("="))
        self._page_shape = tuple(int(length) for length in self._series.keyframe.shape)
        self._numbers = self._page_numbers()
        self._mapped = self._map(shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frame: int) -> np.ndarray:
        """Return one frame as a copy, (Y, X) or (Y, X, 3)."""
        frame = range(len(self))[frame]
        if self._mapped is not None or self._numbers is None:
            return self._layout.frame(self._mapped, frame)
        try:
            with self._lock:
                block = self._read(frame, self._numbers)
        except Exception as error:  # Codecs raise nearly anything on damaged data.
            raise UserError(
                f"Frame {frame} of {self._path} cannot be read; the file is damaged there: save the stack again."
            ) from error
        return self._layout.frame(block, 0)

    def _map(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return the whole stack where that costs no memory, or cannot be avoided."""
        try:
            if self._series.dataoffset is not None:
                dtype = np.dtype(self._series.dtype).newbyteorder(self._byteorder)
                return np.memmap(self._path, dtype=dtype, mode="r", offset=self._series.dataoffset, shape=shape)
            if self._numbers is None:
                return np.asarray(self._series.asarray()).reshape(shape)
        except Exception as error:
            raise unreadable(self._path, error) from error
        return None

    def _page_numbers(self) -> np.ndarray | None:
        """Return the number of each page by its place in the axes before a page's own.

        None if pages and axes do not go together, as when one page holds a whole volume.
        """
        leading = self._layout.shape[: len(self._layout.shape) - len(self._page_shape)]
        pages = len(self._series.pages)
        if (*leading, *self._page_shape) != self._layout.shape or math.prod(leading) != pages:
            return None
        if self._layout.time is not None and self._layout.time >= len(leading):
            return None
        return np.arange(pages).reshape(leading)

    def _read(self, frame: int, numbers: np.ndarray) -> np.ndarray:
        """Return the pages of one frame as an array of all axes, in which time has one entry."""
        if self._layout.time is not None:
            numbers = np.take(numbers, [frame], axis=self._layout.time)
        pages = [self._page(int(number)) for number in numbers.ravel()]
        return np.stack(pages).reshape(numbers.shape + self._page_shape)

    def _page(self, number: int) -> np.ndarray:
        page = self._series.pages[number]
        # OME files may leave out pages that hold nothing.
        return np.zeros(self._page_shape, self.dtype) if page is None else np.asarray(page.asarray())


def _ends_well(tiff: tifffile.TiffFile) -> bool:
    """Whether the last page found says that it is the last; tifffile takes a page that is out of reach for the end."""
    file, form = tiff.filehandle, tiff.tiff
    place = tiff.pages[-1].offset
    file.seek(place)
    tags = struct.unpack(form.tagnoformat, file.read(form.tagnosize))[0]
    file.seek(place + form.tagnosize + tags * form.tagsize)
    return bool(struct.unpack(form.offsetformat, file.read(form.offsetsize))[0] == 0)
