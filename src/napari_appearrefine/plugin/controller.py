"""What the panel does, without widgets: which layers are chosen, what runs, what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from psygnal import Signal

from ..core.clip import Clip, FrameSource
from ..core.errors import UserError
from ..core.events import FrameLabels, Progress, Report
from ..core.guidance import Guidance
from ..core.parameters import FlowMaskParameters, RefineParameters
from . import jobs
from .engine_calls import Refiner, flow_mask_events
from .layers import (
    MOTION_SUFFIX,
    PROPOSAL_SUFFIX,
    REFINED_SUFFIX,
    FrameWriter,
    ProposalWriter,
    WholeShapeLayers,
    Written,
    add_unselected,
    can_hold,
    clip_of,
    is_refined,
    make_labels,
    masks_of,
)
from .time_left import TimeLeft
from .viewing import is_shown


class State(Enum):
    """Where the work stands."""

    NOTHING_LOADED = "nothing loaded"
    READY = "ready"
    RUNNING = "running"
    FINISHED = "finished"


class Task(Enum):
    """What a run does."""

    REFINE = "refine"
    PROPOSE = "propose"
    FIND_MASKS = "find masks"


@dataclass
class RunResult:
    """What came of a run.

    Parameters
    ----------
    task : Task
        What was done.
    frames : int
        Frames of the video.
    layer : Labels or None
        The layer with the result; None if no frame was finished.
    baseline : ndarray or None
        (T, Y, X) what the masks, or the layer with the result, held when the run began.
    report : Report or None
        The engine's report; None if the run did not come to its end.
    finished : set of int
        Frames that were written.
    kept : list of int
        Frames that a person edited during the run and that were left alone.
    cancelled, undone : bool
        Whether the run was stopped by Cancel (or the loss of a layer), or by undoing it.
    """

    task: Task
    frames: int
    layer: Labels | None = None
    baseline: np.ndarray | None = None
    report: Report | None = None
    finished: set[int] = field(default_factory=set)
    kept: list[int] = field(default_factory=list)
    cancelled: bool = False
    undone: bool = False


@dataclass
class _Run:
    result: RunResult
    inputs: list[Layer]
    name: str
    like: Layer
    role: str
    time_left: TimeLeft
    aside: bool = False
    job: jobs.Job | None = None
    prepared: jobs.Prepared | None = None
    writer: FrameWriter | ProposalWriter | None = None
    shapes: WholeShapeLayers | None = None
    failure: str | None = None
    closed: bool = False
    """No frame is written any more: the run was undone, or its layer is gone."""


class RefineController:
    """Owns the choice of layers and the one run there may be; could live without the panel.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where layers are taken from and results are added.
    start_job, refine_events, flow_mask_events : callable, optional
        What starts a run, and what the runs compute; the engine by default, see :mod:`plugin.jobs`.
    """

    state_changed = Signal(State)
    progress_changed = Signal(Progress, object)
    """The progress, and the seconds left of its stage (or None)."""
    output_opened = Signal(RunResult)
    """The first frame is finished and has a layer to go to."""
    frame_finished = Signal(int)
    run_finished = Signal(RunResult)
    run_failed = Signal(str)
    """One sentence for the person."""

    def __init__(
        self,
        viewer: Any,
        start_job: jobs.StartJob = jobs.start_job,
        refine_events: jobs.RefineEvents | None = None,
        flow_mask_events: jobs.FlowMaskEvents = flow_mask_events,
    ) -> None:
        self._viewer = viewer
        self._start_job = start_job
        self._refine_events = refine_events or Refiner()
        self._flow_mask_events = flow_mask_events
        self._state = State.NOTHING_LOADED
        self._video: Image | None = None
        self._masks: Labels | None = None
        self._run: _Run | None = None
        viewer.layers.events.removed.connect(self._on_layer_removed)

    @property
    def state(self) -> State:
        """Where the work stands."""
        return self._state

    @property
    def video(self) -> Image | None:
        """The chosen video."""
        return self._video

    @property
    def masks(self) -> Labels | None:
        """The chosen masks."""
        return self._masks

    @property
    def can_refine(self) -> bool:
        """Whether a refinement may be started now."""
        return self._video is not None and self._masks is not None and self._run is None

    @property
    def can_find_masks(self) -> bool:
        """Whether masks from motion may be started now."""
        return self._video is not None and self._run is None

    def writes_to(self, layer: Labels) -> bool:
        """Whether the run writes its result into this layer."""
        return self._run is not None and self._run.result.layer == layer

    def choose_video(self, layer: Image | None) -> None:
        """Choose the Image layer to work on."""
        if layer != self._video:
            self._video = layer
            self._settle()

    def choose_masks(self, layer: Labels | None) -> None:
        """Choose the Labels layer to refine."""
        if layer != self._masks:
            self._masks = layer
            self._settle()

    def output_of_refinement(self) -> tuple[str, Labels | None]:
        """Return the name of the layer that a refinement would write to, and the layer if it exists.

        A layer that is itself the result of a refinement is refined in place. Other masks keep
        their pixels; the result goes into "<name> refined".
        """
        if self._masks is None:
            return "", None
        source = masks_of(self._masks)
        needed = (tuple(source.shape), np.dtype(np.uint8 if np.dtype(source.dtype).itemsize == 1 else np.uint16))
        if is_refined(self._masks) and can_hold(self._masks, *needed):
            return self._masks.name, self._masks
        name = self._masks.name + REFINED_SUFFIX
        return name, self._layer_that_can_hold(name, *needed)

    def refine(self, parameters: RefineParameters, guidance: Guidance | None = None) -> None:
        """Start to refine the chosen masks, by what a person decided; an unusable choice becomes ``run_failed``."""
        choice = self._usable_choice()
        if choice is None:
            return
        video, masks, clip, source = choice
        name, output = self.output_of_refinement()
        target = None if output is None else source if output == masks else output.data
        run = _Run(RunResult(Task.REFINE, len(clip), output), [video, masks], name, masks, "refined", TimeLeft())
        name, engine = masks.name, self._refine_events
        self._start(run, lambda: jobs.refine_copies(clip, source, name, target, parameters, engine, guidance))

    def propose(
        self, parameters: RefineParameters, guidance: Guidance | None = None, rough: FrameSource | None = None
    ) -> None:
        """Start to refine the chosen masks into a hidden layer, "<name> proposal", that a person decides about.

        An unusable choice becomes ``run_failed``.

        Parameters
        ----------
        parameters : RefineParameters
            Settings.
        guidance : Guidance, optional
            What a person decided.
        rough : FrameSource, optional
            (T, Y, X) masks to start from instead of the chosen ones; what a person drew is added.
        """
        choice = self._usable_choice()
        if choice is None:
            return
        video, masks, clip, source = choice
        name, engine = masks.name, self._refine_events
        result = RunResult(Task.PROPOSE, len(clip))
        run = _Run(result, [video, masks], name + PROPOSAL_SUFFIX, masks, "proposal", TimeLeft())
        self._start(run, lambda: jobs.refine_copies(clip, source, name, None, parameters, engine, guidance, rough))

    def find_masks(self, parameters: FlowMaskParameters, aside: bool = False) -> None:
        """Start to compute masks of what moves in the chosen video; an unusable video becomes ``run_failed``.

        With ``aside`` they go into a new layer that is not selected, not into that of an earlier run.
        """
        if not self.can_find_masks:
            return
        video = self._video
        assert video is not None
        try:
            clip = clip_of(video)
        except UserError as error:
            self.run_failed.emit(str(error))
            return
        name = video.name + MOTION_SUFFIX
        there = self._layer_that_can_hold(name, (len(clip), *clip.size), np.dtype(np.uint8))
        output = None if aside else there
        target = None if output is None else output.data
        result = RunResult(Task.FIND_MASKS, len(clip), output)
        run = _Run(result, [video], name, video, "motion", TimeLeft(), aside)
        self._start(run, lambda: jobs.flow_mask_copies(clip, target, parameters, self._flow_mask_events))

    def cancel(self) -> None:
        """Stop the run; frames that are finished stay."""
        if self._run is not None and self._run.job is not None:
            self._run.result.cancelled = True
            self._run.job.cancel()

    def shut_down(self) -> None:
        """Stop the run and let go of the viewer; the controller is of no use afterwards."""
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
        if self._run is not None and self._run.job is not None:
            self._run.job.detach()
        self._run = None
        self._video = self._masks = None

    def _usable_choice(self) -> tuple[Image, Labels, Clip, FrameSource] | None:
        if self._video is None or self._masks is None or self._run is not None:
            return None
        try:
            return self._video, self._masks, clip_of(self._video), masks_of(self._masks)
        except UserError as error:
            self.run_failed.emit(str(error))
            return None

    def _start(self, run: _Run, make_events: Callable[[], Any]) -> None:
        self._run = run
        self._settle()
        run.job = self._start_job(make_events, self._on_event, self._on_end)

    def _on_event(self, event: jobs.JobEvent) -> None:
        run = self._run
        assert run is not None
        if isinstance(event, Progress):
            self.progress_changed.emit(event, run.time_left.after(event))
        elif isinstance(event, jobs.Prepared):
            run.prepared = event
        elif isinstance(event, FrameLabels):
            self._write(run, event)
        elif isinstance(event, Report):
            run.result.report = event
        elif isinstance(event, jobs.Failure):
            run.failure = event.message

    def _write(self, run: _Run, event: FrameLabels) -> None:
        if run.closed:
            return
        writer = run.writer or self._open_output(run)
        try:
            outcome = writer.write(event.frame, event.labels)
        except UserError as error:
            run.failure, run.closed = str(error), True
            self.cancel()
            return
        if outcome is Written.REFUSED:
            run.result.undone = run.closed = True
            self.cancel()
            return
        if outcome is Written.WRITTEN:
            run.result.finished.add(event.frame)
        elif event.frame not in run.result.kept:
            run.result.kept.append(event.frame)
            run.result.finished.discard(event.frame)
        if event.whole:
            assert run.result.layer is not None
            run.shapes = run.shapes or WholeShapeLayers(self._viewer, run.result.layer)
            run.shapes.write(event)
        self.frame_finished.emit(event.frame)

    def _open_output(self, run: _Run) -> FrameWriter | ProposalWriter:
        assert run.prepared is not None
        layer = run.result.layer
        if layer is None:
            assert run.prepared.output is not None
            layer = make_labels(run.prepared.output, run.name, run.like, run.role)
            self._add(run, layer)
            run.result.layer = layer
        run.result.baseline = run.prepared.baseline
        target = layer

        def shown(frame: int) -> bool:
            return is_shown(self._viewer, target, frame)

        if run.result.task is Task.PROPOSE:
            run.writer = ProposalWriter(layer, shown)
        else:
            run.writer = FrameWriter(layer, run.prepared.baseline, shown)
        self.output_opened.emit(run.result)
        return run.writer

    def _add(self, run: _Run, layer: Labels) -> None:
        # Two layers of the same colours on top of each other cannot be told apart.
        if run.result.task is Task.PROPOSE:
            layer.visible = False
        if run.aside or run.result.task is Task.PROPOSE:
            add_unselected(self._viewer, layer)
            return
        self._viewer.add_layer(layer)
        if run.result.task is Task.REFINE:
            run.like.visible = False

    def _on_end(self) -> None:
        run, self._run = self._run, None
        assert run is not None
        if run.writer is not None:
            run.writer.layer.refresh(extent=False)
        if run.failure is None:
            self._settle(State.FINISHED)
            self.run_finished.emit(run.result)
        else:
            self._settle()
            self.run_failed.emit(run.failure)

    def _on_layer_removed(self, event: Any) -> None:
        run = self._run
        if run is not None and event.value in [*run.inputs, run.result.layer]:
            if event.value == run.result.layer:
                run.closed, run.result.layer = True, None
            self.cancel()
        if event.value == self._video:
            self.choose_video(None)
        if event.value == self._masks:
            self.choose_masks(None)

    def _layer_that_can_hold(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Labels | None:
        return next(
            (layer for layer in self._viewer.layers if layer.name == name and can_hold(layer, shape, dtype)), None
        )

    def _settle(self, otherwise: State = State.READY) -> None:
        if self._run is not None:
            state = State.RUNNING
        elif self._video is None:
            state = State.NOTHING_LOADED
        else:
            state = otherwise
        if state != self._state:
            self._state = state
            self.state_changed.emit(state)
