"""Names of numbered files: their order and which of them count."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any

from ..core.errors import UserError


def natural_key(name: str) -> tuple[Any, ...]:
    """Return a key that sorts numbers in names by value, so that 9 comes before 10."""
    parts = re.split(r"(\d+)", name)
    return (*(int(part) if index % 2 else part.casefold() for index, part in enumerate(parts)), name)


def numbered_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the folder's files of these suffixes in natural order; hidden files do not count.

    Raises
    ------
    UserError
        If the folder cannot be read, or two files would be the same frame.
    """
    try:
        files = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
        ]
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); check its permissions.") from error
    files.sort(key=lambda path: natural_key(path.stem))
    for path, following in pairwise(files):
        if path.stem == following.stem:
            raise UserError(f"{folder} holds both {path.name} and {following.name}; keep one file for each frame.")
    return files


def numbering_gap(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the first two neighbours whose numbers are further apart than most, or None.

    Parameters
    ----------
    names : sequence of str
        In order. Nothing is said of names that do not end in a number.
    """
    numbers = [re.search(r"\d+$", name) for name in names]
    steps = [int(after[0]) - int(before[0]) for before, after in pairwise(numbers) if before and after]
    if len(steps) < len(names) - 1 or not steps:
        return None
    usual = median_low(steps)
    return next(((names[i], names[i + 1]) for i, step in enumerate(steps) if step > usual), None)


def existing(path: str | Path) -> Path:
    """Return the path if there is a file or a folder at it; a ``~`` at its beginning is the person's own folder.

    Raises
    ------
    UserError
        If there is nothing, or a pipe or a device, which would be waited for without end.
    """
    path = Path(os.path.expanduser(path))
    try:
        there = path.exists()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    if not there:
        raise UserError(f"{path} does not exist; check the path.")
    if not (path.is_dir() or path.is_file()):
        raise UserError(f"{path} is a pipe or a device; save what it gives as a file, and give that.")
    return path
