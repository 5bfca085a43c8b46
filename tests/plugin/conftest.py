"""A bright square over noise, a model that finds it by its brightness, and a job that runs when the test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_appearrefine.core.clip import Clip, FrameSource
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.events import Event, FrameLabels, Progress
from napari_appearrefine.core.guidance import Guidance
from napari_appearrefine.core.labels import labels_of
from napari_appearrefine.core.parameters import FlowMaskParameters, RefineParameters
from napari_appearrefine.engine.interface import ClipInputs
from napari_appearrefine.engine.refinement import refine
from napari_appearrefine.plugin.controller import RefineController
from napari_appearrefine.plugin.jobs import JobEvent, MakeEvents, failure_of
from napari_appearrefine.plugin.proposal_controller import ProposalController
from napari_appearrefine.plugin.review_controller import ReviewController

FRAMES, HEIGHT, WIDTH = 8, 40, 60
OBJECT = 3


def square(frame: int) -> tuple[slice, slice]:
    return slice(8, 24), slice(4 + 4 * frame, 20 + 4 * frame)


def make_video() -> np.ndarray:
    ground = np.random.default_rng(0).integers(20, 60, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    video = np.repeat(ground[None], FRAMES, 0)
    for frame in range(FRAMES):
        video[frame][square(frame)] = 220
    return video


def make_truth() -> np.ndarray:
    truth = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    for frame in range(FRAMES):
        truth[frame][square(frame)] = OBJECT
    return truth


def make_rough_masks() -> np.ndarray:
    """The truth, with frame 2 empty, frame 5 shifted away and half of frame 6 missing."""
    masks = make_truth()
    masks[2] = 0
    masks[5] = np.roll(masks[5], 12, 0)
    masks[6, :16] = 0
    return masks


class BrightnessModel:
    """Takes pixels that are as bright as an object is in its exemplars; scores a mask by how even it is."""

    name = "brightness"
    spreads_exemplars = True
    most_rounds = 1

    def fitted_to(self, size, areas):
        return self

    def features(self, image: np.ndarray) -> np.ndarray:
        return image.astype(np.float32).mean(2)

    def score(self, inputs: ClipInputs) -> Generator[Progress, None, np.ndarray]:
        scores = np.full((len(inputs.clip), len(inputs.object_ids)), -1e3, np.float32)
        for frame in range(len(inputs.clip)):
            for column, plane in enumerate(inputs.planes(frame)):
                if plane.any():
                    scores[frame, column] = -inputs.features(frame)[plane].std()
            yield Progress("Scoring masks", frame + 1, len(inputs.clip))
        return scores

    def confirmed(self, inputs, exemplars):
        return exemplars

    def correct(
        self, inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> Iterator[FrameLabels]:
        levels = {}
        for object_id, frames in exemplars.items():
            inside = [inputs.features(frame)[inputs.planes(frame, [object_id])[0]].mean() for frame in frames]
            levels[object_id] = float(np.median(inside))
        for frame in range(len(inputs.clip)):
            planes = np.stack([np.abs(inputs.features(frame) - level) < 20 for level in levels.values()])
            yield FrameLabels(frame, labels_of(planes, list(levels)))


def refine_by_brightness(
    clip: Clip, masks: FrameSource, parameters: RefineParameters, masks_name: str, guidance: Guidance
) -> Iterator[Event]:
    model = BrightnessModel()
    yield from refine(clip, masks, parameters, model=model, masks_name=masks_name, guidance=guidance)


def masks_of_what_changes(clip: Clip, parameters: FlowMaskParameters) -> Iterator[Event]:
    if len(clip) < 2:
        raise UserError(f"{clip.name} has one frame; motion needs at least two.")
    for frame in range(len(clip)):
        other = frame - 1 if frame else 1
        moved = np.abs(clip.rgb(frame).astype(int) - clip.rgb(other)).max(2) > 100
        yield FrameLabels(frame, (moved & (clip.rgb(frame)[..., 0] > 200)).astype(np.uint8))
        yield Progress("Finding what moves", frame + 1, len(clip))


class ManualJobs:
    """Starts jobs that go on only when the test says so, in the test's own thread."""

    def __init__(self) -> None:
        self.events: Iterator[JobEvent] = iter(())
        self.cancelled = threading.Event()
        self.closed = False

    def start(self, make_events: MakeEvents, on_event: Callable[[JobEvent], None], on_end: Callable[[], None]) -> Any:
        self.cancelled.clear()
        self.closed = False
        self.events = make_events()
        self._on_event, self._on_end = on_event, on_end
        return self

    def cancel(self) -> None:
        self.cancelled.set()

    def detach(self) -> None:
        self._on_event, self._on_end = lambda event: None, lambda: None
        self.cancelled.set()

    def run(self, until: Callable[[JobEvent], bool] = lambda event: False) -> None:
        """Run to the end, or to the first event for which ``until`` holds."""
        while not self.cancelled.is_set():
            try:
                event = next(self.events)
            except StopIteration:
                break
            except UserError as error:
                self._on_event(failure_of(error))
                break
            self._on_event(event)
            if until(event):
                return
        self.events.close()
        self.closed = True
        self._on_end()

    def run_frames(self, count: int) -> None:
        """Run until as many frames more are finished."""
        for _ in range(count):
            self.run(until=lambda event: isinstance(event, FrameLabels))


