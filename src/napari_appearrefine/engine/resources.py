"""How much memory a run may take and where it keeps features: set by a person, by the environment, or by default."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from ..core.errors import UserError
from ..core.parameters import RefineParameters
from ..files.atomic import explained_write_errors
from .feature_store import FeatureStore
from .result_store import ResultStore

CACHE_VARIABLE = "NAPARI_APPEARREFINE_CACHE"
MEMORY_VARIABLE = "NAPARI_APPEARREFINE_MEMORY_LIMIT"
_MEMORY, _MEMORY_ALONE = 32, 256
_LEAST_MEMORY = 16


@dataclass(frozen=True)
class Resources:
    """What a run may use.

    Parameters
    ----------
    memory : int
        Bytes that features may take in memory.
    store : FeatureStore or None
        Where features are kept for the next run; None for nowhere.
    results : ResultStore or None
        The same for scores and corrected frames.
    """

    memory: int
    store: FeatureStore | None
    results: ResultStore | None


def resources(parameters: RefineParameters) -> Resources:
    """Settle what the parameters leave open.

    Raises
    ------
    UserError
        If the folder that was asked for cannot be made, or the environment holds no number.
    """
    mebibytes = parameters.memory_limit or _memory_of_environment()
    folder = _folder(parameters)
    if folder is None:
        return Resources((mebibytes or _MEMORY_ALONE) << 20, None, None)
    # From the disk they come nearly as quickly as from memory.
    memory = (mebibytes or _MEMORY) << 20
    return Resources(memory, FeatureStore(folder / "features"), ResultStore(folder / "results"))


def _memory_of_environment() -> int | None:
    text = os.environ.get(MEMORY_VARIABLE, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < _LEAST_MEMORY:
        raise UserError(f"{MEMORY_VARIABLE} is {text!r}; set it to a number of MiB from {_LEAST_MEMORY} on.")
    return int(text)


def _folder(parameters: RefineParameters) -> Path | None:
    if not parameters.cache:
        return None
    named = os.environ.get(CACHE_VARIABLE)
    chosen = parameters.cache_dir or (Path(named) if named else None)
    if chosen is None:
        return user_cache_path("napari-appearrefine", appauthor=False)
    # A folder that a person named must work; the system's own is only a convenience.
    with explained_write_errors(chosen):
        chosen.mkdir(parents=True, exist_ok=True)
    return chosen
