"""A run proposes, the person disposes: layers, accept, reject, undo, edits meanwhile, locks."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import FRAMES, OBJECT, make_rough_masks, make_truth

from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.core.proposal import ADDED, REMOVED
from napari_appearrefine.core.review_cells import Source
from napari_appearrefine.plugin.result_text import describe
from napari_appearrefine.plugin.timeline_rows import Mark

WRONG = [2, 5, 6]


@pytest.fixture
def rough(model_viewer):
    return model_viewer.layers["rough"]


@pytest.fixture
def run(manual_jobs, proposals):
    def run():
        proposals.run(RefineParameters(exemplars=3))
        manual_jobs.run()

    return run


def put(layer, frame, label, rows=slice(0, 2), columns=slice(0, 2)):
    grid = np.mgrid[frame : frame + 1, rows, columns].reshape(3, -1)
    layer.data_setitem(tuple(grid), label)


def test_run_proposes_and_writes_nothing(model_viewer, proposals, run, rough):
    active = model_viewer.layers.selection.active = rough
    run()
    assert [layer.name for layer in model_viewer.layers] == ["clip", "rough", "rough proposal", "changes"]
    np.testing.assert_array_equal(rough.data, make_rough_masks())
    np.testing.assert_array_equal(proposals.layer.data, make_truth())
    assert rough.visible
    assert not proposals.layer.visible
    assert model_viewer.layers.selection.active == active
    assert proposals.open_frames() == WRONG


def test_changes_of_the_shown_frame_are_in_two_colours(model_viewer, proposals, run):
    model_viewer.dims.set_current_step(0, 5)
    run()
    rough, truth = make_rough_masks()[5], make_truth()[5]
    marks = proposals.overlay.data
    np.testing.assert_array_equal(marks == ADDED, (truth != 0) & (rough == 0))
    np.testing.assert_array_equal(marks == REMOVED, (truth == 0) & (rough != 0))
    colours = {tuple(proposals.overlay.colormap.map(value)) for value in (ADDED, REMOVED)}
    assert len(colours) == 2
    model_viewer.dims.set_current_step(0, 0)
    assert not proposals.overlay.data.any()


def test_changes_show_while_the_run_goes_on(model_viewer, manual_jobs, proposals, review):
    model_viewer.dims.set_current_step(0, 2)
    proposals.run(RefineParameters(exemplars=3))
    manual_jobs.run_frames(3)
    assert proposals.overlay.data.any()
    assert not proposals.is_open
    assert np.flatnonzero(review.rows()[0].marks).tolist() == [2]


def test_accepting_all_is_one_undo_step_that_takes_marks_and_proposal_with_it(
    model_viewer, proposals, review, run, rough
):
    run()
    proposals.accept()
    np.testing.assert_array_equal(rough.data, make_truth())
    assert [layer.name for layer in model_viewer.layers] == ["clip", "rough"]
    cells = review.table.cells(OBJECT)
    assert (cells["source"] == Source.RUN).all()
    assert cells["accepted"].all()
    assert cells["present"].all()
    assert not cells["edited"].any()
    rough.undo()
    np.testing.assert_array_equal(rough.data, make_rough_masks())
    cells = review.table.cells(OBJECT)
    assert (cells["source"] == Source.IMPORTED).all()
    assert not (cells["accepted"] | cells["edited"]).any()
    assert not cells["present"][2]
    assert proposals.open_frames() == WRONG
    assert model_viewer.layers[-1].name == "changes"
    rough.redo()
    np.testing.assert_array_equal(rough.data, make_truth())
    assert (review.table.cells(OBJECT)["source"] == Source.RUN).all()
    assert [layer.name for layer in model_viewer.layers] == ["clip", "rough"]


def test_layers_come_back_one_after_the_other(model_viewer, proposals, run, rough, slices):
    def names():
        return [layer.name for layer in model_viewer.layers][2:]

    run()
    proposals.accept()
    slices.waits = True
    rough.undo()
    slices.step()
    assert names() == ["rough proposal"]
    slices.step()
    assert names() == ["rough proposal", "changes"]
    slices.finish()
    rough.redo()
    rough.undo()
    slices.step()
    # Made again before the second layer came: none is left, and none comes.
    rough.redo()
    slices.finish()
    assert names() == []
    assert not proposals.is_open


@pytest.mark.parametrize("shown", [0, *WRONG])
def test_an_acceptance_that_comes_and_goes_is_no_edit_of_the_shown_frame(
    model_viewer, proposals, review, run, rough, shown
):
    model_viewer.dims.set_current_step(0, shown)
    run()
    proposals.accept()
    for _ in range(2):
        rough.undo()
        assert not review.table.column("edited").any()
        rough.redo()
        assert not review.table.column("edited").any()
        assert (review.table.cells(OBJECT)["source"] == Source.RUN).all()


def test_accepting_and_rejecting_frames(model_viewer, proposals, run, rough):
    run()
    proposals.accept([2])
    proposals.reject([5])
    expected = make_rough_masks()
    expected[2] = make_truth()[2]
    np.testing.assert_array_equal(rough.data, expected)
    assert proposals.open_frames() == [6]
    proposals.accept([5, 6])
    expected[6] = make_truth()[6]
    np.testing.assert_array_equal(rough.data, expected)
    assert not proposals.is_open
    for _ in range(3):
        rough.undo()
    np.testing.assert_array_equal(rough.data, make_rough_masks())


def test_accepting_and_rejecting_objects(model_viewer, proposals, review, run, rough, small_jobs):
    two = make_rough_masks()
    two[two == OBJECT] = 7
    two[:, :, :30][two[:, :, :30] == 7] = OBJECT
    rough.data = two.copy()
    small_jobs.run()
    run()
    proposed = proposals.layer.data.copy()
    proposals.reject(object_ids=[OBJECT])
    proposals.accept()
    np.testing.assert_array_equal(rough.data == OBJECT, two == OBJECT)
    gained = (proposed == 7) & (two == 0)
    assert gained.any()
    np.testing.assert_array_equal(rough.data[gained], 7)


def test_object_that_is_newer_than_the_proposal_is_no_part_of_it(proposals, run, rough):
    run()
    put(rough, 1, 9)
    before = rough.data.copy()
    proposals.accept(object_ids=[9])
    np.testing.assert_array_equal(rough.data, before)
    proposals.accept()
    np.testing.assert_array_equal(rough.data == 9, before == 9)


def test_edits_made_meanwhile_win(model_viewer, manual_jobs, proposals, rough):
    proposals.run(RefineParameters(exemplars=3))
    manual_jobs.run_frames(3)
    put(rough, 5, OBJECT)
    manual_jobs.run()
    put(rough, 6, OBJECT)
    edited = rough.data[[5, 6]].copy()
    proposals.accept()
    np.testing.assert_array_equal(rough.data[[5, 6]], edited)
    np.testing.assert_array_equal(rough.data[2], make_truth()[2])


def test_frame_locked_after_the_run_is_not_written(proposals, review, run, rough):
    run()
    review.toggle_lock([5], [OBJECT])
    proposals.accept()
    np.testing.assert_array_equal(rough.data[5], make_rough_masks()[5])
    np.testing.assert_array_equal(rough.data[6], make_truth()[6])
    assert review.table.cells(OBJECT)["source"][5] == Source.IMPORTED


def test_masks_that_stay_are_none_to_decide_about(model_viewer, proposals, review, run, rough):
    model_viewer.dims.set_current_step(0, 5)
    run()
    for settle, undo in ((lambda: review.toggle_lock([5]), rough.undo), (lambda: put(rough, 5, OBJECT), rough.undo)):
        settle()
        assert proposals.open_frames() == [2, 6]
        assert not review.rows()[0].marks[5] & Mark.PROPOSED
        assert not proposals.overlay.data.any()
        undo()
        assert proposals.open_frames() == WRONG
        assert review.rows()[0].marks[5] & Mark.PROPOSED
        assert proposals.overlay.data.any()


def test_lock_set_after_accepting_is_undone_before_it(proposals, review, run, rough):
    run()
    proposals.accept()
    review.toggle_lock([1], [OBJECT])
    rough.undo()
    np.testing.assert_array_equal(rough.data, make_truth())
    assert not review.table.column("locked").any()
    assert review.table.column("accepted").all()
    rough.undo()
    np.testing.assert_array_equal(rough.data, make_rough_masks())
    assert not review.table.column("accepted").any()
    rough.redo()
    rough.redo()
    np.testing.assert_array_equal(rough.data, make_truth())
    assert sorted(review.table.frames_with("locked", OBJECT)) == [1]


def test_quality_of_a_rejected_mask_is_none_of_the_mask_that_stays(proposals, review, run, rough):
    run()
    review.apply(review.table.set("", [OBJECT], range(FRAMES), before=0.2, after=0.9))
    proposals.reject([0, 5])
    unknown = np.isnan(review.rows()[0].after)
    assert np.flatnonzero(unknown).tolist() == [5]
    rough.undo()
    assert not np.isnan(review.rows()[0].after).any()


def test_undo_brings_back_what_was_rejected(model_viewer, proposals, review, run, rough):
    run()
    proposals.reject([5])
    assert proposals.open_frames() == [2, 6]
    proposals.reject()
    proposals.reject()
    assert not proposals.is_open
    assert [layer.name for layer in model_viewer.layers] == ["clip", "rough"]
    rough.undo()
    assert proposals.open_frames() == [2, 6]
    assert "changes" in model_viewer.layers
    rough.undo()
    assert proposals.open_frames() == WRONG
    rough.redo()
    rough.redo()
    assert not proposals.is_open
    assert [layer.name for layer in model_viewer.layers] == ["clip", "rough"]
    run()
    rough.undo()
    rough.undo()
    assert proposals.open_frames() == WRONG
    assert [layer.name for layer in model_viewer.layers] == ["clip", "rough", "rough proposal", "changes"]


def test_accepting_masks_that_change_nothing_can_be_undone(proposals, review, run, rough):
    run()
    proposals.accept([1])
    assert review.table.frames_with("accepted", OBJECT) == {1}
    proposals.accept([1])
    rough.undo()
    assert not review.table.column("accepted").any()
    assert proposals.open_frames() == WRONG


def test_edited_and_locked_frames_stay_bit_for_bit_over_the_whole_loop(model_viewer, proposals, review, run, rough):
    put(rough, 2, OBJECT, slice(10, 30), slice(20, 30))
    review.toggle_lock([5], [OBJECT])
    kept = rough.data[[2, 5]].copy()
    for _ in range(3):
        run()
        assert not set(proposals.open_frames()) & {2, 5}
        proposals.accept()
        np.testing.assert_array_equal(rough.data[[2, 5]], kept)
    assert sorted(review.table.frames_with("edited", OBJECT)) == [2]


def test_edited_frame_becomes_an_exemplar(proposals, review, run, rough, controller):
    reports = []
    controller.run_finished.connect(lambda result: reports.append(result.report))
    put(rough, 5, OBJECT, slice(8, 24), slice(24, 40))
    run()
    assert 5 in reports[-1].exemplars[OBJECT]
    assert review.table.cells(OBJECT)["exemplar"][5]


def test_second_run_starts_from_the_masks_of_the_first(proposals, review, run, rough, manual_jobs):
    run()
    proposals.accept()
    proposals.run(RefineParameters(exemplars=3))
    np.testing.assert_array_equal(proposals.rough, make_rough_masks())
    manual_jobs.run()
    np.testing.assert_array_equal(rough.data, make_truth())
    assert not proposals.is_open


def test_new_run_replaces_the_proposal(model_viewer, run):
    run()
    run()
    assert [layer.name for layer in model_viewer.layers] == ["clip", "rough", "rough proposal", "changes"]


def test_showing_the_proposed_masks_and_back(proposals, run, rough):
    run()
    proposals.toggle_shown()
    assert (proposals.layer.visible, rough.visible, proposals.overlay.visible) == (True, False, False)
    proposals.toggle_shown()
    assert (proposals.layer.visible, rough.visible, proposals.overlay.visible) == (False, True, True)


def test_cancelled_run_proposes_what_was_finished(manual_jobs, proposals, controller, rough):
    proposals.run(RefineParameters(exemplars=3))
    manual_jobs.run_frames(4)
    controller.cancel()
    manual_jobs.run()
    assert proposals.open_frames() == [2]
    proposals.accept()
    np.testing.assert_array_equal(rough.data[2], make_truth()[2])
    np.testing.assert_array_equal(rough.data[5], make_rough_masks()[5])


@pytest.mark.parametrize("lost", ["rough proposal", "rough"])
def test_losing_a_layer_ends_the_proposal(model_viewer, proposals, review, run, rough, lost):
    run()
    model_viewer.layers.remove(lost)
    if lost == "rough":
        review.choose_masks(None)
    assert not proposals.is_open
    assert "changes" not in model_viewer.layers
    before = rough.data.copy()
    proposals.accept()
    np.testing.assert_array_equal(rough.data, before)


def test_masks_with_another_number_of_frames_know_nothing_of_the_last_proposal(
    model_viewer, proposals, review, run, small_jobs
):
    run()
    review.choose_masks(model_viewer.add_labels(make_rough_masks()[:-1], name="shorter"))
    small_jobs.run()
    assert proposals.open_frames() == []


def test_proposal_that_is_removed_during_the_run_is_not_said_to_be_there(
    model_viewer, manual_jobs, controller, proposals
):
    results = []
    controller.run_finished.connect(results.append)
    proposals.run(RefineParameters(exemplars=3))
    manual_jobs.run_frames(2)
    model_viewer.layers.remove(proposals.layer)
    manual_jobs.run()
    assert describe(results[-1]) == "Cancelled. Nothing was changed."


def test_undoing_a_stroke_then_the_acceptance(proposals, review, run, rough):
    run()
    proposals.accept()
    put(rough, 4, OBJECT)
    assert sorted(review.table.frames_with("edited", OBJECT)) == [4]
    rough.undo()
    rough.undo()
    np.testing.assert_array_equal(rough.data, make_rough_masks())
    assert not review.table.column("edited").any()
    rough.redo()
    rough.redo()
    assert sorted(review.table.frames_with("edited", OBJECT)) == [4]


class TestAcceptingFrameByFrame:
    """A long clip is written a few frames at a time, while the person goes on."""

    @pytest.fixture(autouse=True)
    def _first_frame_is_written(self, proposals, run, rough, slices):
        run()
        slices.waits = True
        proposals.accept()
        slices.step()
        np.testing.assert_array_equal(rough.data[2], make_truth()[2])
        np.testing.assert_array_equal(rough.data[5], make_rough_masks()[5])

    def test_it_is_one_undo_step(self, model_viewer, proposals, review, rough, slices):
        slices.finish()
        np.testing.assert_array_equal(rough.data, make_truth())
        rough.undo()
        np.testing.assert_array_equal(rough.data, make_rough_masks())
        assert not review.table.column("accepted").any()
        assert proposals.open_frames() == WRONG

    def test_strokes_meanwhile_win_and_are_steps_of_their_own(self, proposals, review, rough, slices):
        put(rough, 5, OBJECT)
        put(rough, 2, OBJECT)
        painted = rough.data[[2, 5]].copy()
        slices.finish()
        np.testing.assert_array_equal(rough.data[[2, 5]], painted)
        np.testing.assert_array_equal(rough.data[6], make_truth()[6])
        assert sorted(review.table.frames_with("edited", OBJECT)) == [2, 5]
        rough.undo()
        rough.undo()
        np.testing.assert_array_equal(rough.data[2], make_truth()[2])
        assert not review.table.column("edited").any()
        rough.undo()
        np.testing.assert_array_equal(rough.data, make_rough_masks())
        assert not review.table.column("accepted").any()
        for _ in range(3):
            rough.redo()
        np.testing.assert_array_equal(rough.data[[2, 5]], painted)
        assert sorted(review.table.frames_with("edited", OBJECT)) == [2, 5]

    def test_a_stroke_that_is_being_drawn_is_no_part_of_it(self, rough, slices):
        rough._begin_stroke()
        put(rough, 7, OBJECT, slice(0, 1), slice(0, 1))
        slices.finish()
        put(rough, 7, OBJECT, slice(1, 2), slice(0, 1))
        rough._commit_stroke()
        rough.undo()
        np.testing.assert_array_equal(rough.data, make_truth())

    def test_undo_meanwhile_ends_it(self, proposals, review, rough, slices):
        rough.undo()
        slices.finish()
        np.testing.assert_array_equal(rough.data, make_rough_masks())
        assert not review.table.column("accepted").any()
        assert proposals.open_frames() == WRONG
        rough.redo()
        np.testing.assert_array_equal(rough.data[2], make_truth()[2])
        assert proposals.open_frames() == [5, 6]

    def test_a_lock_set_meanwhile_holds(self, review, rough, slices):
        review.toggle_lock([6], [OBJECT])
        slices.finish()
        np.testing.assert_array_equal(rough.data[6], make_rough_masks()[6])
        rough.undo()
        assert not review.table.column("locked").any()
        np.testing.assert_array_equal(rough.data[5], make_truth()[5])
        rough.undo()
        np.testing.assert_array_equal(rough.data, make_rough_masks())
        assert not review.table.column("accepted").any()

    @pytest.mark.parametrize("act", ["reject", "close", "shut_down"])
    def test_what_comes_next_waits_for_it(self, proposals, rough, act):
        getattr(proposals, act)()
        np.testing.assert_array_equal(rough.data, make_truth())

    def test_other_masks_end_it(self, review, rough, slices, small_jobs):
        rough.data = make_rough_masks()[:, ::-1].copy()
        small_jobs.run()
        slices.finish()
        np.testing.assert_array_equal(rough.data, make_rough_masks()[:, ::-1])
        assert not review.tracker.is_writing
