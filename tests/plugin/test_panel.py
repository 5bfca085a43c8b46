"""The panel in a real napari window, with real worker threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from conftest import (
    FRAMES,
    OBJECT,
    make_rough_masks,
    make_truth,
    make_video,
    masks_of_what_changes,
    refine_by_brightness,
)
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest

from napari_appearrefine.plugin import commands
from napari_appearrefine.plugin.controller import RefineController, State
from napari_appearrefine.plugin.widgets.key_help import KeyHelp
from napari_appearrefine.plugin.widgets.refine_panel import RefinePanel

PLUGIN = "napari-appearrefine"


class Gate:
    """An engine that waits before each event until the test lets it go on."""

    def __init__(self, events):
        self.events = events
        self.open = threading.Semaphore(0)
        self.entered = False
        self.ended_in = None

    def __call__(self, *arguments):
        self.entered = True
        try:
            for event in self.events(*arguments):
                assert self.open.acquire(timeout=20)
                yield event
        finally:
            self.ended_in = threading.current_thread()

    def let_go(self, events=1_000_000):
        self.open.release(events)


@pytest.fixture
def gate():
    gate = Gate(refine_by_brightness)
    yield gate
    gate.let_go()


@pytest.fixture
def window(qtbot, make_napari_viewer, gate):
    """A viewer with the clip, the rough masks and the panel, whose engine waits for the test and writes at once."""
    viewer = make_napari_viewer()
    viewer.add_image(make_video(), name="clip", rgb=True)
    viewer.add_labels(make_rough_masks(), name="rough")
    panel = RefinePanel(viewer, RefineController(viewer, refine_events=gate, flow_mask_events=masks_of_what_changes))
    viewer.window.add_dock_widget(panel, name="Refine masks")
    panel.directly_box.setChecked(True)
    wait_for(qtbot, panel.refine_button.isEnabled)
    notification_manager.records.clear()
    return viewer, panel


def wait_for(qtbot, condition):
    qtbot.waitUntil(condition, timeout=20_000)


def test_refine_button_does_the_whole_job(qtbot, window, gate):
    viewer, panel = window
    assert panel.video_combo.layer == viewer.layers["clip"]
    assert panel.masks_combo.layer == viewer.layers["rough"]
    assert panel.refine_button.isEnabled()
    assert not panel.progress_box.isVisibleTo(panel)
    assert "“rough refined”" in panel.output_label.text()
    assert "It takes at most about 1 s" in panel.output_label.text()
    panel.refine_button.click()
    assert panel.controller.state is State.RUNNING
    for widget in (panel.refine_button, panel.find_button, panel.video_combo, panel.masks_combo, panel.refine_form):
        assert not widget.isEnabled()
    assert panel.cancel_button.isEnabled()
    assert panel.progress_box.isVisibleTo(panel)
    gate.let_go()
    wait_for(qtbot, lambda: panel.controller.state is State.FINISHED)
    layer = viewer.layers["rough refined"]
    np.testing.assert_array_equal(layer.data, make_truth())
    assert not viewer.layers["rough"].visible
    assert panel.refine_button.isEnabled()
    assert not panel.progress_box.isVisibleTo(panel)
    assert f"Refined {FRAMES} frames" in panel.result_label.text()
    assert f"Object {OBJECT} was learned from frames" in panel.result_label.text()
    assert gate.ended_in is not threading.main_thread()
    layer.undo()
    np.testing.assert_array_equal(layer.data, make_rough_masks())
    assert not notification_manager.records


def test_cancel_button_stops_and_keeps(qtbot, window, gate):
    viewer, panel = window
    panel.refine_button.click()
    while "rough refined" not in viewer.layers:
        gate.let_go(1)
        qtbot.wait(20)
    panel.cancel_button.click()
    assert not panel.cancel_button.isEnabled()
    gate.let_go()
    wait_for(qtbot, lambda: panel.controller.state is State.FINISHED)
    assert "Cancelled. The" in panel.result_label.text()
    data = viewer.layers["rough refined"].data
    np.testing.assert_array_equal(data[0], make_truth()[0])
    np.testing.assert_array_equal(data[-1], make_rough_masks()[-1])
    assert gate.ended_in is not threading.main_thread()


def test_masks_from_motion_become_the_chosen_masks(qtbot, window):
    viewer, panel = window
    panel.find_button.click()
    wait_for(qtbot, lambda: panel.controller.state is not State.RUNNING)
    assert panel.masks_combo.layer == viewer.layers["clip masks"]
    assert panel.controller.masks == viewer.layers["clip masks"]
    assert viewer.layers["clip masks"].data.any()


def test_wrong_masks_are_a_notification_and_the_panel_is_ready_again(qtbot, window, gate):
    viewer, panel = window
    viewer.layers["rough"].data = make_rough_masks()[:5]
    wait_for(qtbot, panel.refine_button.isEnabled)
    panel.refine_button.click()
    gate.let_go()
    wait_for(qtbot, lambda: panel.controller.state is State.READY)
    (notification,) = notification_manager.records
    assert notification.message.startswith("rough has 5 frames but clip has 8")
    assert str(notification.severity) == "error"
    assert panel.refine_button.isEnabled()
    assert len(viewer.layers) == 2


def test_closing_the_dock_stops_the_run(qtbot, window, gate):
    viewer, panel = window
    panel.refine_button.click()
    wait_for(qtbot, lambda: gate.entered)
    gate.let_go(3)
    viewer.window.remove_dock_widget(panel)
    gate.let_go()
    wait_for(qtbot, lambda: gate.ended_in is not None)
    assert (
        "rough refined" not in viewer.layers
        or viewer.layers["rough refined"].data[-1].sum() == make_rough_masks()[-1].sum()
    )
    viewer.layers.clear()
    panel.deleteLater()


def test_closing_the_window_stops_the_run(qtbot, window, gate):
    viewer, panel = window
    panel.refine_button.click()
    # A worker that the window stops before its first step never enters the engine, and has nothing to end.
    wait_for(qtbot, lambda: gate.entered)
    gate.let_go(3)
    viewer.close()
    gate.let_go()
    wait_for(qtbot, lambda: gate.ended_in is not None)


def test_layers_that_come_and_go_and_change_names(qtbot, window):
    viewer, panel = window
    viewer.layers["clip"].name = "film"
    assert panel.video_combo.currentText() == "film"
    viewer.layers.remove("film")
    assert panel.video_combo.layer is None
    assert panel.controller.state is State.NOTHING_LOADED
    assert not panel.find_button.isEnabled()
    assert not panel.refine_button.isEnabled()
    viewer.add_image(make_video(), name="again", rgb=True)
    assert panel.controller.video == viewer.layers["again"]
    wait_for(qtbot, panel.refine_button.isEnabled)


def test_panel_works_with_napari_s_proxy(qtbot, make_napari_viewer_proxy):
    """The viewer that napari gives to a plugin warns at every private attribute; warnings are errors here."""
    viewer = make_napari_viewer_proxy()
    viewer.add_image(make_video(), name="clip", rgb=True)
    viewer.add_labels(make_rough_masks(), name="rough")
    panel = RefinePanel(viewer, RefineController(viewer, refine_events=refine_by_brightness))
    viewer.window.add_dock_widget(panel, name="Refine masks")
    panel.directly_box.setChecked(True)
    for _ in range(2):
        wait_for(qtbot, panel.refine_button.isEnabled)
        panel.refine_button.click()
        wait_for(qtbot, lambda: panel.controller.state is State.FINISHED)
    layer = viewer.layers["rough refined"]
    np.testing.assert_array_equal(layer.data, make_truth())
    panel.masks_combo.choose(layer)
    assert "in place" in panel.output_label.text()
    wait_for(qtbot, panel.refine_button.isEnabled)
    layer.data_setitem((np.array([4]), np.array([1]), np.array([1])), OBJECT)
    panel.refine_button.click()
    wait_for(qtbot, lambda: panel.controller.state is State.FINISHED)
    assert layer.data[4, 1, 1] == OBJECT
    layer.data[4, 1, 1] = 0
    np.testing.assert_array_equal(layer.data, make_truth())


def test_plugin_s_dock_widget_opens_and_commands_act_in_it(make_napari_viewer, npe2pm):
    npe2pm.register(PluginManifest.from_distribution(PLUGIN))
    viewer = make_napari_viewer()
    viewer.add_image(make_video(), name="clip", rgb=True)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Refine masks")
    assert isinstance(panel, RefinePanel)
    assert panel.video_combo.layer == viewer.layers["clip"]
    viewer.add_labels(make_rough_masks(), name="rough")
    assert panel.masks_combo.layer == viewer.layers["rough"]
    commands.solo_object()
    assert viewer.window.add_plugin_dock_widget(PLUGIN, "Refine masks")[1] is panel
    commands.show_keys()
    assert panel.window().findChildren(KeyHelp)
    commands.show_keys()


def test_masks_from_motion_do_not_overwrite_what_a_person_did(qtbot, window):
    viewer, panel = window
    panel.find_button.click()
    wait_for(qtbot, lambda: panel.controller.state is not State.RUNNING)
    layer, review = viewer.layers["clip masks"], panel.workbench.review
    wait_for(qtbot, lambda: review.layer == layer and review.table is not None)
    layer.paint((3, 20, 20), 1)
    review.toggle_lock([5], review.table.object_ids)
    pixels = layer.data.copy()
    panel.find_button.click()
    wait_for(qtbot, lambda: panel.controller.state is not State.RUNNING)
    assert "Your own masks are still the chosen ones" in panel.result_label.text()
    np.testing.assert_array_equal(layer.data, pixels)
    assert "clip masks [1]" in viewer.layers
    assert viewer.layers.selection.active == layer
    assert panel.masks_combo.layer == review.layer == layer
    assert review.table.settled_frames == 2


def test_writing_at_once_leaves_alone_what_a_person_painted_or_locked(qtbot, window, gate):
    """In a new layer, and in place, where the marks stay and undo takes pixels and marks back together."""
    viewer, panel = window
    gate.let_go()
    rough, review = viewer.layers["rough"], panel.workbench.review
    rough.data_setitem((np.array([4]), np.array([1]), np.array([1])), OBJECT)
    review.toggle_lock([5], [OBJECT])
    assert "2 frames with your edits or locks stay as they are" in panel.output_label.text()
    panel.refine_button.click()
    wait_for(qtbot, lambda: panel.controller.state is State.FINISHED)
    refined = viewer.layers["rough refined"]
    for frame in (4, 5):
        np.testing.assert_array_equal(refined.data[frame], rough.data[frame])
    np.testing.assert_array_equal(refined.data[6], make_truth()[6])

    panel.masks_combo.choose(refined)
    wait_for(qtbot, panel.refine_button.isEnabled)
    refined.data_setitem((np.array([2]), np.array([1]), np.array([2])), OBJECT)
    review.toggle_lock([5], [OBJECT])
    refined.data[7, 0, 0] = OBJECT
    before = refined.data.copy()
    for _ in range(2):
        panel.refine_button.click()
        wait_for(qtbot, lambda: panel.controller.state is State.FINISHED)
        for frame in (2, 5):
            np.testing.assert_array_equal(refined.data[frame], before[frame])
        np.testing.assert_array_equal(refined.data[7], make_truth()[7])
        assert review.table.frames_with("edited", OBJECT) == {2}
        assert review.table.frames_with("locked", OBJECT) == {5}
        assert review.table.frames_with("accepted", OBJECT) == {2}
    assert not [layer for layer in viewer.layers if "proposal" in layer.name]
    review.undo()
    np.testing.assert_array_equal(refined.data, before)
    assert review.table.frames_with("edited", OBJECT) == {2}


@pytest.mark.parametrize("closes_window", [False, True])
def test_layers_of_a_proposal_go_with_the_dock(qtbot, window, gate, closes_window):
    viewer, panel = window
    gate.let_go()
    panel.directly_box.setChecked(False)
    panel.refine_button.click()
    wait_for(qtbot, lambda: panel.controller.state is State.FINISHED)
    panel.workbench.proposals.toggle_shown()
    assert panel.workbench.proposals.is_open
    if closes_window:
        viewer.close()
        return
    viewer.window.remove_dock_widget(panel)
    assert [layer.name for layer in viewer.layers] == ["clip", "rough"]
    assert viewer.layers["rough"].visible
    panel.deleteLater()
