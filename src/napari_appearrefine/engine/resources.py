"""How much memory a run may take and where it keeps features: set by a person, by the environment, or by default."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.errors import UserError
from ..core.parameters import RefineParameters
from ..files.cache_folder import cache_folder

if TYPE_CHECKING:
    from .feature_store import FeatureStore
    from .result_store import ResultStore

MEMORY_VARIABLE = "NAPARI_APPEARREFINE_MEMORY_LIMIT"
_MEMORY, _MEMORY_ALONE = 16, 512
_LEAST_MEMORY = 16


@dataclass(frozen=True)
class Resources:
    """What a run may use.

    Parameters
    ----------
    memory : int
        Bytes that features may take in memory.
    features : FeatureStore, optional
        Where features are kept for the next run, if anywhere.
    results : ResultStore, optional
        The same for scores and corrected frames.
    """

    memory: int
    features: FeatureStore | None = None
    results: ResultStore | None = None


def resources(parameters: RefineParameters) -> Resources:
    """Settle what the parameters leave open.

    Raises
    ------
    UserError
        If the folder that was asked for cannot be made, or the environment holds no number.
    """
    from .feature_store import FeatureStore
    from .result_store import ResultStore

    memory = feature_memory(parameters)
    if not parameters.cache:
        return Resources(memory)
    folder = cache_folder(parameters.cache_dir)
    return Resources(memory, FeatureStore(folder / "features"), ResultStore(folder / "results"))


def feature_memory(parameters: RefineParameters) -> int:
    """Return how many bytes features may take in memory.

    From the disk they come nearly as quickly as from memory, so little is the default where they are kept there.

    Raises
    ------
    UserError
        If the environment holds no number.
    """
    default = _MEMORY if parameters.cache else _MEMORY_ALONE
    return (parameters.memory_limit or _memory_of_environment() or default) << 20


def _memory_of_environment() -> int | None:
    text = os.environ.get(MEMORY_VARIABLE, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < _LEAST_MEMORY:
        raise UserError(f"{MEMORY_VARIABLE} is {text!r}; set it to a number of MiB from {_LEAST_MEMORY} on.")
    return int(text)
