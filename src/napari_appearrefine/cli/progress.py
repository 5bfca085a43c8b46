"""Progress on stderr: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from ..core.events import Progress

_SECONDS_BETWEEN_LINES = 15.0


class ProgressDisplay:
    """Shows the stages of a job, each with what is done and the time left.

    Parameters
    ----------
    stream : file, optional
        Where to write; stderr by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._in_terminal = self._stream.isatty()
        self._stage = ""
        self._stage_finished = False
        self._bar: tqdm[None] | None = None
        self._stage_started = self._line_written = time.monotonic()

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_bar()

    def show(self, progress: Progress) -> None:
        """Show one step."""
        if progress.stage != self._stage:
            self._stage = progress.stage
            self._stage_finished = False
            self._stage_started = self._line_written = time.monotonic()
            self._close_bar()
        if self._in_terminal:
            self._move_bar(progress)
        else:
            self._write_line(progress)

    def _move_bar(self, progress: Progress) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=progress.total,
                desc=progress.stage,
                file=self._stream,
                dynamic_ncols=True,
                bar_format="{desc}: {percentage:3.0f}% |{bar}| {n_fmt} of {total_fmt}, {remaining} left",
            )
        self._bar.total = progress.total
        self._bar.update(progress.done - self._bar.n)

    def _write_line(self, progress: Progress) -> None:
        now = time.monotonic()
        finished = progress.total > 0 and progress.done >= progress.total
        if self._stage_finished if finished else now - self._line_written < _SECONDS_BETWEEN_LINES:
            return
        self._stage_finished = finished
        self._line_written = now
        taken = now - self._stage_started
        if finished:
            ending = f"{taken:.0f} s"
        elif progress.done:
            ending = f"about {taken * (progress.total - progress.done) / progress.done:.0f} s left"
        else:
            ending = "starting"
        print(f"{progress.stage}: {progress.done} of {progress.total}, {ending}", file=self._stream, flush=True)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
            self._bar = None
