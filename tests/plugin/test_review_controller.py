"""The review without widgets: edits become truth, undo takes marks back, what to look at next."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from conftest import FRAMES, OBJECT, make_rough_masks, square

from napari_appearrefine.core.quality import quality_of
from napari_appearrefine.core.review_cells import ExemplarState, Source
from napari_appearrefine.plugin.guide import Guide
from napari_appearrefine.plugin.review_controller import ReviewController
from napari_appearrefine.plugin.timeline_rows import Mark


@pytest.fixture
def rough(model_viewer):
    return model_viewer.layers["rough"]


@pytest.fixture
def guide(review, small_jobs):
    return Guide(review, small_jobs.start)


@pytest.fixture
def sentences(review):
    sentences = []
    review.said.connect(sentences.append)
    return sentences


def paint(viewer, layer, frame, label=OBJECT, at=(34, 5)):
    viewer.dims.set_current_step(0, frame)
    layer.brush_size = 4
    layer.paint((frame, *at), label)


def edited(review, object_id=OBJECT):
    return sorted(review.table.frames_with("edited", object_id))


def test_chosen_masks_are_read_into_a_table(model_viewer, review, rough):
    assert review.layer == rough
    assert review.table.object_ids == [OBJECT]
    assert sorted(review.table.frames_with("present", OBJECT)) == [0, 1, 3, 4, 5, 6, 7]
    (row,) = review.rows()
    assert row.title == "object 3"
    assert len(row) == FRAMES
    assert not row.marks.any()


def test_masks_of_an_earlier_run_are_as_good_as_the_last_run_judged_them(review, guide):
    before, after = np.full((FRAMES, 1), 0.5), np.full((FRAMES, 1), 0.9)
    review.apply(review.table.ran({}, [OBJECT], before, {}, after))
    review.apply(review.table.taken_over(OBJECT, range(FRAMES), 1))
    np.testing.assert_allclose(guide.quality(), after)
    # The second run proposes better ones than these, which are not taken over.
    review.apply(review.table.ran({}, [OBJECT], before, {}, after))
    np.testing.assert_allclose(guide.quality(), before)


def test_stroke_marks_its_frame_and_object_and_undo_takes_the_mark_back(model_viewer, review, rough):
    paint(model_viewer, rough, 4)
    assert edited(review) == [4]
    assert review.table.cells(OBJECT)["source"][4] == Source.PERSON
    assert review.guidance.truth == {OBJECT: frozenset({4})}
    rough.undo()
    assert edited(review) == []
    assert review.table.cells(OBJECT)["source"][4] == Source.IMPORTED
    rough.redo()
    assert edited(review) == [4]


def test_undo_of_a_frame_that_is_not_shown_takes_its_mark_back(model_viewer, review, rough):
    paint(model_viewer, rough, 4)
    model_viewer.dims.set_current_step(0, 1)
    rough.undo()
    assert edited(review) == []


def test_painting_back_what_was_there_is_no_edit(model_viewer, review, rough):
    paint(model_viewer, rough, 4)
    rough.data_setitem(np.nonzero(rough.data != make_rough_masks()), 0)
    np.testing.assert_array_equal(rough.data, make_rough_masks())
    assert edited(review) == []


def test_new_label_becomes_an_object_and_undo_removes_it(model_viewer, review, rough):
    paint(model_viewer, rough, 2, label=9)
    assert review.table.object_ids == [OBJECT, 9]
    assert edited(review, 9) == [2]
    assert edited(review) == []
    rough.undo()
    assert review.table.object_ids == [OBJECT]


def test_painting_over_another_object_marks_both(model_viewer, review, rough):
    row, column = square(4)
    paint(model_viewer, rough, 4, label=9, at=(row.start + 4, column.start + 4))
    assert (edited(review), edited(review, 9)) == ([4], [4])


def test_going_to_other_frames_compares_nothing(model_viewer, review, rough, monkeypatch):
    monkeypatch.setattr("napari_appearrefine.plugin.edit_tracker.touched_objects", None)
    for frame in range(FRAMES):
        model_viewer.dims.set_current_step(0, frame)
    assert review.frame == FRAMES - 1


def test_stroke_while_the_masks_are_read_counts(model_viewer, small_jobs, rough):
    review = ReviewController(model_viewer, small_jobs.start)
    review.choose_masks(rough)
    copied = small_jobs.waiting[0]
    for _ in range(FRAMES):
        copied.run(until=lambda event: True)
    paint(model_viewer, rough, 3)
    small_jobs.run()
    assert edited(review) == [3]


def test_replaced_data_are_read_again(model_viewer, review, small_jobs, rough):
    rough.data = make_rough_masks() * 2
    assert review.table is None
    small_jobs.run()
    assert review.table.object_ids == [2 * OBJECT]


def test_marks_and_strokes_are_there_when_masks_are_chosen_again(model_viewer, review, small_jobs, rough):
    paint(model_viewer, rough, 4)
    review.toggle_lock([1])
    other = model_viewer.add_labels(make_rough_masks(), name="other")
    review.choose_masks(other)
    small_jobs.run()
    assert not review.table.settled_frames
    assert review.keeps_work
    # What is painted meanwhile counts as well.
    paint(model_viewer, rough, 6)
    review.choose_masks(rough)
    small_jobs.run()
    assert edited(review) == [4, 6]
    assert sorted(review.table.frames_with("locked", OBJECT)) == [1]
    rough.undo()
    assert edited(review) == [4]
    rough.undo()
    assert edited(review) == []
    assert review.table.cells(OBJECT)["source"][4] == Source.IMPORTED


def test_masks_with_other_data_or_written_by_a_run_are_read_anew(model_viewer, review, small_jobs, rough):
    other = model_viewer.add_labels(make_rough_masks(), name="other")

    def lock_and_come_back(meanwhile):
        review.toggle_lock([1])
        review.choose_masks(other)
        small_jobs.run()
        meanwhile()
        review.choose_masks(rough)
        small_jobs.run()
        return review.table.settled_frames

    assert lock_and_come_back(lambda: None) == 1
    review.toggle_lock([1])
    assert lock_and_come_back(lambda: review.forget(rough)) == 0
    assert lock_and_come_back(lambda: setattr(rough, "data", make_rough_masks())) == 0
    review.read_again()
    small_jobs.run()
    assert review.table.settled_frames == 0
    review.toggle_lock([1])
    review.choose_masks(other)
    assert review.keeps_work
    model_viewer.layers.remove(rough)
    assert not review.keeps_work


def test_masks_that_cannot_be_written_are_not_reviewed(model_viewer, review, rough):
    frozen = make_rough_masks()
    frozen.flags.writeable = False
    review.choose_masks(model_viewer.add_labels(frozen, name="frozen"))
    assert review.table is None
    assert review.rows() == []


@pytest.mark.parametrize(
    ("act", "mark"),
    [("toggle_lock", Mark.LOCKED), ("toggle_pin", Mark.PINNED), ("toggle_ban", Mark.BANNED)],
)
def test_marks_go_on_and_off_for_the_shown_frame_or_the_selected_ones(model_viewer, review, act, mark):
    model_viewer.dims.set_current_step(0, 6)
    getattr(review, act)()
    assert np.flatnonzero(review.rows()[0].marks).tolist() == [6]
    assert review.rows()[0].marks[6] == mark
    review.select_frames(5, 8)
    getattr(review, act)()
    assert np.flatnonzero(review.rows()[0].marks).tolist() == [5, 6, 7]
    getattr(review, act)()
    assert not review.rows()[0].marks.any()


def test_marks_reach_the_run(model_viewer, review):
    review.toggle_lock([1], [OBJECT])
    review.toggle_pin([2], [OBJECT])
    review.toggle_ban([3], [OBJECT])
    guidance = review.guidance
    assert (guidance.locked, guidance.pinned, guidance.banned) == (
        {OBJECT: frozenset({1})},
        {OBJECT: frozenset({2})},
        {OBJECT: frozenset({3})},
    )


def marks(review, object_id=OBJECT):
    """Frames by mark, without those that have none."""
    table = review.table
    found = {name: sorted(table.frames_with(name, object_id)) for name in ("edited", "locked", "accepted")}
    found["pinned"] = sorted(table.frames_with("exemplar", object_id, ExemplarState.PINNED))
    found["banned"] = sorted(table.frames_with("exemplar", object_id, ExemplarState.BANNED))
    return {name: frames for name, frames in found.items() if frames}


def test_undo_takes_strokes_and_marks_back_in_the_order_they_were_made(model_viewer, review, rough, sentences):
    states = []

    def act(do, *arguments):
        states.append((rough.data.copy(), marks(review)))
        do(*arguments)

    act(paint, model_viewer, rough, 4)
    act(review.toggle_lock)
    act(paint, model_viewer, rough, 5)
    act(review.toggle_pin, [2, 3], [OBJECT])
    act(review.toggle_accepted, [4, 5, 6], [OBJECT])
    act(review.toggle_ban, [3], [OBJECT])
    act(review.toggle_lock, [4], [OBJECT])
    act(paint, model_viewer, rough, 4, OBJECT, (34, 30))
    states.append((rough.data.copy(), marks(review)))
    assert states[-1][1] == {"edited": [4, 5], "accepted": [4, 5, 6], "pinned": [2], "banned": [3]}
    assert all(one[1] != other[1] for one, other in pairwise(states[:-1]))
    for _ in range(2):
        for pixels, known in states[-2::-1]:
            rough.undo()
            np.testing.assert_array_equal(rough.data, pixels)
            assert marks(review) == known
        rough.undo()
        for pixels, known in states[1:]:
            rough.redo()
            np.testing.assert_array_equal(rough.data, pixels)
            assert marks(review) == known
    assert sentences[-4:] == [
        "Done again: Pin object 3 in frames 2, 3.",
        "Done again: Agree with object 3 in frames 4 to 6.",
        "Done again: Ban object 3 in frame 3.",
        "Done again: Unlock object 3 in frame 4.",
    ]


def test_mark_of_a_new_object_goes_before_the_object(model_viewer, review, rough):
    paint(model_viewer, rough, 2, label=9)
    review.toggle_lock([2], [9])
    rough.undo()
    assert marks(review, 9) == {"edited": [2], "accepted": [2]}
    rough.undo()
    assert review.table.object_ids == [OBJECT]
    # Nothing is heard of what happens to a hidden layer until it is shown again.
    rough.visible = False
    rough.redo()
    rough.redo()
    rough.visible = True
    assert marks(review, 9) == {"edited": [2], "accepted": [2], "locked": [2]}
    rough.visible = False
    review.undo()
    review.undo()
    assert review.table.object_ids == [OBJECT]


def test_marks_that_strokes_pushed_out_of_the_history_stay(model_viewer, review, rough):
    review.toggle_lock([1], [OBJECT])
    for column in range(100):
        rough.data_setitem((np.array([3]), np.array([39 - column // 50]), np.array([column % 50])), 8)
    review.toggle_pin([1], [OBJECT])
    for _ in range(120):
        rough.undo()
    assert marks(review)["locked"] == [1]
    assert "pinned" not in marks(review)


def test_marks_leave_the_history_with_the_review(model_viewer, review, rough):
    paint(model_viewer, rough, 4)
    review.toggle_lock([1], [OBJECT])
    review.toggle_lock([2], [OBJECT])
    rough.undo()
    review.shut_down()
    rough.undo()
    np.testing.assert_array_equal(rough.data, make_rough_masks())


def test_what_was_undone_is_gone_after_the_next_mark(model_viewer, review, rough):
    review.toggle_lock([1], [OBJECT])
    paint(model_viewer, rough, 4)
    rough.undo()
    rough.undo()
    review.toggle_pin([2], [OBJECT])
    rough.redo()
    assert marks(review) == {"pinned": [2]}


def test_lock_outlives_a_stroke_that_is_painted_back(model_viewer, review, rough):
    paint(model_viewer, rough, 4)
    review.toggle_lock()
    rough.data_setitem(np.nonzero(rough.data != make_rough_masks()), 0)
    assert marks(review) == {"locked": [4]}


def test_next_to_fix_goes_to_the_worst_frame_and_says_why(model_viewer, review, guide, small_jobs, sentences):
    quality = np.full((FRAMES, 1), 0.9)
    quality[5] = 0.1
    review.apply(review.table.ran({}, [OBJECT], quality, {OBJECT: [0]}))
    guide.suggest()
    small_jobs.run()
    assert review.frame == 5
    assert sentences[-1].startswith("Frame 5, object 3: The mask here looks poor")
    review.toggle_lock(range(FRAMES), [OBJECT])
    guide.suggest()
    small_jobs.run()
    assert sentences[-1] == "You have corrected or locked every mask."


def test_next_and_previous_unreviewed(model_viewer, review, guide, sentences):
    review.toggle_lock(range(1, 5), [OBJECT])
    guide.go_to_unreviewed()
    assert review.frame == 5
    guide.go_to_unreviewed(-1)
    assert review.frame == 0
    assert sentences[-1] == "Frame 0: not reviewed yet for object 3."
    review.toggle_accepted(range(FRAMES), [OBJECT])
    guide.go_to_unreviewed()
    assert (review.frame, sentences[-1]) == (0, "You have seen every mask.")


def test_frames_are_found_in_a_moved_and_scaled_layer(model_viewer, small_jobs):
    moved = model_viewer.add_labels(make_rough_masks(), name="moved", scale=(0.5, 2, 2), translate=(10, 5, 5))
    review = ReviewController(model_viewer, small_jobs.start)
    review.choose_masks(moved)
    small_jobs.run()
    for frame in (0, 3, FRAMES - 1):
        review.go_to(frame)
        assert review.frame == frame
    paint_at = moved.data_to_world((7, 34, 5))
    moved.paint(moved.world_to_data(paint_at), OBJECT)
    assert edited(review) == [7]


def test_selected_label_is_the_object_and_back(review, rough):
    heard = []
    review.object_changed.connect(heard.append)
    rough.selected_label = 5
    assert review.object_id == OBJECT
    review.select_object(OBJECT)
    assert rough.selected_label == OBJECT
    assert heard == [OBJECT, OBJECT]


def test_nothing_is_heard_after_shutting_down(model_viewer, review, rough):
    heard = []
    review.table_changed.connect(lambda: heard.append("table"))
    review.frame_changed.connect(heard.append)
    review.shut_down()
    del heard[:]
    paint(model_viewer, rough, 4)
    assert heard == []


def test_scores_that_are_no_overlaps_are_stretched():
    overlaps = np.array([[0.0], [0.25], [1.0]])
    np.testing.assert_array_equal(quality_of(overlaps), overlaps.astype(np.float32))
    stretched = quality_of(np.array([[-1000.0], *[[float(-x)] for x in range(40)]]))
    assert stretched.max() == 1
    assert stretched[0] == 0
    assert (np.diff(stretched[1:, 0]) <= 0).all()


def test_exemplars_of_a_run_show_beside_pins(review):
    review.toggle_pin([2], [OBJECT])
    review.apply(review.table.ran({}, [OBJECT], np.ones((FRAMES, 1)), {OBJECT: [2, 4]}))
    marks = review.rows()[0].marks
    assert (marks[2], marks[4]) == (Mark.PINNED, Mark.CHOSEN)
    assert review.table.cells(OBJECT)["exemplar"][4] == ExemplarState.CHOSEN
