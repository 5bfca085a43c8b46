"""What becomes of an error: a sentence and a code, or, for a fault of the program, its traceback."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner

from napari_appearrefine.cli.errors import plain_errors
from napari_appearrefine.core.errors import UserError


def command_that_raises(error: BaseException) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @plain_errors()
    def _raise() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UserError("a.mp4 is\nbroken; give another."), 2, "Error: a.mp4 is broken; give another."),
        (OSError(errno.ENOSPC, "No space", "out/1.png"), 2, "Error: out/1.png: there is no space left on the disk"),
        (OSError(errno.EIO, "Input/output error"), 2, "Error: Input/output error; check the path and the disk"),
        (PermissionError(errno.EACCES, "no", "a.mp4"), 2, "Error: a.mp4: permission denied"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 2, "Error: The memory is used up"),
        (MemoryError(), 2, "Error: The memory is used up"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 2, "Error: The memory is used up"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), 2, "Error: The memory is used up"),
        (KeyboardInterrupt(), 130, "Interrupted. What was finished is kept."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_sentence_and_code(error: BaseException, code: int, sentence: str) -> None:
    result = CliRunner().invoke(command_that_raises(error), [])
    assert result.exit_code == code
    assert result.stderr.startswith(sentence)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("make", [RuntimeError, KeyError, AssertionError])
def test_a_fault_of_the_program_keeps_its_traceback(make: Callable[[str], Exception]) -> None:
    result = CliRunner().invoke(command_that_raises(make("fault")), [])
    assert isinstance(result.exception, make)
