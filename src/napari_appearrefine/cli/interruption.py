"""Ctrl-C ends the program with one sentence and one code, however early it comes and whatever it breaks."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
SENTENCE = "Interrupted. What was finished is kept."

_came = False


def leave_at_once() -> None:
    """From now on let Ctrl-C end the process at once, with the sentence and the code.

    Meant for the time before and after a command's work, in which there is nothing to close. An exception would not do
    then: compiled modules that are just being imported lose it or turn it into another. Where Ctrl-C is ignored, as it
    is behind ``&`` in a script, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


@contextlib.contextmanager
def raised_in_block() -> Iterator[None]:
    """Let Ctrl-C raise ``KeyboardInterrupt`` in the block, as usual, so that all that is open gets closed."""
    if signal.getsignal(signal.SIGINT) is not _leave:
        yield
        return
    signal.signal(signal.SIGINT, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _leave)


def has_come() -> bool:
    """Whether Ctrl-C came in such a block: the error that ended it may then be another than ``KeyboardInterrupt``."""
    return _came


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    global _came
    _came = True
    raise KeyboardInterrupt


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    if not _came:
        with contextlib.suppress(OSError):
            os.write(2, f"{SENTENCE}\n".encode())
    os._exit(INTERRUPTED)
