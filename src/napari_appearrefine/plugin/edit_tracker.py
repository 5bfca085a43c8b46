"""Notices what a person painted, takes it for truth, and follows napari's undo: marks and pixels go together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from ..core.patches import LabelPatch
from ..core.proposal import touched_objects
from ..core.review import ReviewTable
from ..core.review_cells import CELL, Edit, Source
from . import jobs
from .undo_step import UndoStep

_DECISIONS = ("locked", "exemplar")


def _nothing() -> None:
    """Tell nobody."""


@dataclass(eq=False)
class Step:
    """What was done at once: pixels that the plugin wrote, perhaps none, and marks, as one step of napari's history.

    Parameters
    ----------
    undo_step : UndoStep
        Its place in the history, and what writes the pixels.
    on_undone, on_redone : callable
        Told when the step is taken back or made again.
    """

    undo_step: UndoStep
    on_undone: Callable[[], None]
    on_redone: Callable[[], None]
    old: list[LabelPatch] = field(default_factory=list)
    new: list[LabelPatch] = field(default_factory=list)
    old_committed: list[LabelPatch] = field(default_factory=list)
    new_committed: list[LabelPatch] = field(default_factory=list)
    inverse: Edit = Edit("")

    def was_undone(self) -> bool:
        """Whether a person took the step back; then nothing more may be written."""
        return self.undo_step.was_undone()


class EditTracker:
    """Keeps a review table in step with the pixels of a Labels layer.

    ``committed`` is what the layer would hold if nobody had painted: the masks as they were loaded, and
    what the plugin wrote since. An object is edited in a frame as long as its pixels differ from it, so
    undoing a stroke, by whatever way, takes the mark back.

    Parameters
    ----------
    layer : Labels
        The layer; its data is a writable (T, Y, X) array.
    table : ReviewTable
        The table of its objects.
    committed : ndarray
        (T, Y, X) copy of the layer's data; the tracker takes it over.
    frame_shown : callable
        Returns the frame of the layer that is on the screen.
    in_slices : callable, optional
        What does long work in the main thread; see :mod:`plugin.jobs`.
    """

    changed = Signal(object)
    """Marks or pixels changed in these frames (a set of int)."""
    marked = Signal()
    """Marks changed, and no pixels."""
    moved = Signal(str)
    """A person took back a step, or made it again: a sentence on what that was."""

    def __init__(
        self,
        layer: Labels,
        table: ReviewTable,
        committed: np.ndarray,
        frame_shown: Callable[[], int],
        in_slices: jobs.RunInSlices = jobs.run_in_slices,
    ) -> None:
        self.layer = layer
        self.table = table
        self.committed = committed
        self._frame_shown = frame_shown
        self._in_slices = in_slices
        self._slices: jobs.Slices | None = None
        self._last_shown = frame_shown()
        self._touched: dict[int, dict[int, np.void | None]] = {}
        self._painted: set[int] = set()
        self._about_to_change: set[int] = set()
        self._done: list[Step] = []
        self._undone: list[Step] = []
        self._open: Step | None = None
        self._ignores_events = False
        layer.events.paint.connect(self._on_paint)
        layer.events.labels_update.connect(self._on_drawn)
        layer.events.set_data.connect(self._on_set_data)
        layer.events.visible.connect(self._on_visible)

    def let_go(self) -> None:
        """Watch the layer no more, and write no more."""
        self.stop()
        self.layer.events.paint.disconnect(self._on_paint)
        self.layer.events.labels_update.disconnect(self._on_drawn)
        self.layer.events.set_data.disconnect(self._on_set_data)
        self.layer.events.visible.disconnect(self._on_visible)
        for step in (*self._done, *self._undone):
            step.undo_step.withdraw()

    @property
    def is_writing(self) -> bool:
        """Whether a step was begun and is not ended: pixels and what is known of them may be apart."""
        return self._open is not None

    def begin(self, on_undone: Callable[[], None], on_redone: Callable[[], None]) -> Step:
        """Begin a step that is written bit by bit, after the one before is finished; :meth:`end` it in any case."""
        self.finish()
        self._open = self._begun(on_undone, on_redone)
        return self._open

    def decide(
        self, edit: Edit, on_undone: Callable[[], None] = _nothing, on_redone: Callable[[], None] = _nothing
    ) -> None:
        """Change marks alone, as a step of its own.

        Parameters
        ----------
        edit : Edit
            What to change, only the fields that were decided about; its title says what that was.
        on_undone, on_redone : callable, optional
            Told before the step is taken back or made again.
        """
        step = self._begun(on_undone, on_redone)
        step.inverse = self.table.apply(edit)
        self.marked.emit()

    def work(self, steps: Iterator[object], on_end: Callable[[], None]) -> None:
        """Let the step that was begun be written by a generator, a few milliseconds at a time.

        Parameters
        ----------
        steps : iterator
            Calls :meth:`grow` between its values.
        on_end : callable
            Called when there is no more; calls :meth:`end`.
        """
        slices = self._in_slices(steps, on_end)
        self._slices = slices if self.is_writing else None

    def finish(self) -> None:
        """Write now what of a step is not written yet."""
        if self._slices is not None:
            self._slices.finish()

    def stop(self) -> None:
        """Write no more of a step, because the pixels are others now."""
        if self._slices is not None:
            self._slices.stop()
        self._open = self._slices = None

    def grow(
        self,
        step: Step,
        patches: Iterable[LabelPatch],
        edit: Edit | None = None,
        committed: Iterable[LabelPatch] | None = None,
        refresh: bool = False,
    ) -> None:
        """Write more pixels and marks of a step, together.

        Parameters
        ----------
        step : Step
            The step, which was not undone.
        patches : iterable of LabelPatch
            What to write, at most one for each frame.
        edit : Edit, optional
            What it means for the table.
        committed : iterable of LabelPatch, optional
            What becomes of the masks as they would be if nobody had painted, if that is another change.
        refresh : bool
            Whether to draw it at once, because its frame is on the screen.
        """
        new = [patch for patch in patches if len(patch)]
        new_committed = new if committed is None else [patch for patch in committed if len(patch)]
        with self._not_noticing():
            step.old += step.undo_step.write(new, refresh)
        step.new += new
        step.old_committed += [patch.apply(self.committed) for patch in new_committed]
        step.new_committed += new_committed
        if edit is not None:
            step.inverse = self.table.apply(edit).then(step.inverse)
        self._settle({patch.frame for patch in (*new, *new_committed)})

    def end(self, step: Step) -> None:
        """Show what a step wrote, and tell about it."""
        self._open = self._slices = None
        with self._not_noticing():
            self.layer.refresh(extent=False)
        self.changed.emit({patch.frame for patch in (*step.new, *step.new_committed)})

    def painted_cells(self) -> dict[str, np.ndarray]:
        """Return what is known of each mask that a person edited as it was before: plain arrays for a session."""
        entries = [(frame, key, cell) for frame, known in self._touched.items() for key, cell in known.items()]
        cells = np.zeros(len(entries), CELL)
        for place, (_, _, cell) in enumerate(entries):
            if cell is not None:
                cells[place] = cell
        return {
            "painted_frames": np.array([frame for frame, _, _ in entries], np.int64),
            "painted_objects": np.array([key for _, key, _ in entries], np.int64),
            "painted_is_new": np.array([cell is None for _, _, cell in entries], np.bool_),
            "painted_cells": cells,
        }

    def take_painted_cells(self, stored: Mapping[str, np.ndarray]) -> None:
        """Know of edited masks what :meth:`painted_cells` told."""
        names = ("painted_frames", "painted_objects", "painted_is_new", "painted_cells")
        for frame, key, is_new, cell in zip(*(stored[name] for name in names), strict=True):
            self._touched.setdefault(int(frame), {})[int(key)] = None if is_new else cell.copy()
            self._painted.add(int(frame))

    def draw(self, patch: LabelPatch) -> None:
        """Write pixels in a person's name: they count as painted, and undo takes them back."""
        UndoStep(self.layer).write([patch], refresh=True)
        self.check([patch.frame])

    def check(self, frames: Iterable[int]) -> None:
        """Compare frames with what was committed and set or take back the marks of a person's edits."""
        changed = {frame for frame in list(frames) if self._check_frame(frame)}
        if changed:
            self.changed.emit(changed)

    def follow_history(self) -> None:
        """Take note of what was undone or redone; napari says nothing of it while the layer is hidden."""
        self._follow_steps()
        # A stroke that came or went may be in a frame that is not shown.
        self.check({self._frame_shown(), *self._painted})

    def _check_frame(self, frame: int) -> bool:
        now = self.layer.data[frame]
        known = self._touched.get(frame, {})
        touched = touched_objects(self.committed[frame], now)
        for object_id in touched:
            if object_id not in known:
                known[object_id] = self._mark_edited(object_id, frame)
            self._set(object_id, frame, present=bool((now == object_id).any()))
        for object_id in set(known) - set(touched):
            self._take_back(object_id, frame, known.pop(object_id))
        if known:
            self._touched[frame] = known
            self._painted.add(frame)
            return True
        return self._touched.pop(frame, None) is not None

    def _mark_edited(self, object_id: int, frame: int) -> np.void | None:
        is_new = object_id not in self.table.object_ids
        if is_new:
            self.table.apply(self.table.added(object_id, Source.PERSON))
        before = None if is_new else self.table.cells(object_id)[frame].copy()
        self.table.apply(self.table.edited([object_id], [frame]))
        return before

    def _take_back(self, object_id: int, frame: int, cell: np.void | None) -> None:
        if object_id not in self.table.object_ids:
            return
        if cell is not None:
            self._set(object_id, frame, **{name: cell[name] for name in CELL.names or () if name not in _DECISIONS})
            return
        self._set(object_id, frame, edited=False, accepted=False, present=False)
        if not self.table.cells(object_id)["present"].any():
            self.table.apply(self.table.deleted(object_id))

    def _set(self, object_id: int, frame: int, **values: Any) -> None:
        self.table.apply(self.table.set("Edit masks", [object_id], [frame], **values))

    def _on_paint(self, event: Any) -> None:
        # A stroke of the mouse is in the data by now; of a change that a program made napari tells first.
        if not self._ignores_events:
            self._about_to_change |= _frames_of(event.value, self._frame_shown())
            self._painted |= self._about_to_change
            self.check(self._about_to_change)

    def _on_drawn(self, event: Any = None) -> None:
        if self._about_to_change and not self._ignores_events:
            frames, self._about_to_change = self._about_to_change, set()
            self.check(frames)

    def _on_set_data(self, event: Any = None) -> None:
        # Undo and redo say nothing else. Going to another frame says the same and comes far more often.
        shown = self._frame_shown()
        moved, self._last_shown = shown != self._last_shown, shown
        if not self._ignores_events and not moved:
            self.follow_history()

    def _on_visible(self, event: Any = None) -> None:
        if not self._ignores_events and self.layer.visible:
            self.follow_history()

    def _begun(self, on_undone: Callable[[], None], on_redone: Callable[[], None]) -> Step:
        self._follow_steps()
        step = Step(UndoStep(self.layer), on_undone, on_redone)
        step.undo_step.begin()
        # Of steps that strokes pushed out of the history nothing more will be heard.
        self._done = [known for known in self._done if known is self._open or known.undo_step.can_be_undone()]
        self._done.append(step)
        self._undone.clear()
        return step

    def _follow_steps(self) -> None:
        # One at a time, because what listens may lead back to here.
        while (step := _last(self._done, lambda step: step.undo_step.can_be_redone())) is not None:
            self._done.remove(step)
            # Layers that come and go draw the masks again while their pixels have moved and their marks have not.
            with self._not_noticing():
                step.on_undone()
            self._move(step, step.old, step.old_committed)
            self._undone.append(step)
            self.moved.emit(f"Undone: {step.inverse.title}.")
        while (step := _last(self._undone, lambda step: step.undo_step.can_be_undone())) is not None:
            self._undone.remove(step)
            if not step.new:
                # It may be about an object whose stroke came back with it.
                self.check(self._painted)
            with self._not_noticing():
                step.on_redone()
            self._move(step, step.new, step.new_committed)
            self._done.append(step)
            self.moved.emit(f"Done again: {step.inverse.title}.")

    def _move(self, step: Step, written: list[LabelPatch], committed: list[LabelPatch]) -> None:
        for patch in committed:
            patch.apply(self.committed)
        step.inverse = self.table.apply(step.inverse)
        frames = {patch.frame for patch in (*written, *committed)}
        self._settle(frames)
        if frames:
            self.changed.emit(frames)
        else:
            self.marked.emit()

    def _settle(self, frames: Iterable[int]) -> None:
        """Take note of which objects differ now from what was committed; their marks came with the step."""
        for frame in frames:
            if frame in self._touched:
                known = self._touched[frame]
                touched = touched_objects(self.committed[frame], self.layer.data[frame])
                self._touched[frame] = {key: known[key] for key in touched if key in known}

    @contextmanager
    def _not_noticing(self) -> Iterator[None]:
        before, self._ignores_events = self._ignores_events, True
        try:
            yield
        finally:
            self._ignores_events = before


def _last(steps: list[Step], condition: Callable[[Step], bool]) -> Step | None:
    return next((step for step in reversed(steps) if condition(step)), None)


def _frames_of(atoms: Iterable[Any], otherwise: int) -> set[int]:
    """Return the frames that an entry of napari's history is about: a stroke's holds slices, others arrays."""
    frames: set[int] = set()
    for atom in atoms:
        first = getattr(atom, "slice_key", atom[0])[0]
        if isinstance(first, slice):
            frames |= set(range(first.start or 0, otherwise + 1 if first.stop is None else first.stop))
        else:
            frames |= {int(frame) for frame in np.unique(first)}
    return frames or {otherwise}
