"""One sitting of an annotator, through the real widgets of a real window, from the video to the saved masks."""

from __future__ import annotations

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
from qtpy.QtCore import QPoint, Qt

from napari_appearrefine.core.proposal import ADDED
from napari_appearrefine.plugin.controller import RefineController, State
from napari_appearrefine.plugin.timeline_rows import Mark
from napari_appearrefine.plugin.widgets.refine_panel import RefinePanel

WRONG = [2, 5, 6]


class Annotator:
    """Presses the buttons and keys, and looks at what is on the screen."""

    def __init__(self, qtbot, viewer):
        self.qtbot = qtbot
        self.viewer = viewer
        controller = RefineController(
            viewer, refine_events=refine_by_brightness, flow_mask_events=masks_of_what_changes
        )
        self.panel = RefinePanel(viewer, controller)
        viewer.window.add_dock_widget(self.panel, name="Refine masks")
        self.wait(lambda: self.panel.timeline_panel.parent() is not None)

    @property
    def timeline(self):
        return self.panel.timeline_panel.timeline

    @property
    def shown(self):
        return self.panel.workbench.review.frame

    def wait(self, condition):
        self.qtbot.waitUntil(condition, timeout=20_000)

    def wait_for_rows(self):
        self.wait(lambda: bool(self.timeline.rows) and not self.panel.workbench.review.is_reading)
        self.qtbot.wait(20)

    def press(self, key):
        active = self.viewer.layers.selection.active
        target = active if active is not None and active.keymap else self.viewer
        next(act for known, act in target.keymap.items() if str(known) == key)(target)
        self.qtbot.wait(20)

    def refine(self):
        self.wait(self.panel.refine_button.isEnabled)
        self.panel.refine_button.click()
        self.wait(lambda: self.panel.controller.state is not State.RUNNING)
        self.qtbot.wait(20)

    def stroke(self, frame, at):
        layer = self.panel.workbench.review.layer
        layer.selected_label = OBJECT
        layer.mode = "paint"
        layer.brush_size = 6
        layer.paint((frame, *at), OBJECT)
        self.qtbot.wait(20)

    def marks(self, frame, object_id=OBJECT):
        row = next(row for row in self.timeline.rows if row.object_id == object_id)
        return Mark(int(row.marks[frame]))


@pytest.fixture
def annotator(qtbot, make_napari_viewer):
    viewer = make_napari_viewer()
    annotator = Annotator(qtbot, viewer)
    notification_manager.records.clear()
    return annotator


def open_video(viewer, path):
    """Add the clip as if it had been opened from a file."""
    layer = viewer.add_image(np.load(path), name="clip", rgb=True)
    layer._set_source(layer.source.model_copy(update={"path": str(path)}))


