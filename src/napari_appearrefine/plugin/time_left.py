"""How long the stage of a run will still take."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..core.events import Progress

_SECONDS_BEFORE_A_GUESS = 1.0


class TimeLeft:
    """Estimates the time left of each stage from the pace since the stage began.

    Parameters
    ----------
    clock : callable
        Gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage: str | None = None
        self._started = 0.0
        self._done_at_start = 0

    def after(self, progress: Progress) -> float | None:
        """Return the seconds that the stage will still take, or None while there is no telling."""
        now = self._clock()
        if progress.stage != self._stage:
            self._stage, self._started, self._done_at_start = progress.stage, now, progress.done
            return None
        elapsed, done = now - self._started, progress.done - self._done_at_start
        if done <= 0 or elapsed < _SECONDS_BEFORE_A_GUESS:
            return None
        return elapsed / done * (progress.total - progress.done)


def in_words(seconds: float) -> str:
    """Say a time roughly: "4 s left", "3 min left", "2 h left"."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s left"
    if seconds < 3600:
        return f"{round(seconds / 60)} min left"
    return f"{round(seconds / 3600)} h left"
