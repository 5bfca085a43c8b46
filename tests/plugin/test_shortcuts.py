"""Keys: none of napari's own, bound on viewer and Labels layer, given back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from napari.layers import Labels
from napari.utils.shortcuts import _default_shortcuts
from npe2 import PluginManifest

from napari_appearrefine.plugin import commands
from napari_appearrefine.plugin.shortcuts import HISTORY_KEYS, SHORTCUTS, KeyBindings
from napari_appearrefine.plugin.workbench import Workbench


@pytest.fixture
def pressed():
    return []


@pytest.fixture
def actions(pressed):
    names = [*(shortcut.action for shortcut in SHORTCUTS), *HISTORY_KEYS]
    return {name: (lambda name=name: pressed.append(name)) for name in names}


def bound(target):
    return {str(key) for key in target.keymap}


def press(target, key):
    from app_model.types import KeyBinding

    next(act for known, act in target.keymap.items() if known == KeyBinding.from_str(key.replace("-", "+")))(target)


def test_no_key_is_one_of_napari_s_own():
    taken = {
        str(key)
        for action, keys in _default_shortcuts.items()
        for key in keys
        if any(
            part in action for part in ("label", "napari:toggle_", "napari:roll", "polygon", "brush", "dims", "image")
        )
    }
    ours = {shortcut.key.replace("-", "+") for shortcut in SHORTCUTS}
    assert not ours & taken
    assert len(ours) == len(SHORTCUTS)


def test_table_and_actions_belong_together(model_viewer, controller, small_jobs):
    workbench = Workbench(model_viewer, controller, small_jobs.start)
    assert set(workbench.actions()) == {shortcut.action for shortcut in SHORTCUTS} | set(HISTORY_KEYS)


def test_every_action_is_a_command_that_tells_its_key():
    manifest = PluginManifest.from_distribution("napari-appearrefine")
    titles = {command.id: command.title for command in manifest.contributions.commands}
    in_menu = [item.command for item in manifest.contributions.menus["appearrefine_actions"]]
    names = [f"napari-appearrefine.{shortcut.action}" for shortcut in SHORTCUTS]
    assert in_menu == names
    for shortcut, name in zip(SHORTCUTS, names, strict=True):
        assert titles[name].endswith(f"[{shortcut.key}]")
        assert callable(getattr(commands, shortcut.action))
    with pytest.raises(AttributeError, match="no_action"):
        _ = commands.no_action


def test_keys_work_on_the_viewer_and_on_the_selected_labels_layer(model_viewer, actions, pressed):
    rough = model_viewer.layers["rough"]
    model_viewer.layers.selection.active = rough
    keys = KeyBindings(model_viewer, actions, pressed.append)
    press(model_viewer, "N")
    press(rough, "Shift-U")
    assert pressed == ["next_to_fix", "previous_unreviewed"]
    other = model_viewer.add_labels(rough.data.copy(), name="other")
    assert not bound(rough)
    assert len(bound(other)) == len(SHORTCUTS) + len(HISTORY_KEYS)
    model_viewer.layers.selection.active = model_viewer.layers["clip"]
    assert not bound(other)
    keys.release()
    assert not bound(model_viewer)


def test_shift_and_wheel_step_through_the_frames(model_viewer, actions, pressed):
    keys = KeyBindings(model_viewer, actions, pressed.append)

    def turn(delta, *modifiers):
        event = SimpleNamespace(delta=(0, delta), modifiers=modifiers, handled=False)
        for callback in model_viewer.mouse_wheel_callbacks[before:]:
            callback(model_viewer, event)
        return event.handled

    before = len(model_viewer.mouse_wheel_callbacks) - 1
    assert [turn(1.0, "Shift"), turn(-1.0, "Shift"), turn(1.0), turn(1.0, "Shift", "Control")] == [
        True,
        True,
        False,
        False,
    ]
    assert pressed == [-1, 1]
    keys.release()
    assert len(model_viewer.mouse_wheel_callbacks) == before


def test_releasing_gives_back_what_was_bound_before(model_viewer, actions, pressed):
    heard = []
    model_viewer.bind_key("N", lambda viewer: heard.append("before"))
    keys = KeyBindings(model_viewer, actions, pressed.append)
    keys.release()
    press(model_viewer, "N")
    assert heard == ["before"]
    model_viewer.layers.selection.active = model_viewer.layers["rough"]
    assert isinstance(model_viewer.layers.selection.active, Labels)
    assert not bound(model_viewer.layers["rough"])
