"""The defaults that a person has set in napari's Preferences."""

from __future__ import annotations

from ..core.parameters import RefineParameters


def preferred_parameters() -> RefineParameters:
    """Return the refinement's settings of Preferences > Appearance refinement, or the built-in ones."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # napari before 0.9 has no settings of plugins
        return RefineParameters()
    try:
        settings = get_plugin_settings("napari-appearrefine").refine
    except (KeyError, ValueError):  # used as a library, without being registered as a plugin
        return RefineParameters()
    return RefineParameters(
        model=settings.model,
        exemplars=settings.exemplars,
        device=settings.device,
        precision=settings.precision,
        memory_limit=max(settings.memory_limit, 64) if settings.memory_limit else None,
        cache=settings.cache,
    )
