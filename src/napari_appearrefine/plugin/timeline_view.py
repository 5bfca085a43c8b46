"""Which frames of a long video a strip of pixels shows, and how many frames fall together into one pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MOST_PIXELS_A_FRAME = 40.0


@dataclass(frozen=True)
class TimelineView:
    """Maps frames to positions along a strip.

    Parameters
    ----------
    frames : int
        Frames of the video, at least 1.
    width : float
        Length of the strip in pixels.
    first : float
        The frame (or part of one) at the left end.
    span : float
        How many frames the strip shows.
    """

    frames: int
    width: float
    first: float = 0.0
    span: float = 0.0

    def __post_init__(self) -> None:
        narrowest = min(self.frames, self.width / _MOST_PIXELS_A_FRAME)
        span = min(max(self.span or self.frames, narrowest), self.frames)
        object.__setattr__(self, "span", span)
        object.__setattr__(self, "first", min(max(self.first, 0.0), self.frames - span))

    @property
    def pixels_a_frame(self) -> float:
        """Width of one frame."""
        return self.width / self.span

    def x_of(self, frame: float) -> float:
        """Return the position of a frame's left edge."""
        return (frame - self.first) * self.pixels_a_frame

    def frame_at(self, x: float) -> int:
        """Return the frame at a position, the nearest one if there is none."""
        return int(min(max(self.first + x / self.pixels_a_frame, 0), self.frames - 1))

    def zoomed(self, factor: float, x: float) -> TimelineView:
        """Show ``factor`` times as many frames, and keep the frame at ``x`` where it is."""
        anchor = self.first + x / self.pixels_a_frame
        zoomed = TimelineView(self.frames, self.width, 0.0, self.span * factor)
        return TimelineView(self.frames, self.width, anchor - x / zoomed.pixels_a_frame, zoomed.span)

    def panned(self, pixels: float) -> TimelineView:
        """Show what lies as many pixels further to the right."""
        return TimelineView(self.frames, self.width, self.first + pixels / self.pixels_a_frame, self.span)

    def resized(self, width: float) -> TimelineView:
        """Show the same frames on a strip of another length."""
        return TimelineView(self.frames, width, self.first, self.span)

    def showing(self, frame: int) -> TimelineView:
        """Move just as far as is needed to show a frame."""
        first = min(max(self.first, frame + 1 - self.span), frame)
        return TimelineView(self.frames, self.width, first, self.span)

    def starts(self, pixels: int) -> np.ndarray:
        """Return the first frame of each of ``pixels`` equal parts of the strip, (pixels,) intp."""
        starts = self.first + np.arange(pixels) * (self.span / pixels)
        return np.minimum(starts.astype(np.intp), self.frames - 1)

    def lowest(self, values: np.ndarray, pixels: int) -> np.ndarray:
        """Return the lowest value that falls into each pixel: a single bad frame stays visible. NaN are skipped."""
        return self._reduced(np.fmin, values, pixels)

    def united(self, bits: np.ndarray, pixels: int) -> np.ndarray:
        """Return all bits, or whether any value is true, of the frames that fall into each pixel."""
        return self._reduced(np.logical_or if bits.dtype == np.bool_ else np.bitwise_or, bits, pixels)

    def _reduced(self, operation: np.ufunc, values: np.ndarray, pixels: int) -> np.ndarray:
        starts = self.starts(pixels)
        if self.span <= pixels:
            return np.asarray(values[starts])
        stop = min(int(np.ceil(self.first + self.span)), self.frames)
        return np.asarray(operation.reduceat(values[:stop], starts))
