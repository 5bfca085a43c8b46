"""Operations on whole objects: pixels and marks change together, and napari's undo takes both back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal

from ..core import object_edits
from ..core.clip import FrameSource
from ..core.errors import UserError
from ..core.patches import LabelPatch
from ..core.review import Edit
from . import jobs
from .controller import RefineController
from .edit_tracker import EditTracker
from .layers import clip_of, rgba_of
from .proposal_controller import ProposalController
from .review_controller import ReviewController

_PIXELS_OF_A_CLICK = 4
"""A drag that is shorter is a click."""

Operation = Callable[[FrameSource], Iterator[LabelPatch]]


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
        review.masks_changed.connect(self._on_masks_changed)

    def shut_down(self) -> None:
        """Let go of everything; the controller is of no use afterwards."""
        self._stop_waiting()
        self._review.masks_changed.disconnect(self._on_masks_changed)

    def new(self) -> int:
        """Select a label that no object has, to be painted; return it."""
        tracker = self._review.tracker
        if tracker is None:
            return 0
        object_id = tracker.table.free_id
        if object_id > np.iinfo(tracker.layer.data.dtype).max:
            self.said.emit(f"{tracker.layer.name} holds {tracker.layer.data.dtype} values and has no free label left.")
            return 0
        tracker.layer.selected_label = object_id
        self.said.emit(f"Paint object {object_id} in one frame; the frame becomes its first exemplar.")
        return object_id

    def delete(self, object_id: int) -> None:
        """Delete an object in all frames."""
        self._change(
            lambda tracker: tracker.table.deleted(object_id),
            lambda labels: object_edits.delete_object(labels, object_id),
        )

    def merge(self, into: int, other: int) -> None:
        """Give all pixels of an object to another."""
        self._change(
            lambda tracker: tracker.table.merged(into, other),
            lambda labels: object_edits.merge_objects(labels, into, other),
        )

    def swap_from_here(self, one: int, other: int) -> None:
        """Exchange two ids from the shown frame on."""
        start = self._review.frame
        self._change(
            lambda tracker: tracker.table.swapped(one, other, start),
            lambda labels: object_edits.swap_objects(labels, one, other, start),
        )

    def split_from_here(self, object_id: int) -> None:
        """Make what an object is from the shown frame on an object of its own."""
        tracker = self._review.tracker
        if tracker is None:
            return
        start, new_id = self._review.frame, tracker.table.free_id
        frames = range(start, tracker.table.frames)
        self._change(
            lambda tracker: tracker.table.split(object_id, new_id, frames, whole=True),
            lambda labels: object_edits.split_from(labels, object_id, new_id, start),
        )

    def rename(self, object_id: int, name: str) -> None:
        """Give an object a name; an empty one takes it away."""
        table = self._review.table
        if table is not None:
            self._review.apply(table.named(object_id, name.strip()))

    def recolour(self, object_id: int, colour: tuple[float, float, float, float]) -> None:
        """Give an object a colour: red, green, blue, opacity, 0..1."""
        layer = self._review.layer
        if layer is not None:
            self._set_colours(layer, {object_id: np.array(colour)})

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
        tracker = self._review.tracker
        if tracker is None or self._runs.video is None or self._waiting is not None:
            return
        layer = tracker.layer
        layer.mode = "pan_zoom"
        self._viewer.layers.selection.active = layer

        def drag(layer: Labels, event: Any) -> Iterator[None]:
            begin = np.array(layer.world_to_data(event.position))[-2:]
            end = begin
            # Otherwise the drag would move the picture.
            event.handled = True
            yield
            while event.type == "mouse_move":
                end = np.array(layer.world_to_data(event.position))[-2:]
                event.handled = True
                yield
            self._stop_waiting()
            self.grow_from(begin, end)

        layer.mouse_drag_callbacks.append(drag)
        layer.mouse_pan = False
        self._waiting = (layer, drag)
        self.said.emit("Click on the object, or drag a box around it.")

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

    def _change(self, plan: Callable[[EditTracker], Edit], operation: Operation) -> None:
        tracker = self._review.tracker
        if tracker is None:
            return
        tracker.check_painted()
        try:
            edit = plan(tracker)
            patches = list(operation(tracker.layer.data))
            committed = list(operation(tracker.committed))
        except UserError as error:
            self.said.emit(str(error))
            return
        self._proposals.close()
        forget = self._proposals.forget_rough
        forget()
        tracker.write(patches, edit, forget, forget, committed)

    def _set_colours(self, layer: Labels, colours: dict[int, np.ndarray]) -> None:
        table = self._review.table
        assert table is not None
        known: dict[int | None, Any] = {key: rgba_of(layer, key) for key in table.object_ids}
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
