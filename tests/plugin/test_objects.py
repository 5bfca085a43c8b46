"""Operations on objects: pixels and marks together, one undo step, ids that stay the user's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import FRAMES, OBJECT, make_rough_masks, make_truth, square

from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine.boxes import whole
from napari_appearrefine.engine.explanation import Explanation
from napari_appearrefine.engine.object_masks import Plane
from napari_appearrefine.plugin.error_map import COLOURS, TOO_LITTLE, TOO_MUCH, ErrorMap, error_marks, influence_text
from napari_appearrefine.plugin.objects_controller import ObjectsController

OTHER = 7


@pytest.fixture
def masks(model_viewer, review, small_jobs):
    """The rough masks, the right part of which is another object."""
    layer = model_viewer.layers["rough"]
    data = make_rough_masks()
    data[:, :, 30:][data[:, :, 30:] == OBJECT] = OTHER
    layer.data = data
    small_jobs.run()
    return layer


@pytest.fixture
def objects(model_viewer, controller, review, proposals, small_jobs):
    objects = ObjectsController(model_viewer, controller, review, proposals, small_jobs.start)
    objects.sentences = []
    objects.said.connect(objects.sentences.append)
    return objects


def state(review):
    arrays, facts = review.table.to_arrays()
    return {name: array.tolist() for name, array in arrays.items() if array.dtype.kind != "f"}, facts


def changes(masks, review, act):
    """Act; check that undo and redo restore pixels and marks exactly; return the pixels."""
    before, marks_before = masks.data.copy(), state(review)
    act()
    after, marks_after = masks.data.copy(), state(review)
    masks.undo()
    np.testing.assert_array_equal(masks.data, before)
    assert state(review) == marks_before
    masks.redo()
    np.testing.assert_array_equal(masks.data, after)
    assert state(review) == marks_after
    assert not review.table.column("edited").any()
    return before, after


def test_delete(masks, review, objects):
    before, after = changes(masks, review, lambda: objects.delete(OTHER))
    np.testing.assert_array_equal(after, np.where(before == OTHER, 0, before))
    assert review.table.object_ids == [OBJECT]


def test_merge(masks, review, objects):
    before, after = changes(masks, review, lambda: objects.merge(OBJECT, OTHER))
    np.testing.assert_array_equal(after, np.where(before == OTHER, OBJECT, before))
    assert review.table.object_ids == [OBJECT]


def test_swap_from_here_on(model_viewer, masks, review, objects):
    model_viewer.dims.set_current_step(0, 5)
    before, after = changes(masks, review, lambda: objects.swap_from_here(OBJECT, OTHER))
    np.testing.assert_array_equal(after[:5], before[:5])
    np.testing.assert_array_equal(after[5:] == OBJECT, before[5:] == OTHER)
    np.testing.assert_array_equal(after[5:] == OTHER, before[5:] == OBJECT)


def test_split_from_here_on(model_viewer, masks, review, objects):
    model_viewer.dims.set_current_step(0, 4)
    before, after = changes(masks, review, lambda: objects.split_from_here(OTHER))
    np.testing.assert_array_equal(after[4:] == 8, before[4:] == OTHER)
    assert review.table.object_ids == [OBJECT, OTHER, 8]


def test_another_id(masks, review, objects):
    review.toggle_lock([4], [OTHER])
    before, after = changes(masks, review, lambda: objects.change_id(OTHER, 40))
    np.testing.assert_array_equal(after == 40, before == OTHER)
    assert review.table.object_ids == [OBJECT, 40]
    assert sorted(review.table.frames_with("locked", 40)) == [4]
    assert masks.selected_label == 40
    objects.change_id(40, OBJECT)
    objects.change_id(40, 256)
    assert [sentence.split(";")[0] for sentence in objects.sentences] == [
        "Change id 7 to 40: done. Ctrl-Z takes it back.",
        "There is an object 3 already",
        "Object ids of these labels go from 1 to 255",
    ]
    np.testing.assert_array_equal(masks.data, after)


def test_name_and_colour_are_undone(masks, review, objects):
    colour = [tuple(row.colour) for row in review.rows()]
    objects.rename(OTHER, "fish")
    objects.recolour(OTHER, (1.0, 0.0, 1.0, 1.0))
    objects.toggle_hidden(OBJECT)
    assert [row.title for row in review.rows()] == ["object 3", "fish"]
    assert review.rows()[1].colour == (255, 0, 255)
    masks.undo()
    assert [row.colour for row in review.rows()] == colour
    assert objects.is_hidden(OBJECT)
    masks.undo()
    assert review.rows()[1].title == "object 7"
    masks.redo()
    masks.redo()
    assert (review.rows()[1].title, review.rows()[1].colour) == ("fish", (255, 0, 255))


def test_deleting_an_object_without_pixels_is_undone(masks, review, objects, small_jobs):
    masks.data[masks.data == OTHER] = 0
    objects.delete(OTHER)
    assert review.table.object_ids == [OBJECT]
    masks.undo()
    assert review.table.object_ids == [OBJECT, OTHER]


def test_a_piece_becomes_an_object_until_it_touches_the_rest(model_viewer, masks, review, objects, small_jobs):
    masks.data_setitem(tuple(np.mgrid[3:6, 0:3, 0:3].reshape(3, -1)), OTHER)
    masks.data_setitem(tuple(np.mgrid[5:6, 0:30, 0:60].reshape(3, -1)), OTHER)
    review.read_again()
    small_jobs.run()
    model_viewer.dims.set_current_step(0, 3)
    objects.split_part_at(39, 59)
    objects.split_part_at(-1, 5)
    assert [sentence.split(";")[0] for sentence in objects.sentences] == ["There is no object at this point"] * 2
    before, after = changes(masks, review, lambda: objects.split_part_at(1, 1))
    np.testing.assert_array_equal(np.argwhere((after == 8).any(axis=(1, 2))).ravel(), [3, 4])
    np.testing.assert_array_equal(after[3:5, :3, :3], 8)
    np.testing.assert_array_equal(np.where(after == 8, OTHER, after), before)
    assert review.table.frames_with("present", 8) == {3, 4}
    model_viewer.dims.set_current_step(0, 5)
    objects.split_part_at(1, 1)
    assert "in one piece in frame 5" in objects.sentences[-1]


@pytest.mark.parametrize("shift", [-0.4, 0, 0.4])
def test_a_click_means_the_pixel_under_it(model_viewer, masks, review, objects, small_jobs, shift):
    masks.data_setitem(tuple(np.mgrid[3:4, 5:6, 1:2].reshape(3, -1)), OTHER)
    review.read_again()
    small_jobs.run()
    model_viewer.dims.set_current_step(0, 3)
    objects.split_part()
    event = SimpleNamespace(position=(3.0, 5 + shift, 1 + shift), handled=False, type="mouse_press")
    drag = masks.mouse_drag_callbacks[-1](masks, event)
    next(drag)
    event.type = "mouse_release"
    assert next(drag, None) is None
    assert masks.data[3, 5, 1] == 8
    assert np.count_nonzero(masks.data == 8) == 1


def test_nobody_paints_while_many_frames_change(masks, review, objects, slices):
    slices.waits = True
    before = masks.data.copy()
    masks.paint((6, 36, 30), OBJECT)
    masks.mode = "paint"
    objects.delete(OTHER)
    slices.step()
    slices.step()
    assert not masks.editable
    assert not (masks.data[0] == OTHER).any()
    assert (masks.data[4] == OTHER).any()
    slices.finish()
    assert (masks.editable, str(masks.mode)) == (True, "paint")
    assert not (masks.data == OTHER).any()
    slices.waits = False
    masks.undo()
    assert (masks.data[4] == OTHER).any()
    assert review.table.object_ids == [OBJECT, OTHER]
    masks.undo()
    np.testing.assert_array_equal(masks.data, before)


def test_edits_of_a_deleted_object_do_not_bring_it_back(masks, review, objects):
    masks.data_setitem(np.nonzero((masks.data == OTHER) & (np.arange(FRAMES) == 6)[:, None, None]), 0)
    assert sorted(review.table.frames_with("edited", OTHER)) == [6]
    objects.delete(OTHER)
    review.tracker.check(range(FRAMES))
    assert review.table.object_ids == [OBJECT]


def test_operation_closes_the_proposal(model_viewer, masks, proposals, manual_jobs, objects):
    proposals.run(RefineParameters(exemplars=2))
    manual_jobs.run()
    assert proposals.is_open
    objects.delete(OTHER)
    assert not proposals.is_open
    assert proposals.rough is None


def test_names_show_on_the_timeline(masks, review, objects):
    objects.rename(OTHER, " fish ")
    assert [row.title for row in review.rows()] == ["object 3", "fish"]
    objects.rename(OTHER, "")
    assert review.rows()[1].title == "object 7"


def test_colours_and_hiding(masks, review, objects):
    objects.recolour(OTHER, (1.0, 0.0, 0.0, 1.0))
    assert review.rows()[1].colour == (255, 0, 0)
    kept = review.rows()[0].colour
    objects.toggle_hidden(OTHER)
    assert masks.colormap.map(OTHER)[3] == 0
    assert objects.is_hidden(OTHER)
    objects.toggle_hidden(OTHER)
    np.testing.assert_allclose(masks.colormap.map(OTHER), (1, 0, 0, 1))
    assert review.rows()[0].colour == kept


def test_a_new_object_has_a_colour_of_its_own_also_after_others_were_recoloured(masks, review, objects):
    usual = masks.colormap.map(objects.new())
    objects.recolour(OTHER, (1.0, 0.0, 0.0, 1.0))
    np.testing.assert_allclose(masks.colormap.map(objects.new()), usual)


def test_an_operation_says_what_was_done_when_it_is(masks, review, objects):
    objects.merge(OBJECT, OTHER)
    assert objects.sentences[-1] == "Merge 7 into 3: done. Ctrl-Z takes it back."


def test_the_same_button_again_waits_for_no_click(masks, objects):
    objects.grow()
    objects.split_part()
    assert len(masks.mouse_drag_callbacks) == 1
    assert "Click on the piece" in objects.sentences[-1]
    objects.split_part()
    assert not masks.mouse_drag_callbacks
    assert masks.mouse_pan
    assert objects.sentences[-1] == "No longer waiting for a click."


def test_colours_stay_while_one_object_is_shown_alone(masks, review, objects):
    before = [row.colour for row in review.rows()]
    masks.selected_label = OTHER
    masks.show_selected_label = True
    assert [row.colour for row in review.rows()] == before
    objects.recolour(OTHER, (1.0, 0.0, 0.0, 1.0))
    assert masks.colormap.map(OBJECT)[3] == 0
    masks.show_selected_label = False
    assert [row.colour for row in review.rows()] == [before[0], (255, 0, 0)]
    assert masks.colormap.map(OBJECT)[3] == 1


def test_new_object_takes_a_free_label(masks, objects):
    assert objects.new() == 8
    assert masks.selected_label == 8


@pytest.mark.parametrize("corners", [((12, 10), (12, 10)), ((4, 1), (27, 23))], ids=["click", "box"])
def test_object_grows_over_what_looks_alike(model_viewer, masks, review, objects, small_jobs, corners):
    masks.data_setitem(np.nonzero(masks.data), 0)
    model_viewer.dims.set_current_step(0, 0)
    objects.grow_from(*np.array(corners))
    small_jobs.run()
    grown = masks.data[0] == 8
    rows, columns = square(0)
    truth = np.zeros_like(grown)
    truth[rows, columns] = True
    assert (grown & truth).sum() / (grown | truth).sum() > 0.7
    assert sorted(review.table.frames_with("edited", 8)) == [0]
    masks.undo()
    assert not masks.data[0].any()
    assert 8 not in review.table.object_ids


def test_growing_over_another_object_is_one_sentence(model_viewer, masks, objects, small_jobs):
    model_viewer.dims.set_current_step(0, 0)
    objects.grow_from(np.array([12, 10]), np.array([12, 10]))
    small_jobs.run()
    assert "another object" in objects.sentences[-1]


def explanation(masks, likely, influence, frame=0):
    plane = Plane(whole(masks.shape), np.asarray(likely, np.float32))
    return Explanation(frame, masks, {OBJECT: plane, OTHER: None}, influence)


@pytest.fixture
def error_map(model_viewer, controller, review, proposals, small_jobs):
    def explain(clip, masks, frame, report, parameters, guidance):
        return explanation(masks[frame], make_truth()[frame] == OBJECT, {OBJECT: {0: 0.7, 4: 0.3}}, frame)

    return ErrorMap(model_viewer, controller, review, proposals, small_jobs.start, explain)


def test_error_map_follows_the_shown_frame(model_viewer, review, proposals, manual_jobs, error_map, small_jobs):
    sentences, shares = [], []
    error_map.said.connect(sentences.append)
    error_map.explained.connect(shares.append)
    switched = []
    error_map.changed.connect(switched.append)
    error_map.toggle()
    assert switched == [False]
    assert sentences == ["The error map needs a run: press Refine first."]
    proposals.run(RefineParameters(exemplars=3))
    manual_jobs.run()
    proposals.reject()
    model_viewer.dims.set_current_step(0, 5)
    error_map.toggle()
    small_jobs.run()
    rough, truth = make_rough_masks()[5] != 0, make_truth()[5] != 0
    np.testing.assert_array_equal(error_map.overlay.data == TOO_MUCH, rough & ~truth)
    np.testing.assert_array_equal(error_map.overlay.data == TOO_LITTLE, truth & ~rough)
    assert sentences[-1].startswith("Here object 3 is shaped by frame 0 (70 %), frame 4 (30 %)")
    assert shares[-1] == {OBJECT: {0: 0.7, 4: 0.3}}
    model_viewer.dims.set_current_step(0, 0)
    assert not error_map.overlay.data.any()
    assert shares[-1] == {}
    model_viewer.dims.set_current_step(0, 2)
    small_jobs.run()
    np.testing.assert_array_equal(error_map.overlay.data == TOO_LITTLE, make_truth()[2] != 0)
    error_map.toggle()
    assert not error_map.is_on
    assert not error_map.overlay.data.any()
    model_viewer.dims.set_current_step(0, 5)
    assert not small_jobs.waiting
    model_viewer.layers["likely errors"].visible = True
    small_jobs.run()
    np.testing.assert_array_equal(error_map.overlay.data == TOO_MUCH, rough & ~truth)
    model_viewer.layers.remove("likely errors")
    assert error_map.overlay is None
    assert switched == [False, True, False, True, False]


def test_error_map_gives_way_to_an_open_proposal(model_viewer, proposals, manual_jobs, error_map, small_jobs):
    sentences = []
    error_map.said.connect(sentences.append)
    model_viewer.dims.set_current_step(0, 5)
    proposals.run(RefineParameters(exemplars=3))
    manual_jobs.run()
    error_map.toggle()
    small_jobs.run()
    assert proposals.is_open
    assert not error_map.overlay.data.any()
    assert "the proposal's changes" in sentences[-1]
    proposals.reject()
    small_jobs.run()
    assert error_map.overlay.data.any()
    assert "Orange is likely too much" in sentences[-1]


def test_error_marks_grade_what_is_likely():
    masks = np.array([[OBJECT, OBJECT, 0, 0, 0]])
    marks = error_marks(explanation(masks, [[0.4, 0.7, 0.6, 0.3, 0.1]], {}))
    assert marks.tolist() == [[1, 3, 2, 4, 0]]
    assert set(np.unique(marks)) - {0} <= set(COLOURS)
    assert influence_text("object 4", {}).startswith("No exemplar shapes object 4 here.")
