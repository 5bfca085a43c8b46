"""The actions of the table of keys as commands of napari, for its menus and its command palette."""

from __future__ import annotations

from collections.abc import Callable

from napari import current_viewer

from .shortcuts import SHORTCUTS

PLUGIN, WIDGET = "napari-appearrefine", "Refine masks"


def run_action(action: str) -> None:
    """Do what a key does, in the dock of the current viewer; without a dock, open it.

    Parameters
    ----------
    action : str
        Name of the action, of :meth:`plugin.workbench.Workbench.actions`.
    """
    viewer = current_viewer()
    if viewer is not None:
        _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
        panel.workbench.actions()[action]()


def __getattr__(name: str) -> Callable[[], None]:
    """Return the command of an action: the manifest names one for each key."""
    if any(shortcut.action == name for shortcut in SHORTCUTS):
        return lambda: run_action(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
