"""The session of a video file: saved, found, opened exactly, warned about, never beside the samples."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import OBJECT, make_rough_masks, make_video, masks_of_what_changes, refine_by_brightness
from napari.components import ViewerModel

from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.files.samples import is_sample, sample_folder
from napari_appearrefine.plugin.controller import RefineController
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
        self.workbench = Workbench(self.viewer, runs, small_jobs.start)
        self.heard = []
        session = self.workbench.session
        session.found.connect(lambda is_there: self.heard.append(("found", is_there)))
        session.opened.connect(lambda layer, warnings: self.heard.append(("opened", warnings)))
        session.saved.connect(lambda folder: self.heard.append(("saved", folder)))
        session.failed.connect(lambda message: self.heard.append(("failed", message)))
        self.workbench.choose_video(image)

    def work(self):
        rough = self.viewer.add_labels(make_rough_masks(), name="rough")
        self.workbench.choose_masks(rough)
        self.small_jobs.run()
        rough.data_setitem((np.array([2]), np.array([12]), np.array([15])), OBJECT)
        self.workbench.review.toggle_lock([5], [OBJECT])
        self.workbench.review.toggle_ban([0], [OBJECT])
        self.workbench.objects.rename(OBJECT, "square")
        self.workbench.refine(RefineParameters(exemplars=3))
        self.jobs.run()
        self.workbench.proposals.accept()
        self.workbench.review.go_to(6)
        rough.opacity = 0.5
        return rough

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
    second.workbench.session.open()
    second.small_jobs.run()
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
    second.workbench.session.open()
    second.small_jobs.run()
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
    second.workbench.session.open()
    second.small_jobs.run()
    np.testing.assert_array_equal(second.viewer.layers["rough"].data, rough.data)
    assert sorted(second.workbench.review.table.frames_with("edited", OBJECT)) == [2, 7]


def test_changed_video_is_a_warning(sit, video):
    first = sit()
    first.work()
    first.save()
    np.save(video, make_video() // 2)
    second = sit()
    second.workbench.session.open()
    second.small_jobs.run()
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
    workbench = Workbench(model_viewer, controller, small_jobs.start)
    workbench.choose_video(model_viewer.layers["clip"])
    workbench.choose_masks(model_viewer.layers["rough"])
    small_jobs.run()
    assert not workbench.session.can_save
    assert is_sample(sample_folder("crossing") / "video.mp4")
    assert not is_sample("/somewhere/video.mp4")
