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
from napari_appearrefine.plugin.timeline_image import MARK_COLOURS
from napari_appearrefine.plugin.timeline_rows import Mark
from napari_appearrefine.plugin.widgets.refine_panel import RefinePanel

OTHER = 7
WRONG = {OBJECT: [2, 5, 6], OTHER: [1, 3]}


def darker_square(frame):
    return slice(28, 38), slice(40 - 4 * frame, 50 - 4 * frame)


def with_other(masks, value):
    """Add a second, darker square that moves the other way."""
    for frame in range(FRAMES):
        masks[frame][darker_square(frame)] = value
    return masks


def video_of_two():
    return with_other(make_video(), 140)


def truth_of_two():
    return with_other(make_truth(), OTHER)


def rough_masks_of_two():
    masks = with_other(make_rough_masks(), OTHER)
    for frame in WRONG[OTHER]:
        masks[frame][masks[frame] == OTHER] = 0
    return masks


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

    def stroke(self, frame, at, object_id):
        layer = self.panel.workbench.review.layer
        layer.selected_label = object_id
        layer.mode = "paint"
        layer.brush_size = 6
        layer.paint((frame, *at), object_id)
        self.qtbot.wait(20)

    def marks(self, frame, object_id):
        row = next(row for row in self.timeline.rows if row.object_id == object_id)
        return Mark(int(row.marks[frame]))

    def sees(self, mark, frame, object_id):
        """Whether a mark is painted on the timeline, with its colour at its frame."""
        index = [row.object_id for row in self.timeline.rows].index(object_id)
        place = self.timeline.row_rect(index)
        picture = self.timeline.grab(place).toImage()
        # Beside the line of the shown frame, which is painted over the marks.
        ratio = picture.width() / place.width()
        x = round((self.timeline.x_of(frame) + 3) * ratio)
        column = np.array([picture.pixelColor(x, y).getRgb()[:3] for y in range(picture.height())])
        # The screen of the tests has fewer colours.
        return bool((np.abs(column - MARK_COLOURS[mark]) < 8).all(axis=1).any())


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
    np.save(path, video_of_two())
    viewer, panel = annotator.viewer, annotator.panel
    assert panel.controller.state is State.NOTHING_LOADED
    assert not panel.refine_button.isEnabled()
    assert not panel.timeline_panel.next_button.isEnabled()

    # Load, and compute masks.
    open_video(viewer, path)
    panel.workbench.choose_video(viewer.layers["clip"])
    annotator.wait(panel.find_button.isEnabled)
    assert not panel.session_box.open_button.isVisibleTo(panel)
    panel.find_button.click()
    annotator.wait(lambda: panel.controller.state is not State.RUNNING)
    assert panel.masks_combo.layer == viewer.layers["clip masks"]
    annotator.wait_for_rows()
    assert [row.object_id for row in annotator.timeline.rows] == [1]
    assert viewer.layers["clip masks"].data.any(axis=(1, 2)).all()

    rough = viewer.add_labels(rough_masks_of_two(), name="rough")
    panel.masks_combo.choose(rough)
    annotator.wait(lambda: panel.workbench.review.layer == rough)
    qtbot.wait(20)
    assert [row.object_id for row in annotator.timeline.rows] == [OBJECT, OTHER]
    assert "proposal for “rough”" in panel.output_label.text()
    viewer.layers.selection.active = rough

    # Refine: a proposal, and not a pixel of the masks.
    annotator.refine()
    assert panel.proposal_box.isVisibleTo(panel)
    assert panel.proposal_box.open_label.text().startswith("5 frames would change")
    np.testing.assert_array_equal(rough.data, rough_masks_of_two())
    np.testing.assert_array_equal(viewer.layers["rough proposal"].data, truth_of_two())
    for object_id, frames in WRONG.items():
        assert [frame for frame in range(FRAMES) if annotator.marks(frame, object_id) & Mark.PROPOSED] == frames
        assert annotator.sees(Mark.PROPOSED, frames[0], object_id)
        assert not annotator.sees(Mark.PROPOSED, 4, object_id)

    # Jump to the suggested frame.
    annotator.press("N")
    annotator.wait(lambda: panel.timeline_panel.reason_label.text().startswith("Frame "))
    first, wrong_one = annotator.shown, panel.workbench.review.object_id
    assert first in WRONG[wrong_one]
    assert f"Frame {first}, object {wrong_one}" in panel.timeline_panel.reason_label.text()
    assert annotator.timeline.frame == first
    added = (truth_of_two()[first] != 0) & (rough_masks_of_two()[first] == 0)
    np.testing.assert_array_equal(viewer.layers["changes"].data == ADDED, added)

    # Paint, and reject what was proposed.
    annotator.stroke(first, (4, 4), wrong_one)
    painted = rough.data[first].copy()
    assert (painted != rough_masks_of_two()[first]).any()
    assert annotator.marks(first, wrong_one) & Mark.EDITED
    assert annotator.sees(Mark.EDITED, first, wrong_one)
    annotator.press("Shift+D")
    assert not panel.proposal_box.isVisibleTo(panel)
    assert [layer.name for layer in viewer.layers] == ["clip", "clip masks", "rough"]

    # Lock another frame.
    other = next(frame for frame in WRONG[OBJECT] if frame != first)
    y = annotator.timeline.row_rect(0).top() + 12
    qtbot.mouseClick(annotator.timeline, Qt.MouseButton.LeftButton, pos=QPoint(annotator.timeline.x_of(other), y))
    assert (annotator.shown, panel.workbench.review.object_id) == (other, OBJECT)
    annotator.press("K")
    assert annotator.marks(other, OBJECT) & Mark.LOCKED
    assert annotator.sees(Mark.LOCKED, other, OBJECT)
    assert "2 frames with your edits or locks stay" in panel.output_label.text()

    # Run again: what was painted is an exemplar, and neither it nor what was locked is to change.
    annotator.press("R")
    annotator.wait(lambda: panel.controller.state is State.FINISHED and panel.proposal_box.isVisibleTo(panel))
    left = {key: sorted(set(frames) - {first, other}) for key, frames in WRONG.items()}
    for object_id, frames in left.items():
        assert [frame for frame in range(FRAMES) if annotator.marks(frame, object_id) & Mark.PROPOSED] == frames != []
    assert annotator.marks(first, wrong_one) & (Mark.CHOSEN | Mark.PINNED)
    proposed = viewer.layers["rough proposal"].data
    np.testing.assert_array_equal(proposed[first] == wrong_one, painted == wrong_one)
    np.testing.assert_array_equal(proposed[other] == OBJECT, rough.data[other] == OBJECT)

    # Reject one object, accept the rest.
    panel.workbench.review.select_object(OTHER)
    assert panel.proposal_box.reject_object.text() == f"Reject object {OTHER}"
    panel.proposal_box.reject_object.click()
    qtbot.wait(20)
    assert panel.workbench.proposals.open_frames() == left[OBJECT]
    assert not annotator.marks(left[OTHER][0], OTHER) & Mark.PROPOSED
    annotator.press("J")
    last = annotator.shown
    assert last in left[OBJECT]
    panel.proposal_box.accept_all.click()
    annotator.wait(lambda: not panel.workbench.proposals.is_open)
    qtbot.wait(20)
    expected = rough_masks_of_two()
    expected[first] = painted
    expected[left[OBJECT]] = np.where(truth_of_two() == OBJECT, OBJECT, rough_masks_of_two())[left[OBJECT]]
    for frame in left[OBJECT]:
        expected[frame][(expected[frame] == OBJECT) & (truth_of_two()[frame] != OBJECT)] = 0
    np.testing.assert_array_equal(rough.data, expected)
    assert annotator.marks(last, OBJECT) & Mark.ACCEPTED
    assert annotator.sees(Mark.ACCEPTED, last, OBJECT)
    assert not annotator.marks(left[OTHER][0], OTHER) & Mark.ACCEPTED
    assert not panel.proposal_box.isVisibleTo(panel)
    accepted = rough.data.copy()

    # Undo and redo take everything that was done, the last first: pixels, marks, decisions.
    annotator.press("Ctrl+Z")
    np.testing.assert_array_equal(rough.data[last], rough_masks_of_two()[last])
    np.testing.assert_array_equal(rough.data[first], painted)
    assert not annotator.marks(last, OBJECT) & Mark.ACCEPTED
    assert panel.proposal_box.isVisibleTo(panel)
    assert not annotator.marks(left[OTHER][0], OTHER) & Mark.PROPOSED
    annotator.press("Ctrl+Z")
    assert annotator.marks(left[OTHER][0], OTHER) & Mark.PROPOSED
    assert annotator.marks(other, OBJECT) & Mark.LOCKED
    annotator.press("T")
    annotator.press("Ctrl+Z")
    assert not annotator.marks(other, OBJECT) & Mark.LOCKED
    assert panel.timeline_panel.reason_label.text() == f"Undone: Lock object {OBJECT} in frame {other}."
    annotator.press("T")
    viewer.layers.selection.active = viewer.layers["clip"]
    annotator.press("Ctrl+Z")
    assert annotator.marks(first, wrong_one) & Mark.EDITED
    annotator.press("Ctrl+Z")
    np.testing.assert_array_equal(rough.data, rough_masks_of_two())
    assert not annotator.marks(first, wrong_one) & Mark.EDITED
    assert panel.timeline_panel.reason_label.text() == "Undone: what was drawn last."
    annotator.press("Ctrl+Z")
    viewer.layers.selection.active = rough
    for _ in range(5):
        annotator.press("Ctrl+Shift+Z")
    np.testing.assert_array_equal(rough.data, accepted)
    assert annotator.marks(first, wrong_one) & Mark.EDITED
    assert annotator.marks(last, OBJECT) & Mark.ACCEPTED
    assert annotator.marks(other, OBJECT) & Mark.LOCKED

    # Save, close, open again.
    panel.workbench.objects.recolour(OTHER, (1.0, 0.0, 1.0, 1.0))
    qtbot.wait(20)
    rows = [(row.title, row.colour, row.marks.tolist(), row.after.tolist()) for row in annotator.timeline.rows]
    viewer.layers.selection.active = rough
    panel.objects_fold.set_open(True)
    annotator.press("Shift+S")
    annotator.wait(lambda: panel.session_box.saved_label.text().startswith("Saved beside the video"))
    # It may have been saved by itself before; what was done since is saved as well by now.
    annotator.wait(lambda: not panel.workbench.session.is_dirty)
    viewer.layers.clear()
    panel.objects_fold.set_open(False)
    panel.advanced.set_open(True)
    assert panel.controller.state is State.NOTHING_LOADED
    annotator.wait(lambda: annotator.timeline.rows == [])
    open_video(viewer, path)
    panel.workbench.choose_video(viewer.layers["clip"])
    assert panel.session_box.open_button.isVisibleTo(panel)
    panel.session_box.open_button.click()
    annotator.wait_for_rows()
    assert panel.masks_combo.layer == viewer.layers["rough"]
    np.testing.assert_array_equal(viewer.layers["rough"].data, accepted)
    again = [(row.title, row.colour, row.marks.tolist(), row.after.tolist()) for row in annotator.timeline.rows]
    assert str(again) == str(rows)
    assert annotator.shown == last
    assert panel.objects_fold.isExpanded()
    assert not panel.advanced.isExpanded()
    assert not notification_manager.records


