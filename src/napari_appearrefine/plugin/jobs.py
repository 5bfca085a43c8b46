"""The only maker of workers: runs the engine in a thread, on copies of arrays; also long work of the main thread."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from ..core.clip import Clip, FrameSource
from ..core.errors import UserError
from ..core.events import Event, FrameLabels, Progress, Report
from ..core.guidance import Guidance, MasksWithTruth
from ..core.labels import as_labels, check_masks, object_areas
from ..core.parameters import FlowMaskParameters, RefineParameters
from .layers import empty_labels
from .switching import brisk_switching

if TYPE_CHECKING:
    from ..engine.explanation import Explanation

_SECONDS_BETWEEN_PROGRESS = 0.05
_SECONDS_A_SLICE = 0.015
_EVENTS_AHEAD = 2
_LONGEST_WAIT = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """The copies of arrays that a run works with; comes before its first frame.

    Parameters
    ----------
    baseline : ndarray
        (T, Y, X) what the output held when the run began; the worker reads it, nobody writes it.
    output : ndarray or None
        (T, Y, X) data for a new layer, or None if the output is a layer that exists.
    """

    baseline: np.ndarray
    output: np.ndarray | None


@dataclass(frozen=True)
class Failure:
    """Why a run ended early: one sentence for the person, and the traceback as text if it was no user error."""

    message: str
    details: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a computation gave that is no run, or a part of it."""

    value: Any


JobEvent = Event | Prepared | Outcome | Failure
MakeEvents = Callable[[], Iterator[JobEvent]]
RefineEvents = Callable[[Clip, FrameSource, RefineParameters, str, Guidance], Iterator[Event]]
Explain = Callable[[Clip, FrameSource, int, Report, RefineParameters, Guidance], "Explanation"]
Follow = Callable[[Clip, FrameSource, Sequence[int]], dict[int, np.ndarray]]
FlowMaskEvents = Callable[[Clip, FlowMaskParameters], Iterator[Event]]


class Job(Protocol):
    """A run that was started."""

    def cancel(self) -> None:
        """Ask the run to stop at its next event; what it gave before stays valid."""

    def detach(self) -> None:
        """Cancel, and give no more events or end: whoever listened is going away."""


StartJob = Callable[[MakeEvents, Callable[[JobEvent], None], Callable[[], None]], Job]


def refine_copies(
    clip: Clip,
    masks: FrameSource,
    masks_name: str,
    output: FrameSource | None,
    parameters: RefineParameters,
    engine: RefineEvents,
    guidance: Guidance | None = None,
    rough: FrameSource | None = None,
) -> Iterator[JobEvent]:
    """Copy the masks of a layer, then refine the copy.

    Parameters
    ----------
    clip : Clip
        The video.
    masks : FrameSource
        (T, Y, X) data of the layer with the masks, which a person may go on editing.
    masks_name : str
        What to call the masks in messages.
    output : FrameSource or None
        Data of the layer that will be written to; None for a new layer; ``masks`` itself for
        refinement in place.
    parameters : RefineParameters
        Settings.
    engine : callable
        What refines.
    guidance : Guidance, optional
        What a person decided.
    rough : FrameSource, optional
        (T, Y, X) masks that the first run started from. This run starts from them too, with what a
        person drew since; so it depends on nothing else that earlier runs gave.

    Raises
    ------
    UserError
        If masks and clip do not belong together, or no mask holds an object.
    """
    check_masks(masks, clip, masks_name)
    copy = yield from _copied(masks, masks_name)
    if output is None:
        yield Prepared(copy, copy.copy())
    elif output is masks:
        yield Prepared(copy, None)
    else:
        yield Prepared((yield from _copied(output, masks_name)), None)
    marks = guidance or Guidance()
    source = copy if rough is None else MasksWithTruth(rough, copy, marks)
    yield from engine(clip, source, parameters, masks_name, marks)


def flow_mask_copies(
    clip: Clip, output: FrameSource | None, parameters: FlowMaskParameters, engine: FlowMaskEvents
) -> Iterator[JobEvent]:
    """Compute masks from motion for a new layer, or for a layer whose content is copied first.

    Raises
    ------
    UserError
        If the clip is too short for motion, or a setting is unusable.
    """
    if output is not None:
        yield Prepared((yield from _copied(output, clip.name)), None)
    prepared = output is not None
    for event in engine(clip, parameters):
        if isinstance(event, FrameLabels) and not prepared:
            shape = (len(clip), *clip.size)
            # A baseline of zeros that takes no memory.
            baseline = np.broadcast_to(np.zeros((), event.labels.dtype), shape)
            yield Prepared(baseline, np.zeros(shape, event.labels.dtype))
            prepared = True
        yield event


def outcome_of(compute: Callable[[], Any]) -> Iterator[JobEvent]:
    """Compute something small in the worker."""
    yield Outcome(compute())


def read_masks(source: FrameSource, name: str) -> Iterator[JobEvent]:
    """Copy masks and count the pixels of every object in every frame.

    Yields
    ------
    Progress, Outcome
        The outcome is (copy, areas): (T, Y, X) of the masks' dtype, and object id to (T,) pixels.

    Raises
    ------
    UserError
        If a value is negative or above 65535.
    """
    copy = np.zeros(tuple(int(length) for length in source.shape), source.dtype)
    for index in range(len(copy)):
        copy[index] = source[index]
        yield Progress("Reading masks", index + 1, len(copy))
    yield Outcome((copy, object_areas(copy, name)))


