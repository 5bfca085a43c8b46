"""The session of a video file: saved, found, opened exactly, warned about, never beside the samples."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import OBJECT, ManualSlices, make_rough_masks, make_video, masks_of_what_changes, refine_by_brightness
from napari.components import ViewerModel

from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.files.samples import is_sample, sample_folder
from napari_appearrefine.plugin.controller import RefineController
from napari_appearrefine.plugin.widgets.session_box import SessionBox
from napari_appearrefine.plugin.widgets.timeline_panel import TimelinePanel
from napari_appearrefine.plugin.workbench import Workbench


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video.npy"
    np.save(path, make_video())
    return path


class Sitting:
    """A viewer with the video and a workbench; as many as there are sittings."""

    def __init__(self, video, jobs, small_jobs):
        self.jobs, self.small_jobs = jobs, small_jobs
        self.viewer = ViewerModel()
        image = self.viewer.add_image(np.load(video), name="clip", rgb=True)
        image._set_source(image.source.model_copy(update={"path": str(video)}))
        runs = RefineController(self.viewer, jobs.start, refine_by_brightness, masks_of_what_changes)
        self.workbench = Workbench(self.viewer, runs, small_jobs.start, in_slices=ManualSlices().start)
        self.heard = []
        session = self.workbench.session
        session.found.connect(lambda is_there: self.heard.append(("found", is_there)))
        session.opened.connect(lambda layer, warnings: self.heard.append(("opened", warnings)))
        session.saved.connect(lambda folder: self.heard.append(("saved", folder)))
        session.failed.connect(lambda message: self.heard.append(("failed", message)))
        self.workbench.choose_video(image)

    def work(self, accepts=True):
        rough = self.viewer.add_labels(make_rough_masks(), name="rough")
        self.workbench.choose_masks(rough)
        self.small_jobs.run()
        rough.data_setitem((np.array([2]), np.array([12]), np.array([15])), OBJECT)
        self.workbench.review.toggle_lock([5], [OBJECT])
        self.workbench.review.toggle_ban([0], [OBJECT])
        self.workbench.objects.rename(OBJECT, "square")
        self.workbench.refine(RefineParameters(exemplars=3))
        self.jobs.run()
        if accepts:
            self.workbench.proposals.accept()
        self.workbench.review.go_to(6)
        rough.opacity = 0.5
        return rough

    def open(self):
        self.workbench.session.open()
        self.small_jobs.run()

    def save(self):
        self.workbench.session.save()
        self.small_jobs.run()


@pytest.fixture
def sit(video, manual_jobs, small_jobs):
    return lambda: Sitting(video, manual_jobs, small_jobs)


def test_session_opens_exactly_as_it_was(sit, video):
    first = sit()
    rough = first.work()
    first.save()
    assert first.heard == [("found", False), ("saved", str(video) + ".appearrefine")]
    second = sit()
    assert second.heard == [("found", True)]
    second.open()
    assert second.heard[-1] == ("opened", [])
    layer = second.viewer.layers["rough"]
    np.testing.assert_array_equal(layer.data, rough.data)
    assert layer.opacity == 0.5
    review = second.workbench.review
    assert review.frame == 6
    for one, other in zip(first.workbench.review.rows(), review.rows(), strict=True):
        np.testing.assert_array_equal(one.marks, other.marks)
        np.testing.assert_array_equal(one.before, other.before)
        np.testing.assert_array_equal(one.present, other.present)
        assert one.title == other.title == "square"
    assert review.table.runs == first.workbench.review.table.runs
    assert review.guidance == first.workbench.review.guidance
    np.testing.assert_array_equal(second.workbench.proposals.rough, first.workbench.proposals.rough)


def test_work_goes_on_after_opening(sit):
    first = sit()
    first.work()
    first.save()
    second = sit()
    second.open()
    layer, review = second.viewer.layers["rough"], second.workbench.review
    kept = layer.data.copy()
    layer.data_setitem((np.array([4]), np.array([0]), np.array([0])), OBJECT)
    assert sorted(review.table.frames_with("edited", OBJECT)) == [2, 4]
    layer.undo()
    assert sorted(review.table.frames_with("edited", OBJECT)) == [2]
    second.workbench.refine(RefineParameters(exemplars=3))
    second.jobs.run()
    np.testing.assert_array_equal(layer.data, kept)
    assert not second.workbench.proposals.is_open


def test_second_save_holds_what_changed_since(sit):
    first = sit()
    rough = first.work()
    first.save()
    rough.data_setitem((np.array([7]), np.array([3]), np.array([3])), OBJECT)
    assert first.workbench.session.is_dirty
    first.workbench.session.save_now()
    assert not first.workbench.session.is_dirty
    second = sit()
    second.open()
    np.testing.assert_array_equal(second.viewer.layers["rough"].data, rough.data)
    assert sorted(second.workbench.review.table.frames_with("edited", OBJECT)) == [2, 7]


def test_window_that_closes_during_a_save_saves_once_more(sit):
    first = sit()
    rough = first.work()
    first.workbench.session.save()
    rough.data_setitem((np.array([1]), np.array([3]), np.array([3])), OBJECT)
    first.workbench.session.save_now()
    first.small_jobs.run()
    second = sit()
    second.open()
    np.testing.assert_array_equal(second.viewer.layers["rough"].data, rough.data)
    assert 1 in second.workbench.review.table.frames_with("edited", OBJECT)


def test_session_that_nobody_opened_is_kept(qtbot, sit, video):
    first = sit()
    first.work()
    first.save()
    stored = sorted(path.name for path in (video.parent / "video.npy.appearrefine").glob("data/*"))
    for number in (1, 2):
        again = sit()
        box = SessionBox(again.workbench.session)
        qtbot.addWidget(box)
        rough = again.viewer.add_labels(make_rough_masks(), name="rough")
        again.workbench.choose_masks(rough)
        again.small_jobs.run()
        again.save()
        again.save()
        assert box.saved_label.text().endswith(f"The session before it is kept as “video.npy.appearrefine.{number}”.")
        box.shut_down()
    assert sorted(path.name for path in (video.parent / "video.npy.appearrefine.1").glob("data/*")) == stored
    assert not (video.parent / "video.npy.appearrefine.3").exists()


def test_changed_video_is_a_warning_that_stays_in_sight(qtbot, sit, video):
    first = sit()
    first.work()
    first.save()
    np.save(video, make_video() // 2)
    second = sit()
    box = SessionBox(second.workbench.session)
    qtbot.addWidget(box)
    second.open()
    assert box.saved_label.text().startswith("The pixels of clip are not those")
    box.shut_down()
    kind, (warning,) = second.heard[-1]
    assert kind == "opened"
    assert warning.startswith("The pixels of clip are not those")


def test_place_that_cannot_be_written_is_one_sentence(sit, video):
    first = sit()
    first.work()
    video.with_name("video.npy.appearrefine").write_text("in the way")
    first.save()
    kind, message = first.heard[-1]
    assert kind == "failed"
    assert "video.npy.appearrefine" in message
    assert first.workbench.session.is_dirty


def test_samples_and_videos_without_a_file_have_no_session(model_viewer, controller, small_jobs):
    workbench = Workbench(model_viewer, controller, small_jobs.start, in_slices=ManualSlices().start)
    workbench.choose_video(model_viewer.layers["clip"])
    workbench.choose_masks(model_viewer.layers["rough"])
    small_jobs.run()
    assert not workbench.session.can_save
    assert is_sample(sample_folder("crossing") / "video.mp4")
    assert not is_sample("/somewhere/video.mp4")


def test_open_proposal_comes_back_as_it_was(sit):
    first = sit()
    rough = first.work(accepts=False)
    proposals = first.workbench.proposals
    first.workbench.guide.use_links({OBJECT: np.linspace(0, 1, len(rough.data) - 1)})
    proposals.reject([5])
    proposals.toggle_shown()
    expected = proposals.layer.data.copy()
    first.save()
    second = sit()
    second.open()
    again = second.workbench.proposals
    np.testing.assert_array_equal(again.layer.data, expected)
    assert (again.layer.visible, second.viewer.layers["rough"].visible) == (True, False)
    assert again.open_frames() == proposals.open_frames() != []
    # As text, because NaN is not equal to itself.
    assert str(again.last_report) == str(proposals.last_report)
    assert again.last_parameters == proposals.last_parameters
    np.testing.assert_array_equal(second.workbench.guide.links[OBJECT], first.workbench.guide.links[OBJECT])
    for workbench in (first.workbench, second.workbench):
        workbench.proposals.accept()
    np.testing.assert_array_equal(second.viewer.layers["rough"].data, rough.data)
    one, other = (sitting.workbench.review.table.to_arrays() for sitting in (first, second))
    assert {name: array.tobytes() for name, array in one[0].items()} == {
        name: array.tobytes() for name, array in other[0].items()
    }
    second.viewer.layers["rough"].undo()
    assert again.open_frames()


def test_other_layers_and_their_order_come_back(sit):
    first = sit()
    first.work(accepts=False)
    truth = first.viewer.add_labels(make_rough_masks(), name="truth")
    truth.contour, truth.visible = 3, False
    first.viewer.layers["rough proposal"].opacity = 0.25
    first.viewer.layers["changes"].opacity = 0.5
    first.viewer.add_points(np.zeros((1, 3)), name="notes").visible = False
    first.viewer.layers.move(first.viewer.layers.index("truth"), 1)
    first.viewer.layers.selection.active = truth
    first.save()
    names = ["clip", "truth", "rough", "rough proposal", "changes"]
    assert [layer.name for layer in first.viewer.layers] == [*names, "notes"]
    second = sit()
    again = second.viewer.add_labels(make_rough_masks(), name="truth")
    second.viewer.layers.move(1, 0)
    second.open()
    assert [layer.name for layer in second.viewer.layers] == names
    assert (again.contour, again.visible) == (3, False)
    assert second.viewer.layers["rough proposal"].opacity == 0.25
    assert second.viewer.layers["changes"].opacity == 0.5
    assert second.viewer.layers.selection.active == again
    assert not second.workbench.session.is_dirty


def test_timeline_comes_back(qtbot, sit):
    panels = []
    for is_first in (True, False):
        sitting = sit()
        panel = TimelinePanel(sitting.viewer, sitting.workbench)
        qtbot.addWidget(panel)
        # So narrow that eight frames are worth zooming.
        panel.timeline.setFixedWidth(260)
        panel.show()
        panels.append(panel)
        if is_first:
            sitting.work()
            qtbot.waitUntil(lambda panel=panel: bool(panel.timeline.rows))
            panel.curves_box.setChecked(True)
            panel.exemplars_box.setChecked(True)
            qtbot.wait(20)
            panel.timeline.show_frames(1.5, 4.25)
            panel.timeline.select(2, 5)
            sitting.workbench.error_map.toggle()
            sitting.save()
        else:
            sitting.open()
    second = panels[-1]
    assert (second.timeline.view.first, second.timeline.view.span) == (1.5, 4.25)
    # The shown frame is outside, where a person left it: new marks are no reason to go there.
    sitting.workbench.review.toggle_lock([0], [OBJECT])
    qtbot.wait(20)
    assert (second.timeline.view.first, second.timeline.view.span) == (1.5, 4.25)
    assert sitting.workbench.review.selected_frames == [2, 3, 4]
    assert second.curves_box.isChecked()
    assert second.exemplars_box.isChecked()
    assert second.errors_box.isChecked()
    assert sitting.workbench.error_map.overlay in sitting.viewer.layers
    for panel in panels:
        panel.shut_down()


@pytest.mark.parametrize("colours", ["shuffled", "recoloured"])
def test_layers_and_viewer_look_as_before(sit, colours):
    first = sit()
    rough = first.work()
    if colours == "shuffled":
        rough.new_colormap(7)
    else:
        first.workbench.objects.recolour(OBJECT, (0.2, 0.4, 0.6, 1.0))
        first.workbench.objects.toggle_hidden(OBJECT)
    rough.contour, rough.brush_size, rough.mode, rough.selected_label = 2, 17, "erase", OBJECT
    first.viewer.layers["clip"].opacity = 0.8
    camera = first.viewer.scene.camera
    camera.center, camera.zoom = (0.0, 11.5, 20.25), 3.5
    first.save()
    assert not first.workbench.session.is_dirty
    camera.zoom = 4
    assert first.workbench.session.is_dirty
    first.workbench.session.save_now()
    second = sit()
    second.open()
    layer = second.viewer.layers["rough"]
    ids = np.arange(12)
    np.testing.assert_allclose(layer.colormap.map(ids), rough.colormap.map(ids))
    assert (layer.contour, layer.brush_size, str(layer.mode), layer.selected_label) == (2, 17, "erase", OBJECT)
    assert second.viewer.layers["clip"].opacity == 0.8
    assert second.viewer.scene.camera.center == (0.0, 11.5, 20.25)
    assert second.viewer.scene.camera.zoom == 4
    assert second.workbench.objects.is_hidden(OBJECT) == (colours == "recoloured")
    assert not second.workbench.session.is_dirty


def test_edits_are_taken_back_after_opening_as_before(sit):
    first = sit()
    rough = first.work()
    before = int(first.workbench.review.tracker.committed[2, 12, 15])
    first.save()
    for sitting in (first, second := sit()):
        if sitting is second:
            second.open()
        sitting.viewer.layers["rough"].data_setitem((np.array([2]), np.array([12]), np.array([15])), before)
    rows = [sitting.workbench.review.table.cells(OBJECT)[2] for sitting in (first, second)]
    assert not rows[0]["edited"]
    assert rows[0].tobytes() == rows[1].tobytes()
    np.testing.assert_array_equal(second.viewer.layers["rough"].data, rough.data)


def test_masks_that_change_while_they_are_read_are_saved_once_more(sit):
    first = sit()
    rough = first.work()
    session = first.workbench.session
    session.save()
    job = first.small_jobs.waiting.pop(0)
    rough.data_setitem((np.array([1]), np.array([3]), np.array([3])), OBJECT)
    job.run()
    assert not any(kind == "saved" for kind, _ in first.heard)
    first.small_jobs.run()
    assert first.heard[-1][0] == "saved"
    second = sit()
    second.open()
    np.testing.assert_array_equal(second.viewer.layers["rough"].data, rough.data)
    assert 1 in second.workbench.review.table.frames_with("edited", OBJECT)


def test_stroke_that_the_marks_did_not_know_yet_is_marked(sit):
    first = sit()
    rough = first.work()
    # A drag of the brush is told when the button is released.
    rough.data[7, 3, 3] = OBJECT
    first.save()
    second = sit()
    second.open()
    np.testing.assert_array_equal(second.viewer.layers["rough"].data, rough.data)
    assert sorted(second.workbench.review.table.frames_with("edited", OBJECT)) == [2, 7]


def test_edits_made_during_a_run_are_saved_before_it_ends(sit):
    first = sit()
    rough = first.work()
    first.workbench.refine(RefineParameters(exemplars=3))
    first.jobs.run_frames(2)
    rough.data_setitem((np.array([1]), np.array([3]), np.array([3])), OBJECT)
    first.save()
    second = sit()
    second.open()
    np.testing.assert_array_equal(second.viewer.layers["rough"].data, rough.data)
    assert not second.workbench.proposals.is_open


def test_saving_by_itself_goes_on_once_it_is_possible_again(qtbot, sit, video):
    first = sit()
    first.work()
    box = SessionBox(first.workbench.session)
    qtbot.addWidget(box)
    place = video.with_name("video.npy.appearrefine")
    place.write_text("in the way")
    first.save()
    assert box.saved_label.text().startswith("Not saved")
    place.unlink()
    first.save()
    assert box.saved_label.text().startswith("Saved beside the video")
    first.workbench.review.toggle_lock([1])
    assert first.workbench.session.is_dirty
    box._timer.timeout.emit()
    first.small_jobs.run()
    assert not first.workbench.session.is_dirty
    first.workbench.review.toggle_lock([1])
    box.shut_down()
    assert not first.workbench.session.is_dirty


def stroke(layer, frame):
    layer.data_setitem((np.array([frame]), np.array([1]), np.array([1])), OBJECT)


def test_work_is_saved_before_another_video_or_other_masks_are_chosen(qtbot, sit):
    first = sit()
    box = SessionBox(first.workbench.session)
    qtbot.addWidget(box)
    rough = first.work()
    first.save()
    stroke(rough, 7)
    other = first.viewer.add_labels(make_rough_masks(), name="other")
    first.workbench.choose_masks(other)
    first.small_jobs.run()
    second = sit()
    second.open()
    assert 7 in second.workbench.review.table.frames_with("edited", OBJECT)
    first.workbench.choose_masks(rough)
    first.small_jobs.run()
    stroke(rough, 1)
    first.workbench.choose_video(None)
    first.small_jobs.run()
    third = sit()
    third.open()
    assert {1, 7} <= third.workbench.review.table.frames_with("edited", OBJECT)
    box.shut_down()


def test_work_on_other_masks_is_kept_and_looking_replaces_nothing(sit, video):
    first = sit()
    first.work()
    first.save()
    other = first.viewer.add_labels(make_rough_masks(), name="other")
    first.workbench.choose_masks(other)
    first.small_jobs.run()
    first.workbench.review.go_to(3)
    assert not first.workbench.session.is_dirty
    stroke(other, 0)
    assert first.workbench.session.is_dirty
    first.save()
    assert video.with_name("video.npy.appearrefine.1").exists()
    stroke(other, 1)
    first.save()
    assert not video.with_name("video.npy.appearrefine.2").exists()


def test_session_of_masks_that_were_deleted_can_be_opened(sit):
    first = sit()
    rough = first.work()
    painted = rough.data.copy()
    first.save()
    first.viewer.layers.remove(rough)
    first.workbench.choose_masks(None)
    assert first.heard[-1] == ("found", True)
    first.open()
    np.testing.assert_array_equal(first.workbench.review.layer.data, painted)
    assert 2 in first.workbench.review.table.frames_with("edited", OBJECT)


def test_masks_of_another_video_do_not_get_into_its_session(sit, tmp_path):
    first = sit()
    first.work()
    path = tmp_path / "shorter.npy"
    np.save(path, make_video()[:5])
    shorter = first.viewer.add_image(np.load(path), name="shorter", rgb=True)
    shorter._set_source(shorter.source.model_copy(update={"path": str(path)}))
    first.workbench.choose_video(shorter)
    assert not first.workbench.session.can_save
    first.workbench.session.save_now()
    assert not path.with_name("shorter.npy.appearrefine").exists()
