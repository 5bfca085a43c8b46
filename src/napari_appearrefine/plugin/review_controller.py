"""The review without widgets: the objects of the chosen masks, marks, what to look at next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from ..core.guidance import Guidance
from ..core.patches import differing_frames
from ..core.review import ReviewTable
from ..core.review_cells import Edit, ExemplarState, Source
from . import jobs
from .edit_tracker import EditTracker
from .kept_reviews import KeptReviews
from .layers import colour_of, is_writable, role_of
from .timeline_rows import Curve, TimelineRow, row_of
from .viewing import frame_shown, show_frame


class ReviewController:
    """Knows what a person decided about the masks of one Labels layer.

    The masks are read in a worker when they are chosen; until then there is no table. When others are
    chosen, and then these again, they are as a person left them. Where a method
    takes no frames, it is about the frames selected on the timeline, or else the frame that is shown;
    where it takes no objects, about the selected label.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        What shows the masks.
    start_job, in_slices : callable, optional
        What starts a computation, and does long work in the main thread; see :mod:`plugin.jobs`.
    """

    table_changed = Signal()
    """Rows of the timeline are to be shown anew."""
    frame_changed = Signal(int)
    """Another frame is shown."""
    pixels_changed = Signal(object)
    """A person or the plugin changed pixels or marks in these frames (a set of int)."""
    object_changed = Signal(int)
    """Another label was selected."""
    range_changed = Signal()
    """Other frames are selected on the timeline."""
    said = Signal(str)
    """A sentence for the person: why this frame, or that there is none."""
    masks_changed = Signal(object)
    """The masks that are reviewed are others now (a Labels layer, or None)."""

    def __init__(
        self,
        viewer: Any,
        start_job: jobs.StartJob = jobs.start_job,
        in_slices: jobs.RunInSlices = jobs.run_in_slices,
    ) -> None:
        self._viewer = viewer
        self._in_slices = in_slices
        self._start_job = start_job
        self._layer: Labels | None = None
        self._tracker: EditTracker | None = None
        self._reading: jobs.Job | None = None
        self._range = (0, 0)
        self._proposed: dict[int, np.ndarray] = {}
        self._measures: dict[int, Sequence[Curve]] = {}
        self._painted_while_reading: set[int] = set()
        self._kept = KeptReviews(viewer)
        viewer.dims.events.current_step.connect(self._on_step)

    @property
    def layer(self) -> Labels | None:
        """The masks that are reviewed, once they are read."""
        return self._layer if self._tracker is not None else None

    @property
    def is_reading(self) -> bool:
        """Whether masks were chosen and are not read yet."""
        return self._reading is not None

    @property
    def keeps_work(self) -> bool:
        """Whether masks that were chosen before hold what a person edited or locked."""
        return self._kept.hold_work

    @property
    def tracker(self) -> EditTracker | None:
        """What watches the masks."""
        return self._tracker

    @property
    def table(self) -> ReviewTable | None:
        """What is known of the masks."""
        return None if self._tracker is None else self._tracker.table

    @property
    def frame(self) -> int:
        """The frame that is shown."""
        return 0 if self._layer is None else frame_shown(self._viewer, self._layer)

    @property
    def object_id(self) -> int:
        """The object that is selected, or else the first one; 0 if there is none."""
        if self._tracker is None or self._layer is None:
            return 0
        ids = self._tracker.table.object_ids
        selected = int(self._layer.selected_label)
        return selected if selected in ids else next(iter(ids), 0)

    @property
    def selected_frames(self) -> list[int]:
        """The frames selected on the timeline, or else the frame that is shown."""
        return list(range(*self._range)) or [self.frame]

    @property
    def guidance(self) -> Guidance:
        """What the marks tell a run."""
        return Guidance() if self._tracker is None else self._tracker.table.guidance()

    def choose_masks(self, layer: Labels | None) -> None:
        """Review a Labels layer of (T, Y, X); others cannot be reviewed and count as none."""
        if layer is not None and (not is_writable(layer) or role_of(layer) == "overlay"):
            layer = None
        if layer == self._layer:
            return
        self.finish_writing()
        self._let_go()
        self._layer = layer
        if layer is not None:
            layer.events.data.connect(self._on_data_replaced)
            layer.events.selected_label.connect(self._on_label_selected)
            self._read()
        self.masks_changed.emit(None)
        self.table_changed.emit()

    def finish_writing(self) -> None:
        """Write now what is decided and not written yet."""
        if self._tracker is not None:
            self._tracker.finish()

    def read_again(self) -> None:
        """Forget all marks and read the masks as they are now, because a run wrote them directly."""
        if self._tracker is not None:
            self._tracker.stop()
        layer = self._layer
        self.choose_masks(None)
        if layer is not None:
            self.forget(layer)
        self.choose_masks(layer)

    def forget(self, layer: Labels) -> None:
        """Know nothing of masks that are not the chosen ones, because a run wrote them directly."""
        self._kept.forget(layer)

    def adopt(
        self,
        table: ReviewTable,
        committed: np.ndarray,
        painted: Mapping[str, np.ndarray],
        differing: Iterable[int],
    ) -> None:
        """Take a table that was stored with the masks, instead of a new one.

        Parameters
        ----------
        table : ReviewTable
            Of the chosen masks.
        committed : ndarray
            (T, Y, X) the masks as they would be if nobody had painted.
        painted : mapping of str to ndarray
            From :meth:`EditTracker.painted_cells`.
        differing : iterable of int
            Frames in which the masks are others than ``committed``. A stroke there that was not known yet when
            the session was saved is marked now.
        """
        assert self._layer is not None
        self._stop_reading()
        self._painted_while_reading |= set(differing)
        self._watch(table, committed, painted)

    def shut_down(self) -> None:
        """Let go of the viewer; the controller is of no use afterwards."""
        self._let_go()
        self._kept.shut_down()
        self._layer = None
        self._viewer.dims.events.current_step.disconnect(self._on_step)

    def go_to(self, frame: int) -> None:
        """Show a frame."""
        if self._layer is not None:
            show_frame(self._viewer, self._layer, frame)

    def step(self, frames: int) -> None:
        """Go as many frames forward, or back if negative, and not beyond the ends."""
        if self._layer is not None:
            self.go_to(min(max(self.frame + frames, 0), int(self._layer.data.shape[0]) - 1))

    def select_object(self, object_id: int) -> None:
        """Select an object's label."""
        if self._layer is not None and object_id:
            self._layer.selected_label = object_id

    def select_frames(self, start: int, stop: int) -> None:
        """Select the frames from ``start`` up to, but without, ``stop``; none if they are equal."""
        self._range = (start, stop)
        self.range_changed.emit()

    def toggle_lock(self, frames: Iterable[int] | None = None, object_ids: Iterable[int] | None = None) -> None:
        """Lock masks, which a run then reads and never writes; unlock them if all are locked."""
        self._toggle("Lock", "Unlock", "locked", True, False, frames, object_ids)

    def toggle_pin(self, frames: Iterable[int] | None = None, object_ids: Iterable[int] | None = None) -> None:
        """Make masks exemplars whatever the program thinks of them; leave it to the program if all are."""
        self._toggle("Pin", "Unpin", "exemplar", ExemplarState.PINNED, ExemplarState.AUTO, frames, object_ids)

    def toggle_ban(self, frames: Iterable[int] | None = None, object_ids: Iterable[int] | None = None) -> None:
        """Keep masks from being exemplars; leave it to the program if all are banned."""
        self._toggle("Ban", "Allow", "exemplar", ExemplarState.BANNED, ExemplarState.AUTO, frames, object_ids)

    def toggle_accepted(self, frames: Iterable[int] | None = None, object_ids: Iterable[int] | None = None) -> None:
        """Mark masks as seen and right; take the mark back if all are."""
        self._toggle("Agree with", "Disagree with", "accepted", True, False, frames, object_ids)

    def apply(self, edit: Edit) -> None:
        """Change the table alone, by what a run found: nothing that a person would undo."""
        if self._tracker is not None:
            self._tracker.table.apply(edit)
            self.table_changed.emit()

    def decide(self, edit: Edit) -> None:
        """Change the table alone, by what a person decided; undo takes it back."""
        if self._tracker is not None:
            self._tracker.decide(edit)

    def undo(self) -> None:
        """Take back the last stroke, mark or operation on the masks."""
        if self._layer is not None:
            self._step_in_history(self._layer.undo, "Undone: what was drawn last.")

    def redo(self) -> None:
        """Make again what was undone last."""
        if self._layer is not None:
            self._step_in_history(self._layer.redo, "Done again: what was drawn.")

    def _step_in_history(self, step: Callable[[], None], words_for_strokes: str) -> None:
        """Go back or forth, and say what it was; strokes are napari's own, and have no title."""
        said: list[str] = []
        changed: list[set[int]] = []
        self.said.connect(said.append)
        self.pixels_changed.connect(changed.append)
        step()
        self._follow_history()
        self.said.disconnect(said.append)
        self.pixels_changed.disconnect(changed.append)
        if changed and not said:
            self.said.emit(words_for_strokes)

    def show_proposed(self, proposed: dict[int, np.ndarray]) -> None:
        """Mark frames in which a proposal would change an object: object id to (T,) bool."""
        self._proposed = proposed
        self.table_changed.emit()

    def show_measures(self, measures: dict[int, Sequence[Curve]]) -> None:
        """Show measures against a ground truth: object id to curves."""
        self._measures = measures
        self.table_changed.emit()

    def rows(self) -> list[TimelineRow]:
        """Return what the timeline shows."""
        table = self.table
        if table is None or self._layer is None:
            return []
        layer = self._layer
        return [
            row_of(table, key, colour_of(layer, key), self._proposed.get(key), self._measures.get(key, ()))
            for key in table.object_ids
        ]

    def _toggle(
        self,
        title: str,
        opposite: str,
        name: str,
        value: int,
        otherwise: int,
        frames: Iterable[int] | None,
        object_ids: Iterable[int] | None,
    ) -> None:
        table = self.table
        if table is None or not table.object_ids:
            return
        chosen = self.selected_frames if frames is None else list(frames)
        ids = [self.object_id] if object_ids is None else list(object_ids)
        all_are = bool((table.column(name, ids)[chosen] == value).all())
        words = f"{opposite if all_are else title} {in_words('object', ids)} in {in_words('frame', chosen)}"
        self.decide(table.set(words, ids, chosen, **{name: otherwise if all_are else value}))

    def _follow_history(self) -> None:
        if self._tracker is not None:
            self._tracker.follow_history()

    def _read(self) -> None:
        layer = self._layer
        assert layer is not None
        layer.events.paint.connect(self._on_paint_while_reading)
        kept = self._kept.of(layer)
        found: list[Any] = []

        def listen(event: jobs.JobEvent) -> None:
            if isinstance(event, jobs.Outcome):
                found.append(event.value)
            elif isinstance(event, jobs.Failure):
                self.said.emit(event.message)

        def end() -> None:
            self._stop_reading()
            if found and kept is not None:
                self._painted_while_reading |= set(found[0])
                self._watch(kept.table, kept.committed, kept.painted)
            elif found:
                copy, areas = found[0]
                source = Source.FLOW if role_of(layer) == "motion" else Source.IMPORTED
                self._watch(ReviewTable.of_masks(len(copy), areas, source), copy)

        data, name = layer.data, layer.name

        def read() -> Iterator[jobs.JobEvent]:
            if kept is None:
                return jobs.read_masks(data, name)
            return jobs.outcome_of(lambda: differing_frames(data, kept.committed))

        self._reading = self._start_job(read, listen, end)

    def _watch(
        self, table: ReviewTable, committed: np.ndarray, painted: Mapping[str, np.ndarray] | None = None
    ) -> None:
        layer = self._layer
        assert layer is not None
        self._tracker = EditTracker(layer, table, committed, lambda: frame_shown(self._viewer, layer), self._in_slices)
        if painted is not None:
            self._tracker.take_painted_cells(painted)
        self._tracker.changed.connect(self._on_pixels_changed)
        self._tracker.marked.connect(self.table_changed)
        self._tracker.moved.connect(self.said)
        self._tracker.check(self._painted_while_reading)
        self._painted_while_reading = set()
        self.masks_changed.emit(layer)
        self.table_changed.emit()

    def _stop_reading(self) -> None:
        if self._layer is not None and self._tracker is None:
            self._layer.events.paint.disconnect(self._on_paint_while_reading)
        if self._reading is not None:
            self._reading.detach()
        self._reading = None

    def _let_go(self) -> None:
        layer = self._layer
        if layer is None:
            return
        self._stop_reading()
        layer.events.data.disconnect(self._on_data_replaced)
        layer.events.selected_label.disconnect(self._on_label_selected)
        if self._tracker is not None:
            self._tracker.let_go()
            self._kept.keep(self._tracker)
        self._tracker = None
        self._range, self._proposed, self._measures = (0, 0), {}, {}

    def _on_paint_while_reading(self, event: Any) -> None:
        self._painted_while_reading.add(self.frame)

    def _on_data_replaced(self, event: Any) -> None:
        self.read_again()

    def _on_label_selected(self, event: Any) -> None:
        self.object_changed.emit(self.object_id)

    def _on_pixels_changed(self, frames: set[int]) -> None:
        self.pixels_changed.emit(frames)
        self.table_changed.emit()

    def _on_step(self, event: Any) -> None:
        if self._layer is not None:
            self.frame_changed.emit(self.frame)


def in_words(noun: str, numbers: Sequence[int]) -> str:
    """Name objects or frames: one, a few, or from the first to the last."""
    if len(numbers) == 1:
        return f"{noun} {numbers[0]}"
    is_range = len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    return f"{noun}s " + (f"{numbers[0]} to {numbers[-1]}" if is_range else ", ".join(map(str, numbers)))
