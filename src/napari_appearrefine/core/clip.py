"""A clip: frames read one at a time, and how the networks see each of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .errors import UserError

_FRAMES_THAT_SET_THE_RANGE = 16


@runtime_checkable
class FrameSource(Protocol):
    """Anything that gives frame ``t`` as an array: ndarray, dask array, an opened video or a mask folder."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Frames first."""
        ...

    @property
    def dtype(self) -> Any:
        """Type of the values."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class SourcePart:
    """Some frames of a source, as a source.

    Parameters
    ----------
    source : FrameSource
        The whole.
    frames : range
        Indices of the frames.
    """

    def __init__(self, source: FrameSource, frames: range) -> None:
        self._source = source
        self._frames = frames
        self.shape = (len(frames), *(int(length) for length in source.shape[1:]))
        self.dtype = source.dtype

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Any:
        """Return one frame as the source gives it."""
        return self._source[self._frames[index]]


class Clip:
    """A video of one size, read frame by frame.

    Parameters
    ----------
    frames : FrameSource
        (T, Y, X) grey, or (T, Y, X, 3 or 4) colour; any integer, boolean or float dtype. Never read whole.
    name : str
        What to call the video in messages.
    frame_names : sequence of str, optional
        One name a frame, without suffix, used for files written about the frames; numbers of
        five digits by default.
    notice : str
        What a person should know before using the video, a clause without a full stop; empty if nothing.

    Raises
    ------
    UserError
        If the shape is none of the above, or the clip has no frame.
    """

    def __init__(
        self, frames: FrameSource, name: str = "video", frame_names: Sequence[str] | None = None, notice: str = ""
    ) -> None:
        shape = tuple(int(length) for length in frames.shape)
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (3, 4)):
            raise UserError(
                f"{name} has the shape {shape}; a video must be (time, height, width) or (time, height, width, 3): "
                "choose another layer or file."
            )
        if min(shape) == 0:
            raise UserError(f"{name} has no frames or no pixels (shape {shape}); choose another video.")
        if np.dtype(frames.dtype).kind not in "uifb":
            raise UserError(f"{name} holds {frames.dtype} values; a video must hold numbers.")
        self._frames = frames
        self.name = name
        self.notice = notice
        self.shape = shape
        if frame_names is None:
            frame_names = [f"{frame:05d}" for frame in range(shape[0])]
        if len(frame_names) != shape[0]:
            raise ValueError(f"{len(frame_names)} frame names for {shape[0]} frames")
        self.frame_names = list(frame_names)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.shape[1], self.shape[2]

    def raw(self, frame: int) -> np.ndarray:
        """Return one frame as it is stored: (Y, X) or (Y, X, 3 or 4), any dtype."""
        return np.asarray(self._frames[frame])

    def rgb(self, frame: int) -> np.ndarray:
        """Return one frame as the networks see it.

        8-bit video is taken as it is. Everything else is mapped linearly to 0..255 with one range
        for the whole clip, so that brightness means the same in each frame.

        Returns
        -------
        ndarray
            (Y, X, 3) uint8, contiguous and writeable, which PyTorch asks for.
        """
        image = self.raw(frame)
        if image.dtype == np.bool_:
            image = image.astype(np.uint8) * 255
        elif image.dtype != np.uint8:
            low, high = self.value_range
            # Beyond 16 bits, float32 would lose small differences between large values.
            exact: np.ndarray = image.astype(np.float32 if image.dtype.itemsize <= 2 else np.float64)
            scaled = (exact - low) * (255.0 / (high - low))
            image = np.clip(np.nan_to_num(scaled) + 0.5, 0, 255).astype(np.uint8)
        if image.ndim == 2:
            return np.repeat(image[:, :, None], 3, axis=2)
        return np.require(image[:, :, :3], requirements=["C", "W"])

    def part(self, frames: range) -> Clip:
        """Return some frames of the clip as a clip of the same name."""
        names = [self.frame_names[frame] for frame in frames]
        return Clip(SourcePart(self._frames, frames), self.name, names)

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """Lowest and highest value of 16 frames spread over the clip, outliers (0.1 %) left out."""
        lows, highs = [], []
        for frame in spread_frames(len(self), _FRAMES_THAT_SET_THE_RANGE):
            image = self.raw(frame)
            finite = image[np.isfinite(image)] if image.dtype.kind == "f" else image
            if finite.size:
                low, high = np.percentile(finite, (0.1, 99.9))
                lows.append(float(low))
                highs.append(float(high))
        low, high = (min(lows), max(highs)) if lows else (0.0, 1.0)
        # One more than a very large value is that value again.
        return low, high if high > low else low + max(1.0, abs(low))


def check_clip(clip: Clip) -> None:
    """Raise ``UserError`` if what was given as a clip is something else, as a path or an array."""
    if not isinstance(clip, Clip):
        raise UserError(
            f"The video is of the type {type(clip).__name__}; give Clip(array), or what open_video returns."
        )


def spread_frames(length: int, count: int) -> list[int]:
    """Return up to ``count`` frames of a clip, evenly from the first to the last, ascending."""
    return [int(frame) for frame in np.unique(np.linspace(0, length - 1, min(length, count)).round())]
