"""What a user sees when something goes wrong: one sentence on stderr and an exit code, no traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from ..core.errors import UserError
from .interruption import INTERRUPTED, SENTENCE, has_come, raised_in_block

USER_ERROR = 2

_WAY_OUT = {
    errno.ENOSPC: "there is no space left on the disk; free some, or choose another disk, and run again",
    errno.EDQUOT: "the disk quota is used up; free some space, or choose another disk, and run again",
    errno.EACCES: "permission denied; choose a place that you may read and write",
    errno.EPERM: "the operation is not permitted; choose a place that you may read and write",
    errno.EROFS: "the disk can only be read; choose another place to write to",
    errno.ENOENT: "there is no such file or folder; check the path",
    errno.ENOTDIR: "a part of the path is a file, not a folder; check the path",
    errno.EISDIR: "this is a folder, not a file; check the path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what a user can put right into one sentence and exit code 2, and Ctrl-C into exit code 130.

    Usable as a decorator of a command. Everything else is a fault of the program and keeps its traceback.
    """
    try:
        with raised_in_block():
            yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or has_come():
            typer.echo(SENTENCE, err=True)
            raise typer.Exit(INTERRUPTED) from None
        if isinstance(error, UserError):
            _leave(str(error))
        if isinstance(error, BrokenPipeError) or not isinstance(error, OSError | MemoryError | RuntimeError):
            raise
        if _is_out_of_memory(error):
            _leave("The memory is used up; close other programs, or give a smaller video.")
        if not isinstance(error, OSError):
            raise
        _leave(_sentence_of(error))


def _leave(message: str) -> NoReturn:
    typer.echo("Error: " + " ".join(message.split()), err=True)
    raise typer.Exit(USER_ERROR) from None


def _sentence_of(error: OSError) -> str:
    way_out = _WAY_OUT.get(error.errno or 0, f"{error.strerror or error}; check the path and the disk, and run again")
    return f"{error.filename}: {way_out}." if error.filename else f"{way_out[0].upper()}{way_out[1:]}."


def _is_out_of_memory(error: BaseException) -> bool:
    # torch has its own class on a GPU and a plain RuntimeError on the CPU; neither may be imported here.
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()
    return "out of memory" in text or "not enough memory" in text
