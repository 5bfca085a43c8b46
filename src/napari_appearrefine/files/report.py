"""Reports as JSON files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import atomic_path


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
    return json.dumps(_plain(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