def test_keys_undo_strokes_and_marks_in_the_order_they_were_made(annotator, qtbot):
    viewer, panel = annotator.viewer, annotator.panel
    rough = viewer.add_labels(rough_masks_of_two(), name="rough")
    annotator.wait_for_rows()
    canvas = viewer.window._qt_viewer.canvas.native
    control = Qt.KeyboardModifier.ControlModifier
    states = []

    def look():
        rows = [(row.title, row.marks.tolist()) for row in annotator.timeline.rows]
        states.append((rough.data.copy(), rows))

    look()
    steps = [
        lambda: annotator.stroke(4, (4, 4), OBJECT),
        lambda: qtbot.keyClick(canvas, Qt.Key.Key_K),
        lambda: annotator.stroke(5, (4, 30), OTHER),
        lambda: qtbot.keyClick(canvas, Qt.Key.Key_G),
        lambda: panel.workbench.objects.rename(OTHER, "fish"),
        lambda: annotator.stroke(4, (34, 4), 9),
        lambda: qtbot.keyClick(canvas, Qt.Key.Key_G, Qt.KeyboardModifier.ShiftModifier),
        lambda: panel.workbench.review.toggle_accepted(range(FRAMES), [9]),
    ]
    viewer.dims.set_current_step(0, 4)
    for step in steps:
        step()
        qtbot.wait(20)
        look()
    assert sorted(title for title, _ in states[-1][1]) == ["fish", "object 3", "object 9"]
    for modifiers, order in ((control, states[-2::-1]), (control | Qt.KeyboardModifier.ShiftModifier, states[1:])):
        for pixels, rows in order:
            qtbot.keyClick(canvas, Qt.Key.Key_Z, modifiers)
            qtbot.wait(20)
            np.testing.assert_array_equal(rough.data, pixels)
            assert [(row.title, row.marks.tolist()) for row in annotator.timeline.rows] == rows


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
