"""The parts of the dock without a window: what they show, and what their buttons do."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import FRAMES, OBJECT, ManualSlices, make_rough_masks, make_truth
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog

from napari_appearrefine.core.parameters import FlowMaskParameters, RefineParameters
from napari_appearrefine.plugin.exemplar_views import SIDE, cut_out
from napari_appearrefine.plugin.shortcuts import SHORTCUTS
from napari_appearrefine.plugin.timeline_rows import Mark
from napari_appearrefine.plugin.widgets.key_help import KeyHelp
from napari_appearrefine.plugin.widgets.objects_box import ObjectsBox
from napari_appearrefine.plugin.widgets.proposal_box import ProposalBox
from napari_appearrefine.plugin.widgets.timeline_panel import TimelinePanel
from napari_appearrefine.plugin.workbench import Workbench

OTHER = 7


@pytest.fixture
def workbench(model_viewer, controller, small_jobs):
    """A workbench with two objects under review."""
    layer = model_viewer.layers["rough"]
    data = make_rough_masks()
    data[:, :, 30:][data[:, :, 30:] == OBJECT] = OTHER
    layer.data = data
    workbench = Workbench(model_viewer, controller, small_jobs.start, in_slices=ManualSlices().start)
    workbench.choose_masks(layer)
    small_jobs.run()
    model_viewer.dims.set_current_step(0, 0)
    return workbench


def titles(box):
    return [box.list.item(index).text() for index in range(box.list.count())]


def entries(menu):
    return {action.text(): action for action in menu.actions()}


def test_objects_box_lists_and_selects(qtbot, model_viewer, workbench):
    box = ObjectsBox(workbench)
    qtbot.addWidget(box)
    assert titles(box) == ["object 3", "object 7"]
    box.list.setCurrentRow(1)
    assert model_viewer.layers["rough"].selected_label == OTHER
    model_viewer.layers["rough"].selected_label = OBJECT
    assert box.list.currentRow() == 0
    box.shut_down()


def test_buttons_of_the_objects_box(qtbot, monkeypatch, model_viewer, workbench):
    layer = model_viewer.layers["rough"]
    box = ObjectsBox(workbench)
    qtbot.addWidget(box)
    workbench.review.select_object(OTHER)
    monkeypatch.setattr(QInputDialog, "getText", lambda *arguments, **options: ("fish", True))
    box.rename_button.click()
    assert titles(box) == ["object 3", "fish"]
    monkeypatch.setattr(QInputDialog, "getInt", lambda *arguments, **options: (OTHER + 1, True))
    box.id_button.click()
    assert (layer.data == OTHER + 1).any()
    layer.undo()
    workbench.review.select_object(OTHER)
    box.part_button.click()
    assert layer.mouse_drag_callbacks
    workbench.objects.shut_down()
    assert not layer.mouse_drag_callbacks
    box.hide_button.click()
    assert workbench.objects.is_hidden(OTHER)
    assert box.hide_button.text() == "Show"
    workbench.review.select_object(OBJECT)
    assert box.hide_button.text() == "Hide"
    workbench.review.select_object(OTHER)
    box.solo_button.click()
    assert layer.show_selected_label
    box.swap_menu.aboutToShow.emit()
    before = layer.data.copy()
    entries(box.swap_menu)["object 3"].trigger()
    np.testing.assert_array_equal(layer.data == OBJECT, before == OTHER)
    box.merge_menu.aboutToShow.emit()
    workbench.review.select_object(OTHER)
    entries(box.merge_menu)["object 3"].trigger()
    assert titles(box) == ["object 3"]
    assert not box.merge_button.isEnabled()
    box.delete_button.click()
    assert titles(box) == []
    assert not layer.data.any()
    assert not box.delete_button.isEnabled()
    box.shut_down()


def test_proposal_box_names_what_it_decides_about(qtbot, model_viewer, workbench, manual_jobs):
    box = ProposalBox(workbench.proposals, workbench.review)
    qtbot.addWidget(box)
    assert box.isHidden()
    workbench.refine(RefineParameters(exemplars=2))
    manual_jobs.run()
    assert not box.isHidden()
    model_viewer.dims.set_current_step(0, 5)
    workbench.review.select_object(OTHER)
    assert box.accept_frame.text() == "Accept frame 5"
    assert box.reject_object.text() == "Reject object 7"
    assert box.shown_button.text() == "Show the proposed masks"
    box.shown_button.click()
    assert box.shown_button.text() == "Show my masks again"
    box.shown_button.click()
    assert box.shown_button.text() == "Show the proposed masks"
    box.reject_object.click()
    assert not box.accept_object.isEnabled()
    assert not box.reject_object.isEnabled()
    workbench.review.select_object(OBJECT)
    assert box.accept_object.isEnabled()
    model_viewer.layers["rough"].undo()
    workbench.review.select_frames(5, 8)
    assert box.accept_frame.text() == "Accept frames 5-7"
    before = model_viewer.layers["rough"].data.copy()
    box.accept_frame.click()
    after = model_viewer.layers["rough"].data
    np.testing.assert_array_equal(after[:5], before[:5])
    np.testing.assert_array_equal(after[5:] != 0, make_truth()[5:] != 0)
    assert not box.accept_frame.isEnabled()
    box.reject_all.click()
    assert box.isHidden()
    np.testing.assert_array_equal(model_viewer.layers["rough"].data[:5], before[:5])
    box.shut_down()


def test_named_objects_are_called_by_their_names(qtbot, model_viewer, workbench, manual_jobs):
    box, panel = ProposalBox(workbench.proposals, workbench.review), TimelinePanel(model_viewer, workbench)
    qtbot.addWidget(box)
    qtbot.addWidget(panel)
    workbench.refine(RefineParameters(exemplars=2))
    manual_jobs.run()
    workbench.objects.rename(OBJECT, "fish with a fin")
    workbench.review.select_object(OBJECT)
    assert box.accept_object.text() == "Accept fish with a…"
    assert "Lock or unlock fish with a fin in all frames" in entries(panel.menu_for(OBJECT, 0))
    model_viewer.dims.set_current_step(0, 0)
    panel.unreviewed_button.click()
    assert panel.reason_label.text() == "Frame 1: not reviewed yet for fish with a fin, object 7."
    box.shut_down()
    panel.shut_down()


def test_menu_of_the_timeline_marks_objects_and_selected_frames(qtbot, model_viewer, workbench):
    panel = TimelinePanel(model_viewer, workbench)
    qtbot.addWidget(panel)
    review = workbench.review
    one = panel.menu_for(OBJECT, 2)
    assert [text for text in entries(one) if text][:2] == ["object 3, frame 2", "All objects, frame 2"]
    entries(entries(one)["object 3, frame 2"].menu())["Ban as exemplar, or not"].trigger()
    assert np.flatnonzero(review.rows()[0].marks).tolist() == [2]
    panel.timeline.select(3, 6)
    many = entries(panel.menu_for(OBJECT, 4))["All objects, frames 3 to 5"]
    entries(many.menu())["Lock or unlock"].trigger()
    for row in review.rows():
        assert np.flatnonzero(row.marks & Mark.LOCKED).tolist() == [3, 4, 5]
    entries(panel.menu_for(OTHER, 0))["Lock or unlock object 7 in all frames"].trigger()
    assert (review.rows()[1].marks & Mark.LOCKED).all()
    panel.shut_down()


def test_ground_truth_is_none_until_a_person_chooses(qtbot, model_viewer, workbench, small_jobs):
    panel = TimelinePanel(model_viewer, workbench)
    qtbot.addWidget(panel)
    truth = model_viewer.add_labels(model_viewer.layers["rough"].data.copy(), name="truth")
    panel.set_layers([truth])
    assert panel.truth_combo.layer is None
    panel.truth_combo.choose(truth)
    small_jobs.run()
    assert panel.truth_label.text() == "J 1.000   F 1.000"
    assert panel.curves_box.isChecked()
    panel.truth_combo.setCurrentIndex(0)
    assert panel.truth_label.text() == ""
    assert workbench.review.rows()[0].measures == ()
    panel.shut_down()


def test_buttons_of_the_timeline_lead_on(qtbot, model_viewer, workbench, small_jobs):
    panel = TimelinePanel(model_viewer, workbench)
    qtbot.addWidget(panel)
    panel.unreviewed_button.click()
    assert workbench.review.frame == 1
    assert panel.reason_label.text() == "Frame 1: not reviewed yet for object 3, object 7."
    panel.previous_button.click()
    panel.previous_button.click()
    assert workbench.review.frame == FRAMES - 1
    panel.next_button.click()
    small_jobs.run()
    assert "object" in panel.reason_label.text()
    panel.shut_down()


def test_two_rows_need_no_scroll_bar(qtbot, model_viewer, workbench):
    panel = TimelinePanel(model_viewer, workbench)
    qtbot.addWidget(panel)
    # The line that napari's themes draw around it.
    panel.area.setStyleSheet("QScrollArea { border: 1px solid black; }")
    panel.resize(900, panel.minimumSizeHint().height())
    panel.show()
    qtbot.waitUntil(lambda: panel.area.viewport().height() > 0)
    assert panel.area.verticalScrollBar().maximum() == 0
    panel.shut_down()


def test_the_selected_object_and_the_numbers_of_frames_stay_in_sight(qtbot, model_viewer, workbench):
    panel = TimelinePanel(model_viewer, workbench)
    qtbot.addWidget(panel)
    panel.resize(600, 150)
    panel.show()
    panel.curves_box.setChecked(True)
    qtbot.waitUntil(lambda: panel.area.verticalScrollBar().maximum() > 0)
    ruler = panel.area.grab().copy(0, 0, 500, 17)
    assert len({ruler.toImage().pixelColor(x, 8).name() for x in range(500)}) > 1
    for object_id in (OTHER, OBJECT, OTHER):
        workbench.review.select_object(object_id)
        place = panel.timeline.row_rect([OBJECT, OTHER].index(object_id))
        shown = panel.area.viewport().rect().translated(0, panel.area.verticalScrollBar().value())
        assert shown.contains(place.center())
        assert panel.area.grab().copy(0, 0, 500, 17).toImage() == ruler.toImage()
    panel.shut_down()


def test_likely_errors_hide_no_word_about_the_same_frame(qtbot, model_viewer, workbench):
    panel = TimelinePanel(model_viewer, workbench)
    qtbot.addWidget(panel)
    shaped = "Here object 3 is shaped by frame 4 (100 %)."
    workbench.review.said.emit("Frame 0, object 3: a reason.")
    workbench.error_map.said.emit(shaped)
    assert panel.reason_label.text() == "Frame 0, object 3: a reason."
    model_viewer.dims.set_current_step(0, 1)
    workbench.error_map.said.emit(shaped)
    assert panel.reason_label.text() == shaped
    workbench.error_map.changed.emit(False)
    assert panel.reason_label.text() == ""
    workbench.review.said.emit("Undone: a stroke.")
    workbench.error_map.changed.emit(False)
    assert panel.reason_label.text() == "Undone: a stroke."
    panel.errors_box.click()
    assert panel.reason_label.text() == "The error map needs a run: press Refine first."
    panel.shut_down()


def test_exemplars_of_the_selected_object_are_pictures(qtbot, model_viewer, workbench, small_jobs):
    panel = TimelinePanel(model_viewer, workbench)
    qtbot.addWidget(panel)
    strip = panel.exemplar_strip
    workbench.review.toggle_pin([4, 6], [OTHER])
    workbench.review.select_object(OTHER)
    panel.exemplars_box.setChecked(True)
    small_jobs.run()
    assert [strip.item(index).text() for index in range(strip.count())] == ["4", "6"]
    workbench.error_map.explained.emit({OBJECT: {6: 1.0}, OTHER: {6: 0.34}})
    assert [strip.item(index).text() for index in range(strip.count())] == ["4", "6\n34 %"]
    strip.itemClicked.emit(strip.item(1))
    assert workbench.review.frame == 6
    workbench.review.toggle_pin([6], [OTHER])
    small_jobs.run()
    assert strip.count() == 1
    workbench.review.select_object(OBJECT)
    assert strip.count() == 0
    panel.shut_down()


def test_picture_shows_the_object_and_dims_the_rest():
    image = np.full((40, 60, 3), 200, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:20, 50:60] = True
    picture = cut_out(image, mask)
    assert picture.shape == (SIDE, SIDE, 3)
    assert (picture[SIDE // 2, SIDE // 2] == 200).all()
    assert (picture[0, 0] == 100).all()
    assert (cut_out(image, ~mask & mask) == 100).all()


def test_reach_of_corrections_decides_about_the_next_frame(model_viewer, controller, small_jobs, manual_jobs):
    asked = []

    def follow(clip, masks, ids):
        asked.append((len(clip), masks.shape, ids))
        return {OBJECT: np.array([0.0, 0, 0, 1, 1, 1, 1])}

    workbench = Workbench(model_viewer, controller, small_jobs.start, follow=follow, in_slices=ManualSlices().start)
    workbench.choose_masks(model_viewer.layers["rough"])
    small_jobs.run()
    workbench.refine(RefineParameters(exemplars=3))
    manual_jobs.run()
    small_jobs.run()
    assert asked == [(FRAMES, (FRAMES, 40, 60), [OBJECT])]
    review = workbench.review
    review.apply(review.table.ran({}, [OBJECT], np.full((FRAMES, 1), 0.5), {}))
    workbench.guide.suggest()
    small_jobs.run()
    assert review.frame >= 3


def test_undo_is_that_of_the_layer_a_person_paints_on(model_viewer, workbench, manual_jobs):
    undo, redo = (workbench.actions()[name] for name in ("undo", "redo"))
    workbench.review.toggle_lock([1], [OBJECT])
    other = model_viewer.add_labels(make_truth(), name="other")
    other.data_setitem((np.array([0]), np.array([0]), np.array([0])), 9)
    undo()
    assert other.data[0, 0, 0] == 0
    assert workbench.review.table.frames_with("locked", OBJECT) == {1}
    redo()
    assert other.data[0, 0, 0] == 9
    workbench.refine(RefineParameters(exemplars=2))
    manual_jobs.run()
    model_viewer.layers.selection.active = workbench.proposals.layer
    undo()
    assert not workbench.review.table.column("locked").any()
    model_viewer.layers.selection.active = model_viewer.layers["clip"]
    redo()
    assert workbench.review.table.frames_with("locked", OBJECT) == {1}


def test_masks_from_motion_spare_locked_masks_that_are_not_chosen_now(
    model_viewer, workbench, controller, small_jobs, manual_jobs
):
    def find():
        workbench.find_masks(FlowMaskParameters())
        manual_jobs.run()
        return [layer.name for layer in model_viewer.layers if layer.name.startswith("clip masks")]

    def choose(name):
        workbench.choose_masks(model_viewer.layers[name])
        small_jobs.run()

    assert find() == ["clip masks"]
    choose("clip masks")
    choose("rough")
    assert find() == ["clip masks"]
    choose("clip masks")
    workbench.review.toggle_lock([1])
    choose("rough")
    assert find() == ["clip masks", "clip masks [1]"]
    choose("clip masks")
    assert workbench.holds_work


def test_help_lists_every_key_and_a_click_closes_it(qtbot):
    from qtpy.QtWidgets import QWidget

    window = QWidget()
    qtbot.addWidget(window)
    window.resize(800, 700)
    help_sheet = KeyHelp(window)
    for shortcut in SHORTCUTS:
        assert f"<b>{shortcut.key}</b>" in help_sheet.label.text()
        assert shortcut.title in help_sheet.label.text()
    help_sheet.show()
    qtbot.mouseClick(help_sheet, Qt.MouseButton.LeftButton)
    assert help_sheet.isHidden()
