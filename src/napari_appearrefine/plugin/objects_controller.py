"""Operations on whole objects: pixels and marks change together, and napari's undo takes both back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal

from ..core import object_edits
from ..core.clip import FrameSource
from ..core.errors import UserError
from ..core.patches import LabelPatch
from ..core.review import ReviewTable
from ..core.review_cells import Edit
from . import jobs
from .controller import RefineController
from .edit_tracker import EditTracker
from .layers import clip_of, rgba_of
from .proposal_controller import ProposalController
from .review_controller import ReviewController
from .undo_step import forbid_painting

_PIXELS_OF_A_CLICK = 4
"""A drag that is shorter is a click."""
_COLOURED = 256
"""Ids below it have colours of their own, also before there are such objects."""

Operation = Callable[[FrameSource, int], Iterator[LabelPatch]]
"""Changes one frame of masks."""


@dataclass(frozen=True)
class _Part:
    """One frame of an operation: pixels, what becomes of those that nobody painted, marks."""

    frame: int
    patches: list[LabelPatch] = field(default_factory=list)
    committed: list[LabelPatch] = field(default_factory=list)
    edit: Edit | None = None


class ObjectsController:
    """Changes the objects of the reviewed masks.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where a person clicks.
    runs, review, proposals : RefineController, ReviewController, ProposalController
        What knows the video, the masks and the proposal, which every operation closes.
    start_job : callable
        What starts a computation; see :mod:`plugin.jobs`.
    """

    said = Signal(str)
    """A sentence for the person."""

    def __init__(
        self,
        viewer: Any,
        runs: RefineController,
        review: ReviewController,
        proposals: ProposalController,
        start_job: jobs.StartJob,
    ) -> None:
        self._viewer = viewer
        self._runs = runs
        self._review = review
        self._proposals = proposals
        self._start_job = start_job
        self._waiting: tuple[Labels, Any] | None = None
        self._awaited = ""
        review.masks_changed.connect(self._on_masks_changed)

    def shut_down(self) -> None:
        """Let go of everything; the controller is of no use afterwards."""
        self._stop_waiting()
        self._review.masks_changed.disconnect(self._on_masks_changed)

    def new(self) -> int:
        """Select a label that no object has, to be painted; return it."""
        tracker, object_id = self._review.tracker, self._free_id()
        if tracker is not None and object_id:
            tracker.layer.selected_label = object_id
            self.said.emit(f"Paint object {object_id} in one frame; the frame becomes its first exemplar.")
        return object_id

    def delete(self, object_id: int) -> None:
        """Delete an object in all frames."""
        self._replace(
            lambda table: table.deleted(object_id),
            lambda labels, frame: object_edits.delete_object(labels, object_id, [frame]),
        )

    def merge(self, into: int, other: int) -> None:
        """Give all pixels of an object to another."""
        self._replace(
            lambda table: table.merged(into, other),
            lambda labels, frame: object_edits.merge_objects(labels, into, other, [frame]),
        )

    def swap_from_here(self, one: int, other: int) -> None:
        """Exchange two ids from the shown frame on."""
        start = self._review.frame
        self._replace(
            lambda table: table.swapped(one, other, start),
            lambda labels, frame: object_edits.swap_objects(labels, one, other, [frame]),
            start,
        )

    def split_from_here(self, object_id: int) -> None:
        """Make what an object is from the shown frame on an object of its own."""
        table, start = self._review.table, self._review.frame
        new_id = self._free_id()
        if table is not None and new_id:
            frames = range(start, table.frames)
            self._replace(
                lambda table: table.split(object_id, new_id, frames, whole=True),
                lambda labels, frame: object_edits.change_id(labels, object_id, new_id, [frame]),
                start,
            )

    def change_id(self, object_id: int, new_id: int) -> None:
        """Give an object another id in all frames, with all its marks."""
        table = self._review.table
        if table is None or new_id == object_id:
            return
        if new_id in table.object_ids:
            self.said.emit(f"There is an object {new_id} already; choose another id, or merge the two.")
            return
        self._replace(
            lambda table: table.renumbered(object_id, new_id),
            lambda labels, frame: object_edits.change_id(labels, object_id, new_id, [frame]),
        )
        if new_id in table.object_ids:
            self._review.select_object(new_id)

    def split_part(self) -> None:
        """Let the next click on one of the pieces of an object in the shown frame make it an object of its own."""
        self._wait_for_drag(
            lambda place, _end: self.split_part_at(int(place[0]), int(place[1])),
            "Click on the piece that is an object of its own.",
        )

    def split_part_at(self, row: int, column: int) -> None:
        """Make a piece of an object a new object, from the shown frame on as long as it does not touch the rest.

        Parameters
        ----------
        row, column : int
            A pixel of the piece in the shown frame.
        """
        tracker, frame, new_id = self._review.tracker, self._review.frame, self._free_id()
        if tracker is None or not new_id:
            return
        labels = tracker.layer.data
        is_inside = 0 <= row < labels.shape[1] and 0 <= column < labels.shape[2]
        object_id = int(labels[frame, row, column]) if is_inside else 0
        if not object_id:
            self.said.emit("There is no object at this point; click on the piece to split off.")
            return
        last = tracker.table.frames - 1

        def parts() -> Iterator[_Part]:
            frames = []
            for patch in object_edits.split_part(labels, object_id, new_id, frame, row, column, last):
                own = tracker.committed[patch.frame, patch.rows, patch.columns] == object_id
                committed = LabelPatch(patch.frame, patch.rows[own], patch.columns[own], patch.values[own])
                frames.append(patch.frame)
                yield _Part(patch.frame, [patch], [committed])
            yield _Part(frame, edit=tracker.table.split(object_id, new_id, frames, whole=False))

        try:
            object_edits.split_part(labels, object_id, new_id, frame, row, column)
        except UserError as error:
            self.said.emit(str(error))
            return
        self._change(tracker, parts())

    def rename(self, object_id: int, name: str) -> None:
        """Give an object a name; an empty one takes it away."""
        table = self._review.table
        if table is not None:
            self._review.decide(table.named(object_id, name.strip()))

    def recolour(self, object_id: int, colour: tuple[float, float, float, float]) -> None:
        """Give an object a colour: red, green, blue, opacity, 0..1."""
        tracker = self._review.tracker
        if tracker is None:
            return
        layer = tracker.layer
        old, new = {object_id: rgba_of(layer, object_id)}, {object_id: np.array(colour)}
        tracker.decide(
            Edit(f"Recolour object {object_id}"),
            lambda: self._set_colours(layer, old),
            lambda: self._set_colours(layer, new),
        )
        self._set_colours(layer, new)

    def toggle_hidden(self, object_id: int) -> None:
        """Make an object invisible, or visible again; its pixels stay."""
        layer = self._review.layer
        if layer is None:
            return
        colour = rgba_of(layer, object_id)
        colour[3] = 1.0 if self.is_hidden(object_id) else 0.0
        self._set_colours(layer, {object_id: colour})

    def is_hidden(self, object_id: int) -> bool:
        """Whether an object was made invisible."""
        layer = self._review.layer
        return layer is not None and rgba_of(layer, object_id)[3] == 0

    def grow(self) -> None:
        """Let the next click, or the next box dragged, in the shown frame grow into a new object."""
        if self._runs.video is not None:
            self._wait_for_drag(self.grow_from, "Click on the object, or drag a box around it.")

    def grow_from(self, begin: np.ndarray, end: np.ndarray) -> None:
        """Grow a new object from a click or a box of the shown frame.

        Parameters
        ----------
        begin, end : ndarray
            (2,) row and column of two opposite corners; nearly the same place is a click.
        """
        tracker, video = self._review.tracker, self._runs.video
        if tracker is None or video is None:
            return
        frame, object_id = self._review.frame, self.new()
        clip, taken = clip_of(video), tracker.layer.data[frame] != 0
        (top, bottom), (left, right) = (sorted((int(begin[axis]), int(end[axis]))) for axis in (0, 1))

        def compute() -> np.ndarray:
            from ..engine.growing import grow_from_box, grow_from_click

            image = clip.rgb(frame)
            if max(bottom - top, right - left) < _PIXELS_OF_A_CLICK:
                return grow_from_click(image, top, left, taken)
            return grow_from_box(image, (top, left, bottom + 1, right + 1), taken)

        def listen(event: jobs.JobEvent) -> None:
            if isinstance(event, jobs.Failure):
                self.said.emit(event.message)
            elif isinstance(event, jobs.Outcome) and self._review.tracker is tracker:
                rows, columns = np.nonzero(event.value & (tracker.layer.data[frame] == 0))
                patch = LabelPatch(frame, rows, columns, np.full(rows.size, object_id, tracker.layer.data.dtype))
                tracker.draw(patch)
                self.said.emit(f"Object {object_id} is new; correct it with the brush if need be, then refine.")

        if object_id:
            self._start_job(lambda: jobs.outcome_of(compute), listen, lambda: None)

    def _free_id(self) -> int:
        tracker = self._review.tracker
        if tracker is None:
            return 0
        object_id = tracker.table.free_id
        if object_id > np.iinfo(tracker.layer.data.dtype).max:
            self.said.emit(f"{tracker.layer.name} holds {tracker.layer.data.dtype} values and has no free label left.")
            return 0
        return object_id

    def _wait_for_drag(self, act: Callable[[np.ndarray, np.ndarray], None], sentence: str) -> None:
        tracker = self._review.tracker
        if tracker is None:
            return
        already, self._awaited = self._waiting is not None and self._awaited == sentence, sentence
        self._stop_waiting()
        if already:
            self.said.emit("No longer waiting for a click.")
            return
        layer = tracker.layer
        layer.mode = "pan_zoom"
        self._viewer.layers.selection.active = layer

        def drag(layer: Labels, event: Any) -> Iterator[None]:
            begin = end = _pixel_at(layer, event)
            # Otherwise the drag would move the picture.
            event.handled = True
            yield
            while event.type == "mouse_move":
                end = _pixel_at(layer, event)
                event.handled = True
                yield
            self._stop_waiting()
            act(begin, end)

        layer.mouse_drag_callbacks.append(drag)
        layer.mouse_pan = False
        self._waiting = (layer, drag)
        self.said.emit(sentence)

    def _replace(self, plan: Callable[[ReviewTable], Edit], operation: Operation, start: int = 0) -> None:
        tracker = self._review.tracker
        if tracker is None:
            return
        try:
            # An id that is no valid one is told before anything changes.
            list(operation(tracker.layer.data, start))
        except UserError as error:
            self.said.emit(str(error))
            return

        def parts() -> Iterator[_Part]:
            yield _Part(start, edit=plan(tracker.table))
            for frame in range(start, tracker.table.frames):
                pixels, committed = (
                    list(operation(labels, frame)) for labels in (tracker.layer.data, tracker.committed)
                )
                yield _Part(frame, pixels, committed)

        self._change(tracker, parts())

    def _change(self, tracker: EditTracker, parts: Iterator[_Part]) -> None:
        """Write the parts of an operation as one step; nobody paints meanwhile."""
        tracker.finish()
        tracker.follow_history()
        self._proposals.close()
        forget = self._proposals.forget_rough
        forget()
        step = tracker.begin(forget, forget)
        layer = tracker.layer
        mode = layer.mode

        def steps() -> Iterator[None]:
            for part in parts:
                if step.was_undone():
                    return
                is_shown = part.frame == self._review.frame
                tracker.grow(step, part.patches, part.edit, part.committed, refresh=is_shown)
                yield

        def end() -> None:
            if not layer.editable:
                layer.editable, layer.mode = True, mode
            tracker.end(step)
            self.said.emit(f"{step.inverse.title}: done. Ctrl-Z takes it back.")

        tracker.work(steps(), end)
        if tracker.is_writing:
            forbid_painting(layer)
            self.said.emit("The frames are being changed; you can paint again when all are done.")

    def _set_colours(self, layer: Labels, colours: dict[int, np.ndarray]) -> None:
        table = self._review.table
        assert table is not None
        ids = {*range(1, _COLOURED), *table.object_ids}
        known: dict[int | None, Any] = {key: rgba_of(layer, key) for key in ids}
        if isinstance(layer.colormap, DirectLabelColormap):
            known = dict(layer.colormap.color_dict) | known
        known[None] = known.get(None, "white")
        layer.colormap = DirectLabelColormap(
            color_dict=known | colours, use_selection=layer.show_selected_label, selection=layer.selected_label
        )
        self._review.table_changed.emit()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            layer, drag = self._waiting
            layer.mouse_drag_callbacks.remove(drag)
            layer.mouse_pan = True
        self._waiting = None

    def _on_masks_changed(self, _layer: Labels | None) -> None:
        self._stop_waiting()


def _pixel_at(layer: Labels, event: Any) -> np.ndarray:
    """Return the row and column of the pixel under the pointer; napari's pixels have whole numbers in their middle."""
    return np.array(np.round(layer.world_to_data(event.position)[-2:]), np.intp)
