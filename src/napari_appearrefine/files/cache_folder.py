"""The folder for what can be computed again: of a person's choice, of the environment, or the system's."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from .atomic import explained_write_errors

CACHE_VARIABLE = "NAPARI_APPEARREFINE_CACHE"


def cache_folder(chosen: Path | None = None) -> Path:
    """Return the folder; one that a person named is made if it is not there.

    Raises
    ------
    UserError
        If the folder that was asked for cannot be made.
    """
    named = os.environ.get(CACHE_VARIABLE)
    folder = chosen or (Path(os.path.expanduser(named)) if named else None)
    if folder is None:
        return user_cache_path("napari-appearrefine", appauthor=False)
    # A folder that a person named must work; the system's own is only a convenience.
    with explained_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
