"""Reports as JSON files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import atomic_path

_INDENT = " "


def write_json(path: str | Path, report: Any) -> None:
    """Write a report as JSON that every reader accepts.

    Parameters
    ----------
    path : str or Path
        File to write or to replace.
    report : object
        As of :func:`json_text`.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    text = json_text(report)
    with atomic_path(path) as beside:
        beside.write_text(text, encoding="utf-8")


def json_text(report: Any) -> str:
    """Return a report as JSON that every reader accepts.

    Parameters
    ----------
    report : object
        Dictionaries, lists, strings, numbers, arrays, paths; a number that is not finite becomes ``null``.
    """
    return _text(report, "\n") + "\n"


def _text(value: Any, line: str) -> str:
    """Return JSON with one entry a line, as ``json.dumps(value, indent=1)`` writes it; ``line`` begins a line.

    Here, because ``json`` indents at half the speed and takes no number that is not finite, and while a large report
    becomes text the window waits for the interpreter's lock.
    """
    if isinstance(value, float):
        return float.__repr__(value) if math.isfinite(value) else "null"
    inner = line + _INDENT
    if isinstance(value, list | tuple) and value:
        return f"[{inner}{f',{inner}'.join([_text(entry, inner) for entry in value])}{line}]"
    if isinstance(value, dict) and value:
        entries = [f"{json.dumps(str(key), ensure_ascii=False)}: {_text(value[key], inner)}" for key in value]
        return f"{{{inner}{f',{inner}'.join(entries)}{line}}}"
    if isinstance(value, np.ndarray | np.generic):
        return _text(value.tolist(), line)
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