def start_job(make_events: MakeEvents, on_event: Callable[[JobEvent], None], on_end: Callable[[], None]) -> Job:
    """Run a generator of events in a worker thread.

    Parameters
    ----------
    make_events : callable
        Makes the generator; called in the thread.
    on_event : callable
        Called in the main thread with each event. An error is a :class:`Failure`, the last event.
    on_end : callable
        Called in the main thread when the thread is done, after all events.
    """
    return _WorkerJob(make_events, on_event, on_end)


class Slices(Protocol):
    """Work of the main thread that was started and goes on a few milliseconds at a time."""

    def finish(self) -> None:
        """Do the rest now."""

    def stop(self) -> None:
        """Do no more, and tell nobody of the end."""


RunInSlices = Callable[[Iterator[object], Callable[[], None]], Slices]


def run_in_slices(steps: Iterator[object], on_end: Callable[[], None]) -> Slices:
    """Run a generator in the main thread, so that the window stays alive; short work is done at once.

    Parameters
    ----------
    steps : iterator
        Does a small part of the work with each value.
    on_end : callable
        Called when there is no more to do.
    """
    return _Slices(steps, on_end)


class _Slices:
    def __init__(self, steps: Iterator[object], on_end: Callable[[], None]) -> None:
        self._steps = steps
        self._on_end = on_end
        self._timer: Any = None
        self._is_over = False
        self._go_on()
        if not self._is_over:
            self._begin_to_wait()

    def finish(self) -> None:
        while not self._is_over:
            self._go_on()

    def stop(self) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.stop()

    def _begin_to_wait(self) -> None:
        from qtpy.QtCore import QTimer

        self._timer = QTimer()
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._go_on)
        self._timer.start()

    def _go_on(self) -> None:
        started = time.perf_counter()
        while not self._is_over and time.perf_counter() - started < _SECONDS_A_SLICE:
            try:
                next(self._steps)
            except StopIteration:
                self.stop()
                self._on_end()
            except BaseException:
                self.stop()
                raise


class _WorkerJob:
    def __init__(
        self, make_events: MakeEvents, on_event: Callable[[JobEvent], None], on_end: Callable[[], None]
    ) -> None:
        from napari.qt.threading import create_worker

        self._cancelled = threading.Event()
        self._on_event: Callable[[JobEvent], None] | None = on_event
        self._on_end: Callable[[], None] | None = on_end
        self._events = _guarded(make_events, self._cancelled)
        self._room = threading.Semaphore(_EVENTS_AHEAD)

        def computing_masks() -> Generator[JobEvent, None, None]:
            for event in self._events:
                # Results read from disk come faster than the window can show them, and all that have arrived are
                # dealt with before it does anything else. A window that is closing takes none, so not for ever.
                self._room.acquire(timeout=_LONGEST_WAIT)
                yield event

        self._worker = create_worker(computing_masks)
        self._worker.yielded.connect(self._relay)
        self._worker.finished.connect(self._finish)
        self._worker.start()

    def cancel(self) -> None:
        # Not worker.quit(), which would leave the generator open: closed in its own thread, the
        # engine's context managers end where they began.
        self._cancelled.set()

    def detach(self) -> None:
        self._on_event = self._on_end = None
        self.cancel()

    def _relay(self, event: JobEvent) -> None:
        if isinstance(event, Failure) and event.details:
            _log.error("%s\n%s", event.message, event.details)
        try:
            if self._on_event is not None:
                self._on_event(event)
        finally:
            self._room.release()

    def _finish(self) -> None:
        # Open still if napari itself has stopped the worker, as it does when a window closes.
        self._events.close()
        on_end, self._on_end, self._on_event = self._on_end, None, None
        if on_end is not None:
            on_end()


def _guarded(make_events: MakeEvents, cancelled: threading.Event) -> Generator[JobEvent, None, None]:
    failure = None
    try:
        # Saving takes the interpreter's lock from the window as much as computing does.
        with brisk_switching(), closing(cast(Any, make_events())) as events:
            for event in _not_too_often(events):
                if cancelled.is_set():
                    return
                yield event
                if cancelled.is_set():
                    return
    except Exception as error:
        # As a value, because napari's generator workers swallow RuntimeError, torch's out-of-memory
        # among them; as text, because a traceback keeps the tensors of its frames alive.
        failure = failure_of(error)
    if failure is not None:
        yield failure


def _not_too_often(events: Iterator[JobEvent]) -> Iterator[JobEvent]:
    shown, stage = 0.0, None
    for event in events:
        if isinstance(event, Progress):
            now = time.monotonic()
            if event.stage == stage and event.done < event.total and now - shown < _SECONDS_BETWEEN_PROGRESS:
                continue
            shown, stage = now, event.stage
        yield event


def failure_of(error: Exception) -> Failure:
    """Turn an error into a sentence that a person can act on."""
    if isinstance(error, UserError):
        return Failure(str(error))
    text = " ".join(str(error).split())
    # torch has its own class on a GPU and a plain RuntimeError on the CPU; neither may be imported here.
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "not enough memory" in text.lower():
        sentence = (
            "The memory is used up; close other programs, choose the device cpu, or use a smaller or shorter video."
        )
    elif isinstance(error, OSError) and error.strerror:
        sentence = f"{error.filename or 'A file'} cannot be used ({error.strerror.lower()}); check it and try again."
    else:
        sentence = f"The computation stopped with an unexpected {type(error).__name__} ({text}); please report this."
    return Failure(sentence, "".join(traceback.format_exception(error)))


def _copied(source: FrameSource, name: str) -> Generator[JobEvent, None, np.ndarray]:
    copy = empty_labels(source)
    for index in range(len(copy)):
        copy[index] = as_labels(source[index], name, index)
        yield Progress("Reading masks", index + 1, len(copy))
    return copy