class QueuedJobs:
    """Starts any number of jobs, which all run to their ends when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[ManualJobs] = []

    def start(self, make_events: MakeEvents, on_event: Callable[[JobEvent], None], on_end: Callable[[], None]) -> Any:
        self.waiting.append(ManualJobs())
        return self.waiting[-1].start(make_events, on_event, on_end)

    def run(self) -> None:
        while self.waiting:
            self.waiting.pop(0).run()


class ManualSlices:
    """Does the work of the main thread one step at a time, when the test says so; all of it unless told otherwise."""

    def __init__(self) -> None:
        self.waits = False

    def start(self, steps: Iterator[object], on_end: Callable[[], None]) -> Any:
        self._steps, self._on_end = steps, on_end
        self._is_over = False
        if not self.waits:
            self.finish()
        return self

    def step(self) -> None:
        if not self._is_over:
            try:
                next(self._steps)
            except StopIteration:
                self.stop()
                self._on_end()

    def finish(self) -> None:
        while not self._is_over:
            self.step()

    def stop(self) -> None:
        self._is_over = True


@pytest.fixture
def manual_jobs() -> ManualJobs:
    return ManualJobs()


@pytest.fixture
def model_viewer() -> ViewerModel:
    viewer = ViewerModel()
    viewer.add_image(make_video(), name="clip", rgb=True, axis_labels=("t", "y", "x"))
    viewer.add_labels(make_rough_masks(), name="rough")
    return viewer


@pytest.fixture
def controller(model_viewer: ViewerModel, manual_jobs: ManualJobs) -> RefineController:
    controller = RefineController(model_viewer, manual_jobs.start, refine_by_brightness, masks_of_what_changes)
    controller.choose_video(model_viewer.layers["clip"])
    controller.choose_masks(model_viewer.layers["rough"])
    return controller


@pytest.fixture
def small_jobs() -> QueuedJobs:
    return QueuedJobs()


@pytest.fixture
def slices() -> ManualSlices:
    return ManualSlices()


@pytest.fixture
def review(model_viewer: ViewerModel, small_jobs: QueuedJobs, slices: ManualSlices) -> ReviewController:
    """The rough masks under review, read already."""
    review = ReviewController(model_viewer, small_jobs.start, slices.start)
    review.choose_masks(model_viewer.layers["rough"])
    small_jobs.run()
    return review


@pytest.fixture
def proposals(
    model_viewer: ViewerModel, controller: RefineController, review: ReviewController, slices: ManualSlices
) -> ProposalController:
    return ProposalController(model_viewer, controller, review, slices.start)
