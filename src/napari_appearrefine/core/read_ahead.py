"""Frames read ahead of need in another thread, so that decoding and computing overlap."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Value = TypeVar("Value")

DEPTH = 4
_LONGEST_STEP = 2


class ReadAhead(Generic[Value]):
    """Reads the frames that follow the one asked for, as long as they are asked for in order.

    One thread reads, frame after frame; at most ``depth`` frames wait. An error of a frame is
    raised when that frame is asked for, not before. To be closed at
    the end: closing waits for the frame being read and drops the others.

    Parameters
    ----------
    read : callable
        Frame index to whatever is wanted of that frame.
    frames : int
        Number of frames; none at or after it is read.
    depth : int
        How many frames to read ahead of need.
    """

    def __init__(self, read: Callable[[int], Value], frames: int, depth: int = DEPTH) -> None:
        self._read = read
        self._frames = frames
        self._depth = depth
        self._last = -1
        self._coming: dict[int, Future[Value]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")

    def __call__(self, frame: int) -> Value:
        """Return one frame, waiting for it if it is not there yet."""
        wanted = self._coming.pop(frame, None) or self._thread.submit(self._read, frame)
        # Whoever jumps about, or takes every third frame, would have to wait for frames nobody wants.
        onwards = 0 < frame - self._last <= _LONGEST_STEP
        following = range(frame + 1, min(frame + 1 + self._depth, self._frames)) if onwards else range(0)
        for passed in [known for known in self._coming if known not in following]:
            self._coming.pop(passed).cancel()
        for next_frame in following:
            if next_frame not in self._coming:
                self._coming[next_frame] = self._thread.submit(self._read, next_frame)
        self._last = frame
        return wanted.result()

    def close(self) -> None:
        """Stop reading."""
        self._coming.clear()
        self._thread.shutdown(cancel_futures=True)
