"""Every key of the plugin in one table; bound on the viewer and on the Labels layer that is selected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app_model.types import KeyCode, KeyMod
from napari.layers import Labels


@dataclass(frozen=True)
class Shortcut:
    """A key and what it does.

    Parameters
    ----------
    key : str
        As napari writes keys; none of napari's own for viewer, Labels and Image layers.
    action : str
        Name of the action, of :meth:`plugin.workbench.Workbench.actions`.
    title : str
        What it does, in a person's words.
    group : str
        Heading in the help.
    """

    key: str
    action: str
    title: str
    group: str


_GO, _MARK, _RUN, _SHOW, _OBJECTS = (
    "Go to",
    "Mark (selected frames, or this one)",
    "Refine and decide",
    "Show",
    "Objects",
)

SHORTCUTS = (
    Shortcut("N", "next_to_fix", "the frame whose correction helps most", _GO),
    Shortcut("U", "next_unreviewed", "the next frame you have not reviewed", _GO),
    Shortcut("Shift-U", "previous_unreviewed", "the previous frame you have not reviewed", _GO),
    Shortcut("J", "next_change", "the next frame that the proposal changes", _GO),
    Shortcut("K", "lock_object", "lock or unlock the object: it is right, never write it", _MARK),
    Shortcut("Shift-K", "lock_frame", "lock or unlock all objects", _MARK),
    Shortcut("G", "pin_exemplar", "a good example of the object, or not any more", _MARK),
    Shortcut("Shift-G", "ban_exemplar", "no example of the object, or not any more", _MARK),
    Shortcut("R", "refine", "refine, with all your marks", _RUN),
    Shortcut("A", "accept_frame", "accept the proposal for selected frames, or this one", _RUN),
    Shortcut("Shift-A", "accept_all", "accept the whole proposal", _RUN),
    Shortcut("D", "reject_frame", "reject the proposal for selected frames, or this one", _RUN),
    Shortcut("Shift-D", "reject_all", "reject the whole proposal", _RUN),
    Shortcut("T", "show_proposed", "the proposed masks, and back", _SHOW),
    Shortcut("W", "show_errors", "where the masks of this frame are likely wrong, and back", _SHOW),
    Shortcut("S", "solo_object", "only the selected object, and back", _SHOW),
    Shortcut("Shift-S", "save_session", "save the session beside the video now", _SHOW),
    Shortcut("H", "show_keys", "these keys, and back", _SHOW),
    Shortcut("Shift-N", "new_object", "a new object: paint it in one frame", _OBJECTS),
    Shortcut("I", "grow_object", "a new object that grows from a click or a box", _OBJECTS),
)

HISTORY_KEYS: dict[str, int] = {
    "undo": KeyMod.CtrlCmd | KeyCode.KeyZ,
    "redo": KeyMod.CtrlCmd | KeyMod.Shift | KeyCode.KeyZ,
}
"""napari's own keys for the history of the selected Labels layer, which also work while another layer is selected."""


class KeyBindings:
    """Binds the table's keys for as long as it lives, and gives back whatever was bound before.

    A key of a layer hides the same key of the viewer, so the selected Labels layer gets them too.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where the keys are pressed.
    actions : mapping of str to callable
        Name of an action to what it does.
    step : callable
        Goes as many frames forward (or back, if negative); Shift + wheel does it.
    """

    def __init__(self, viewer: Any, actions: Mapping[str, Callable[[], object]], step: Callable[[int], None]) -> None:
        self._viewer = viewer
        self._actions = actions
        self._step = step
        viewer.mouse_wheel_callbacks.append(self._on_wheel)
        self._layer: Labels | None = None
        self._replaced = self._bind(viewer)
        self._replaced_on_layer: dict[Any, Any] = {}
        viewer.layers.selection.events.active.connect(self._on_active_changed)
        self._on_active_changed()

    def release(self) -> None:
        """Unbind the keys and the wheel."""
        self._viewer.layers.selection.events.active.disconnect(self._on_active_changed)
        self._leave_layer()
        _unbind(self._viewer, self._replaced)
        self._viewer.mouse_wheel_callbacks.remove(self._on_wheel)

    def _on_wheel(self, _viewer: Any, event: Any) -> None:
        if "Shift" in event.modifiers and "Control" not in event.modifiers and event.delta[1]:
            self._step(-1 if event.delta[1] > 0 else 1)
            event.handled = True

    def _on_active_changed(self, event: Any = None) -> None:
        self._leave_layer()
        active = self._viewer.layers.selection.active
        if isinstance(active, Labels):
            self._layer = active
            self._replaced_on_layer = self._bind(active)

    def _leave_layer(self) -> None:
        if self._layer is not None:
            _unbind(self._layer, self._replaced_on_layer)
        self._layer = None

    def _bind(self, target: Any) -> dict[Any, Any]:
        keys: dict[Any, str] = {shortcut.key: shortcut.action for shortcut in SHORTCUTS}
        keys |= {key: action for action, key in HISTORY_KEYS.items()}
        return {
            key: target.bind_key(key, _pressed(self._actions[action]), overwrite=True) for key, action in keys.items()
        }


def _unbind(target: Any, replaced: Mapping[Any, Any]) -> None:
    for key, earlier in replaced.items():
        target.bind_key(key, earlier, overwrite=True)


def _pressed(act: Callable[[], object]) -> Callable[[Any], None]:
    def pressed(_target: Any) -> None:
        act()

    return pressed