def test_a_sitting_from_the_video_to_the_saved_masks(annotator, qtbot, tmp_path):
    path = tmp_path / "clip.npy"
    np.save(path, make_video())
    viewer, panel = annotator.viewer, annotator.panel
    assert panel.controller.state is State.NOTHING_LOADED
    assert not panel.refine_button.isEnabled()
    assert not panel.timeline_panel.next_button.isEnabled()

    open_video(viewer, path)
    panel.workbench.choose_video(viewer.layers["clip"])
    annotator.wait(panel.find_button.isEnabled)
    assert not panel.session_box.open_button.isVisibleTo(panel)
    panel.find_button.click()
    annotator.wait(lambda: panel.controller.state is not State.RUNNING)
    assert panel.masks_combo.layer == viewer.layers["clip masks"]
    annotator.wait_for_rows()
    assert [row.object_id for row in annotator.timeline.rows] == [1]

    rough = viewer.add_labels(make_rough_masks(), name="rough")
    panel.masks_combo.choose(rough)
    annotator.wait(lambda: panel.workbench.review.layer == rough)
    qtbot.wait(20)
    assert [row.object_id for row in annotator.timeline.rows] == [OBJECT]
    assert "proposal for “rough”" in panel.output_label.text()
    viewer.layers.selection.active = rough

    annotator.refine()
    assert panel.proposal_box.isVisibleTo(panel)
    assert panel.proposal_box.open_label.text().startswith("3 frames would change")
    np.testing.assert_array_equal(rough.data, make_rough_masks())
    assert [frame for frame in range(FRAMES) if annotator.marks(frame) & Mark.PROPOSED] == WRONG

    annotator.press("N")
    annotator.wait(lambda: annotator.shown in WRONG)
    first = annotator.shown
    assert f"Frame {first}, object {OBJECT}" in panel.timeline_panel.reason_label.text()
    assert annotator.timeline.frame == first
    assert (viewer.layers["changes"].data == ADDED).any() == (make_truth()[first] > make_rough_masks()[first]).any()

    annotator.stroke(first, (30, 30))
    painted = rough.data[first].copy()
    assert annotator.marks(first) & Mark.EDITED
    annotator.press("Shift+D")
    assert not panel.proposal_box.isVisibleTo(panel)
    assert "changes" not in viewer.layers

    other = next(frame for frame in WRONG if frame != first)
    y = annotator.timeline.row_rect(0).center().y()
    qtbot.mouseClick(annotator.timeline, Qt.MouseButton.LeftButton, pos=QPoint(annotator.timeline.x_of(other), y))
    assert annotator.shown == other
    annotator.press("K")
    assert annotator.marks(other) & Mark.LOCKED

    annotator.press("R")
    annotator.wait(lambda: panel.controller.state is State.FINISHED and panel.proposal_box.isVisibleTo(panel))
    (last,) = panel.workbench.proposals.open_frames()
    assert last in set(WRONG) - {first, other}
    assert annotator.marks(first) & (Mark.CHOSEN | Mark.PINNED)

    panel.proposal_box.reject_object.click()
    assert not panel.proposal_box.isVisibleTo(panel)
    np.testing.assert_array_equal(rough.data[last], make_rough_masks()[last])

    annotator.refine()
    annotator.press("J")
    assert annotator.shown == last
    panel.proposal_box.accept_all.click()
    qtbot.wait(20)
    np.testing.assert_array_equal(rough.data[last], make_truth()[last])
    np.testing.assert_array_equal(rough.data[first], painted)
    np.testing.assert_array_equal(rough.data[other], make_rough_masks()[other])
    assert annotator.marks(last) & Mark.ACCEPTED
    accepted = rough.data.copy()

    rough.undo()
    qtbot.wait(20)
    np.testing.assert_array_equal(rough.data[last], make_rough_masks()[last])
    assert not annotator.marks(last) & Mark.ACCEPTED
    assert panel.proposal_box.isVisibleTo(panel)
    rough.undo()
    qtbot.wait(20)
    assert not annotator.marks(first) & Mark.EDITED
    rough.redo()
    rough.redo()
    qtbot.wait(20)
    np.testing.assert_array_equal(rough.data, accepted)
    assert annotator.marks(first) & Mark.EDITED
    assert annotator.marks(last) & Mark.ACCEPTED
    assert annotator.marks(other) & Mark.LOCKED

    marks = [annotator.marks(frame) for frame in range(FRAMES)]
    viewer.layers.selection.active = rough
    annotator.press("Shift+S")
    annotator.wait(lambda: panel.session_box.saved_label.text().startswith("Saved beside the video"))
    viewer.layers.clear()
    assert panel.controller.state is State.NOTHING_LOADED
    open_video(viewer, path)
    panel.workbench.choose_video(viewer.layers["clip"])
    assert panel.session_box.open_button.isVisibleTo(panel)
    panel.session_box.open_button.click()
    annotator.wait(lambda: "rough" in viewer.layers)
    annotator.wait_for_rows()
    assert panel.masks_combo.layer == viewer.layers["rough"]
    np.testing.assert_array_equal(viewer.layers["rough"].data, accepted)
    assert [annotator.marks(frame) for frame in range(FRAMES)] == marks
    assert not notification_manager.records


def test_closed_timeline_comes_back(annotator, qtbot):
    viewer, panel = annotator.viewer, annotator.panel
    viewer.window.remove_dock_widget(panel.timeline_panel)
    assert "Masks over time" not in viewer.window.dock_widgets
    panel.timeline_button.click()
    assert "Masks over time" in viewer.window.dock_widgets
    viewer.add_labels(make_rough_masks(), name="rough")
    annotator.wait_for_rows()


def test_keys_and_docks_go_when_the_panel_is_closed(annotator, qtbot):
    viewer, panel = annotator.viewer, annotator.panel
    rough = viewer.add_labels(make_rough_masks(), name="rough")
    assert rough.keymap
    annotator.press("H")
    assert panel.window().findChild(type(panel._key_help)) is not None
    annotator.press("H")
    viewer.window.remove_dock_widget(panel)
    qtbot.wait(20)
    assert not rough.keymap
    assert "Masks over time" not in viewer.window.dock_widgets
    rough.paint((4, 30, 30), OBJECT)
    panel.deleteLater()


def test_timeline_follows_the_viewer_and_its_theme(annotator, qtbot):
    viewer = annotator.viewer
    viewer.add_labels(make_rough_masks(), name="rough")
    annotator.wait_for_rows()
    viewer.dims.set_current_step(0, 6)
    assert annotator.timeline.frame == 6
    dark = annotator.timeline.grab().toImage().pixelColor(2, 2).lightness()
    viewer.theme = "light"
    assert annotator.timeline.grab().toImage().pixelColor(2, 2).lightness() > dark + 50
    assert annotator.panel.timeline_panel.menu_for(OBJECT, 3).actions()
