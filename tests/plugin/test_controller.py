"""The controller without widgets: states, pixels, undo, cancel, errors."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import FRAMES, OBJECT, make_rough_masks, make_truth, make_video
from napari.layers import Labels

from napari_appearrefine.core.events import FrameLabels
from napari_appearrefine.core.parameters import FlowMaskParameters, RefineParameters
from napari_appearrefine.plugin.controller import RefineController, State, Task
from napari_appearrefine.plugin.layers import FrameWriter, WholeShapeLayers, Written, colour_of


@pytest.fixture
def heard(controller):
    events = []
    controller.state_changed.connect(lambda state: events.append(state))
    controller.run_finished.connect(lambda result: events.append(result))
    controller.run_failed.connect(lambda message: events.append(message))
    return events


def refined(viewer):
    return viewer.layers["rough refined"]


def test_states_follow_the_choice_and_the_run(model_viewer, manual_jobs, controller, heard):
    controller.choose_video(None)
    controller.choose_video(model_viewer.layers["clip"])
    controller.refine(RefineParameters())
    assert controller.state is State.RUNNING
    assert not controller.can_refine
    assert not controller.can_find_masks
    manual_jobs.run()
    states = [event for event in heard if isinstance(event, State)]
    assert states == [State.NOTHING_LOADED, State.READY, State.RUNNING, State.FINISHED]
    assert controller.can_refine


def test_refinement_fills_a_new_editable_layer_and_leaves_the_input_alone(model_viewer, manual_jobs, controller, heard):
    rough = model_viewer.layers["rough"]
    controller.refine(RefineParameters(exemplars=3))
    manual_jobs.run()
    layer = refined(model_viewer)
    np.testing.assert_array_equal(layer.data, make_truth())
    np.testing.assert_array_equal(rough.data, make_rough_masks())
    assert layer.data.dtype == np.uint8
    assert layer.data.flags.writeable
    assert layer.editable
    np.testing.assert_array_equal(layer.colormap.map(OBJECT), rough.colormap.map(OBJECT))
    result = heard[-1]
    assert result.task is Task.REFINE
    assert (len(result.finished), result.kept, result.cancelled) == (FRAMES, [], False)
    assert result.report.objects == [OBJECT]
    assert len(result.report.exemplars[OBJECT]) == 3
    assert not set(result.report.exemplars[OBJECT]) & {2, 5}


def test_finished_run_is_one_undo_step(model_viewer, manual_jobs, controller):
    controller.refine(RefineParameters())
    manual_jobs.run()
    layer = refined(model_viewer)
    layer.undo()
    np.testing.assert_array_equal(layer.data, make_rough_masks())
    layer.redo()
    np.testing.assert_array_equal(layer.data, make_truth())
    layer.undo()
    layer.undo()
    np.testing.assert_array_equal(layer.data, make_rough_masks())


def test_undo_history_of_a_run_is_compact(model_viewer, manual_jobs, controller):
    controller.refine(RefineParameters())
    manual_jobs.run()
    (step,) = refined(model_viewer)._undo_history
    changed = np.count_nonzero(make_truth() != make_rough_masks())
    size = sum(array.nbytes for indices, old, new in step for array in (*indices, old, new))
    assert size == 8 * changed


def test_frames_appear_one_by_one(model_viewer, manual_jobs, controller):
    controller.refine(RefineParameters())
    manual_jobs.run_frames(3)
    data, truth, rough = refined(model_viewer).data, make_truth(), make_rough_masks()
    np.testing.assert_array_equal(data[:3], truth[:3])
    np.testing.assert_array_equal(data[3:], rough[3:])


def test_persons_edit_of_a_later_frame_wins(model_viewer, manual_jobs, controller, heard):
    controller.refine(RefineParameters())
    manual_jobs.run_frames(2)
    layer = refined(model_viewer)
    layer.data_setitem((np.array([5]), np.array([0]), np.array([0])), 9)
    manual_jobs.run()
    edited = make_rough_masks()[5]
    edited[0, 0] = 9
    np.testing.assert_array_equal(layer.data[5], edited)
    others = [frame for frame in range(FRAMES) if frame != 5]
    np.testing.assert_array_equal(layer.data[others], make_truth()[others])
    assert heard[-1].kept == [5]


def test_a_frame_that_comes_again_is_written_again_unless_a_person_edited_it():
    first, second = make_truth(), make_truth()
    second[:, :3, :3] = OBJECT
    layer = Labels(make_rough_masks())
    writer = FrameWriter(layer, make_rough_masks(), lambda frame: False)
    assert {writer.write(frame, first[frame]) for frame in (2, 5)} == {Written.WRITTEN}
    layer.data_setitem((np.array([5]), np.array([0]), np.array([0])), 9)
    assert writer.write(2, second[2]) is Written.WRITTEN
    assert writer.write(5, second[5]) is Written.KEPT
    np.testing.assert_array_equal(layer.data[2], second[2])
    assert layer.data[5, 0, 0] == 9
    layer.undo()
    np.testing.assert_array_equal(layer.data[5], first[5])
    layer.undo()
    np.testing.assert_array_equal(layer.data, make_rough_masks())


def test_stroke_during_the_run_stays_a_step_of_its_own(model_viewer, manual_jobs, controller):
    """The stroke lies on a frame that the run has already written, the hardest case for the history."""
    controller.refine(RefineParameters())
    manual_jobs.run_frames(4)
    layer = refined(model_viewer)
    model_viewer.dims.set_current_step(0, 2)
    layer.selected_label = 7
    layer.brush_size = 4
    layer.paint((2, 15, 15), 7)
    painted = layer.data[2].copy()
    assert (painted == 7).any()
    manual_jobs.run()
    np.testing.assert_array_equal(layer.data[2], painted)
    np.testing.assert_array_equal(layer.data[3:], make_truth()[3:])
    assert len(layer._undo_history) == 2
    layer.undo()
    np.testing.assert_array_equal(layer.data, make_truth())
    layer.undo()
    np.testing.assert_array_equal(layer.data, make_rough_masks())
    layer.redo()
    layer.redo()
    np.testing.assert_array_equal(layer.data[2], painted)


def test_undo_during_the_run_stops_it_and_redo_brings_back_what_was_finished(
    model_viewer, manual_jobs, controller, heard
):
    controller.refine(RefineParameters())
    manual_jobs.run_frames(4)
    layer = refined(model_viewer)
    layer.undo()
    manual_jobs.run()
    assert heard[-1].undone
    np.testing.assert_array_equal(layer.data, make_rough_masks())
    layer.redo()
    np.testing.assert_array_equal(layer.data[:4], make_truth()[:4])
    np.testing.assert_array_equal(layer.data[4:], make_rough_masks()[4:])


def test_undo_and_redo_during_the_run_change_nothing(model_viewer, manual_jobs, controller):
    controller.refine(RefineParameters())
    manual_jobs.run_frames(4)
    layer = refined(model_viewer)
    layer.undo()
    layer.redo()
    manual_jobs.run()
    np.testing.assert_array_equal(layer.data, make_truth())
    layer.undo()
    np.testing.assert_array_equal(layer.data, make_rough_masks())


def test_run_survives_so_many_strokes_that_its_step_is_forgotten(model_viewer, manual_jobs, controller):
    controller.refine(RefineParameters())
    manual_jobs.run_frames(3)
    layer = refined(model_viewer)
    for column in range(layer._history_limit):
        layer.data_setitem((np.array([0, 0]), np.array([0, 0]), np.array([0, column % 50])), 1 + column % 2)
    manual_jobs.run()
    np.testing.assert_array_equal(layer.data[1:], make_truth()[1:])
    layer.undo()
    np.testing.assert_array_equal(layer.data[3:], make_rough_masks()[3:])


def test_cancel_keeps_finished_frames_as_one_undo_step(model_viewer, manual_jobs, controller, heard):
    controller.refine(RefineParameters())
    manual_jobs.run_frames(4)
    controller.cancel()
    manual_jobs.run()
    layer = refined(model_viewer)
    assert manual_jobs.closed
    assert (heard[-1].cancelled, len(heard[-1].finished), heard[-1].report) == (True, 4, None)
    assert controller.state is State.FINISHED
    np.testing.assert_array_equal(layer.data[:4], make_truth()[:4])
    np.testing.assert_array_equal(layer.data[4:], make_rough_masks()[4:])
    layer.undo()
    np.testing.assert_array_equal(layer.data, make_rough_masks())


def test_cancel_before_the_first_frame_leaves_no_layer(model_viewer, manual_jobs, controller, heard):
    controller.refine(RefineParameters())
    controller.cancel()
    manual_jobs.run()
    assert [layer.name for layer in model_viewer.layers] == ["clip", "rough"]
    assert heard[-1].layer is None


def test_second_press_updates_the_refined_layer_as_one_step(model_viewer, manual_jobs, controller):
    controller.refine(RefineParameters())
    manual_jobs.run()
    layer = refined(model_viewer)
    layer.data_setitem((np.array([1]), np.array([1]), np.array([1])), 9)
    before = layer.data.copy()
    controller.refine(RefineParameters())
    manual_jobs.run()
    assert len(model_viewer.layers) == 3
    np.testing.assert_array_equal(layer.data, make_truth())
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)


def test_refined_layer_as_masks_is_refined_in_place(model_viewer, manual_jobs, controller):
    controller.refine(RefineParameters())
    manual_jobs.run()
    layer = refined(model_viewer)
    layer.data_setitem(np.nonzero(layer.data * (np.arange(FRAMES) == 4)[:, None, None]), 0)
    before = layer.data.copy()
    assert not before[4].any()
    controller.choose_masks(layer)
    controller.refine(RefineParameters())
    manual_jobs.run()
    assert len(model_viewer.layers) == 3
    np.testing.assert_array_equal(layer.data, make_truth())
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)


def test_wide_integers_become_an_editable_16_bit_layer(model_viewer, manual_jobs, controller):
    ids = make_rough_masks().astype(np.int64) * 400
    ids.flags.writeable = False
    controller.choose_masks(model_viewer.add_labels(ids, name="wide"))
    controller.refine(RefineParameters())
    manual_jobs.run()
    layer = model_viewer.layers["wide refined"]
    assert layer.data.dtype == np.uint16
    np.testing.assert_array_equal(layer.data, make_truth().astype(np.uint16) * 400)


def test_layer_lies_where_the_masks_lie(model_viewer, manual_jobs, controller):
    model_viewer.layers["rough"].scale = (1, 0.5, 0.25)
    model_viewer.layers["rough"].translate = (0, 3, 4)
    controller.refine(RefineParameters())
    manual_jobs.run()
    np.testing.assert_array_equal(refined(model_viewer).scale, (1, 0.5, 0.25))
    np.testing.assert_array_equal(refined(model_viewer).translate, (0, 3, 4))


def test_masks_from_motion(model_viewer, manual_jobs, controller, heard):
    controller.find_masks(FlowMaskParameters())
    manual_jobs.run()
    layer = model_viewer.layers["clip masks"]
    assert heard[-1].layer is layer
    video = make_video()[..., 0].astype(int)
    for frame in range(FRAMES):
        moved = np.abs(video[frame] - video[frame - 1 if frame else 1]) > 100
        np.testing.assert_array_equal(layer.data[frame], moved & (video[frame] > 200))
    layer.undo()
    assert not layer.data.any()


def test_masks_from_motion_again_update_the_same_layer(model_viewer, manual_jobs, controller):
    for _ in range(2):
        controller.find_masks(FlowMaskParameters())
        manual_jobs.run()
        layer = model_viewer.layers["clip masks"]
        layer.data_setitem((np.array([1]), np.array([1]), np.array([1])), 9)
    assert len(model_viewer.layers) == 3
    layer.undo()
    layer.undo()
    assert layer.data[1, 1, 1] == 9


def test_masks_in_3d_display_and_hidden_layers_are_written(model_viewer, manual_jobs, controller):
    controller.refine(RefineParameters())
    manual_jobs.run_frames(1)
    model_viewer.dims.ndisplay = 3
    manual_jobs.run_frames(2)
    refined(model_viewer).visible = False
    model_viewer.dims.ndisplay = 2
    model_viewer.dims.set_current_step(0, 5)
    manual_jobs.run()
    np.testing.assert_array_equal(refined(model_viewer).data, make_truth())


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (make_rough_masks()[:5], "rough has 5 frames but clip has 8"),
        (make_rough_masks()[:, :30], "rough is 60 x 30 pixels but clip is 60 x 40"),
        (np.zeros_like(make_rough_masks()), "rough holds no object"),
        (make_rough_masks().astype(np.int32) * -1, "rough (frame 0) holds negative labels"),
        (make_rough_masks().astype(np.int32) * 70000, "rough (frame 0) holds labels above 65535"),
    ],
)
def test_unusable_masks_are_one_sentence_and_change_nothing(model_viewer, manual_jobs, controller, heard, masks, said):
    model_viewer.layers["rough"].data = masks
    controller.refine(RefineParameters())
    manual_jobs.run()
    assert said in heard[-1]
    assert controller.state is State.READY
    assert controller.can_refine
    assert [layer.name for layer in model_viewer.layers] == ["clip", "rough"]


def test_float_layer_as_masks_is_one_sentence(model_viewer, manual_jobs, controller, heard):
    controller.choose_masks(model_viewer.add_image(make_rough_masks().astype(np.float32), name="probabilities"))
    controller.refine(RefineParameters())
    manual_jobs.run()
    assert "probabilities holds float32 values" in heard[-1]


def test_single_image_as_video_is_one_sentence(model_viewer, controller, heard):
    controller.choose_video(model_viewer.add_image(np.zeros((20, 30, 3), np.uint8), rgb=True, name="photo"))
    controller.find_masks(FlowMaskParameters())
    assert "photo has the shape (20, 30, 3)" in heard[-1]
    assert controller.state is State.READY


def test_one_frame_has_no_motion(model_viewer, manual_jobs, controller, heard):
    controller.choose_video(model_viewer.add_image(make_video()[:1], rgb=True, name="still"))
    controller.find_masks(FlowMaskParameters())
    manual_jobs.run()
    assert "still has one frame" in heard[-1]
    assert "still masks" not in model_viewer.layers


@pytest.mark.parametrize("lost", ["clip", "rough", "rough refined"])
def test_removing_a_layer_stops_the_run(model_viewer, manual_jobs, controller, heard, lost):
    controller.refine(RefineParameters())
    manual_jobs.run_frames(3)
    layer = refined(model_viewer)
    model_viewer.layers.remove(lost)
    assert manual_jobs.cancelled.is_set()
    manual_jobs.run()
    assert manual_jobs.closed
    assert heard[-1].cancelled
    np.testing.assert_array_equal(layer.data[3:], make_rough_masks()[3:])
    assert controller.video == (None if lost == "clip" else model_viewer.layers["clip"])


def test_shutting_down_stops_the_run_silently(model_viewer, manual_jobs, controller, heard):
    controller.refine(RefineParameters())
    manual_jobs.run_frames(3)
    del heard[:]
    controller.shut_down()
    manual_jobs.run()
    assert manual_jobs.closed
    assert heard == []
    model_viewer.layers.clear()
    assert isinstance(controller, RefineController)


def test_whole_shapes_become_outlined_layers_the_frontmost_on_top(model_viewer, manual_jobs):
    def layered_masks(clip, parameters):
        for frame in range(len(clip)):
            labels = make_truth()[frame] // OBJECT
            behind = np.zeros(labels.shape, bool)
            behind[5:30, 10:40] = True
            yield FrameLabels(frame, labels, whole={1: labels > 0, 300: behind}, front_to_back=(1, 300))

    controller = RefineController(model_viewer, manual_jobs.start, flow_mask_events=layered_masks)
    controller.choose_video(model_viewer.layers["clip"])
    others = model_viewer.add_labels(make_truth(), name="clip masks whole")
    WholeShapeLayers(model_viewer, others).write(
        FrameLabels(0, others.data[0], whole={1: others.data[0] > 0}, front_to_back=(1,))
    )
    # The second time its own layers go, and the masks are written anew.
    for _ in range(2):
        controller.find_masks(FlowMaskParameters())
        manual_jobs.run()
        names = [layer.name for layer in model_viewer.layers]
        assert names[2:4] == ["clip masks whole", "clip masks whole whole 1"]
        assert names[-3:] == ["clip masks", "clip masks whole 300", "clip masks whole 1"]
        assert len(names) == 7
        assert model_viewer.layers.selection.active.name == "clip masks"
    masks = model_viewer.layers["clip masks"]
    back, front = list(model_viewer.layers)[-2:]
    np.testing.assert_array_equal(front.data, make_truth() // OBJECT)
    assert (back.data[:, 5:30, 10:40] == 300).all()
    assert back.data.sum() == 300 * FRAMES * 25 * 30
    assert front.contour > 0
    for layer, object_id in ((front, 1), (back, 300)):
        assert colour_of(layer, object_id) == colour_of(masks, object_id)
    assert front.metadata["napari-appearrefine"]["front_to_back"] == {frame: [1, 300] for frame in range(FRAMES)}
