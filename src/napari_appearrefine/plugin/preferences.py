"""The defaults that a person has set in napari's Preferences."""

from __future__ import annotations

from typing import Any

from ..core.parameters import RefineParameters


def preferred_parameters() -> RefineParameters:
    """Return the refinement's settings of Preferences > Appearance refinement, or the built-in ones."""
    settings = _settings()
    if settings is None:
        return RefineParameters()
    chosen = settings.refine
    return RefineParameters(
        model=chosen.model,
        exemplars=chosen.exemplars,
        device=chosen.device,
        precision=chosen.precision,
        memory_limit=max(chosen.memory_limit, 16) if chosen.memory_limit else None,
        cache=chosen.cache,
    )


def saves_by_itself() -> bool:
    """Whether the session is saved beside the video without being asked."""
    settings = _settings()
    return True if settings is None else bool(settings.session.autosave)


def _settings() -> Any:
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # napari before 0.9 has no settings of plugins
        return None
    try:
        return get_plugin_settings("napari-appearrefine")
    except (KeyError, ValueError):  # used as a library, without being registered as a plugin
        return None
