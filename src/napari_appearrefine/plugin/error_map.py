"""The error map: where a mask is likely too much or too little, for the frame that is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from . import jobs
from .connections import Connections
from .controller import RefineController, State
from .layers import clip_of, make_overlay, show_overlay
from .proposal_controller import ProposalController
from .review_controller import ReviewController

if TYPE_CHECKING:
    from ..engine.explanation import Explanation

NAME = "likely errors"
TOO_MUCH, TOO_LITTLE, PERHAPS_TOO_MUCH, PERHAPS_TOO_LITTLE = 1, 2, 3, 4
# Okabe and Ito's vermillion and blue, as for changes; half as strong where it is less likely.
COLOURS: dict[int | None, str] = {
    None: "#00000000",
    TOO_MUCH: "#D55E00FF",
    TOO_LITTLE: "#56B4E9FF",
    PERHAPS_TOO_MUCH: "#D55E0070",
    PERHAPS_TOO_LITTLE: "#56B4E970",
}
_LIKELY, _PERHAPS = 0.5, 0.25
_EXEMPLARS_NAMED = 3


class FewFrames:
    """Copies of some frames of masks, in the place of all of them.

    Parameters
    ----------
    data : ndarray
        (T, Y, X) labels.
    frames : iterable of int
        Which frames to copy; the others read as empty.
    """

    def __init__(self, data: np.ndarray, frames: set[int]) -> None:
        self.shape, self.dtype = data.shape, data.dtype
        self._copies = {frame: data[frame].copy() for frame in frames}

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, frame: int) -> np.ndarray:
        """Return the (Y, X) labels of one frame."""
        copy = self._copies.get(frame)
        return np.zeros(self.shape[1:], self.dtype) if copy is None else copy


class ErrorMap:
    """Owns the layer of likely errors while it is switched on.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where the layer is shown.
    runs, review, proposals : RefineController, ReviewController, ProposalController
        What knows the video, the masks and the last run.
    start_job : callable
        What starts a computation; see :mod:`plugin.jobs`.
    explain : callable
        What computes it.
    """

    changed = Signal(bool)
    """It was switched on or off."""
    said = Signal(str)
    """Which exemplars shaped the masks of the frame, or why there is no map."""
    explained = Signal(object)
    """Object id to exemplar frame to its share in the shown frame; empty while that is not known."""

    def __init__(
        self,
        viewer: Any,
        runs: RefineController,
        review: ReviewController,
        proposals: ProposalController,
        start_job: jobs.StartJob,
        explain: jobs.Explain,
    ) -> None:
        self._viewer = viewer
        self._runs = runs
        self._review = review
        self._proposals = proposals
        self._start_job = start_job
        self._explain = explain
        self._overlay: Labels | None = None
        self._job: jobs.Job | None = None
        self._is_stale = False
        self._gives_way = False
        self._connections = Connections(
            (review.frame_changed, self._on_changed),
            (review.pixels_changed, self._on_changed),
            (review.masks_changed, self._on_masks_changed),
            (runs.state_changed, self._on_changed),
            (proposals.changed, self._on_proposal_changed),
        )
        viewer.layers.events.removed.connect(self._on_layer_removed)

    @property
    def overlay(self) -> Labels | None:
        """The layer, once the map was switched on; hidden while it is off."""
        return self._overlay

    @property
    def is_on(self) -> bool:
        """Whether the map is shown."""
        return self._overlay is not None and bool(self._overlay.visible)

    def toggle(self) -> None:
        """Switch the map on or off; a person may as well hide and show its layer."""
        if self._overlay is not None:
            # Kept, because the window stands still while napari adds a layer.
            self._overlay.visible = not self._overlay.visible
            return
        layer = self._review.layer
        if layer is None or self._proposals.last_report is None:
            self.changed.emit(False)
            self.said.emit("The error map needs a run: press Refine first.")
            return
        selected = self._viewer.layers.selection.active
        self._overlay = self._viewer.add_layer(make_overlay(NAME, layer, COLOURS))
        self._viewer.layers.selection.active = selected
        self._overlay.events.visible.connect(self._on_visible)
        self.changed.emit(True)
        self._compute()

    def shut_down(self) -> None:
        """Let go of everything, the layer included; the map is of no use afterwards."""
        self._connections.release()
        self._on_masks_changed(None)
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
        if self._job is not None:
            self._job.detach()

    def _compute(self) -> None:
        layer, video = self._review.layer, self._runs.video
        report, parameters = self._proposals.last_report, self._proposals.last_parameters
        if not self.is_on or layer is None or video is None or report is None or parameters is None:
            return
        if self._job is not None or self._runs.state is State.RUNNING:
            # One at a time, and none beside a run, whose results it shares.
            self._is_stale = True
            return
        self._is_stale = False
        frame, clip, guidance = self._review.frame, clip_of(video), self._review.guidance
        teaching = [*report.exemplars.values(), *guidance.truth.values(), *guidance.pinned.values()]
        masks = FewFrames(layer.data, {frame, *(other for some in teaching for other in some)})
        self._job = self._start_job(
            lambda: jobs.outcome_of(lambda: _shown(self._explain(clip, masks, frame, report, parameters, guidance))),
            self._on_event,
            self._on_end,
        )

    def _on_event(self, event: jobs.JobEvent) -> None:
        if isinstance(event, jobs.Failure):
            self.said.emit(event.message)
        elif isinstance(event, jobs.Outcome) and self._overlay is not None and self.is_on:
            frame, marks, influence = event.value
            if frame == self._review.frame:
                if not self._gives_way:
                    show_overlay(self._overlay, marks)
                self.explained.emit(influence)
                self.said.emit(self._in_words(influence))

    def _in_words(self, influence: Mapping[int, Mapping[int, float]]) -> str:
        object_id, table = self._review.object_id, self._review.table
        title = "no object" if table is None else table.title(object_id)
        return influence_text(title, influence.get(object_id, {}), self._gives_way)

    def _on_end(self) -> None:
        self._job = None
        if self._is_stale:
            self._compute()

    def _on_visible(self, _event: Any) -> None:
        self.changed.emit(self.is_on)
        self._on_changed()

    def _on_changed(self, _what: object = None) -> None:
        if self._overlay is not None:
            # What was shown is of another frame or another mask.
            show_overlay(self._overlay, np.zeros_like(self._overlay.data))
            self.explained.emit({})
            self._compute()

    def _on_proposal_changed(self) -> None:
        # The changes of a proposal have the same colours, and mean that something would be done about it.
        if self._gives_way != self._proposals.is_open:
            self._gives_way = self._proposals.is_open
            self._on_changed()

    def _on_masks_changed(self, layer: Labels | None) -> None:
        if layer is None and self._overlay is not None:
            self._viewer.layers.remove(self._overlay)

    def _on_layer_removed(self, event: Any) -> None:
        if self._overlay is not None and event.value == self._overlay:
            self._overlay.events.visible.disconnect(self._on_visible)
            self._overlay = None
            self.explained.emit({})
            self.changed.emit(False)


def _shown(explanation: Explanation) -> tuple[int, np.ndarray, dict[int, dict[int, float]]]:
    return explanation.frame, error_marks(explanation), explanation.influence


def error_marks(explanation: Explanation) -> np.ndarray:
    """Return where some object is likely wrong, (Y, X) uint8 of this module's values."""
    excess, lack = np.zeros((2, *explanation.masks.shape), np.float32)
    for object_id in explanation.likely:
        # One by one: two pictures of each of many objects would be a lot of memory.
        np.maximum(excess, explanation.too_much(object_id), out=excess)
        np.maximum(lack, explanation.too_little(object_id), out=lack)
    marks = np.zeros(excess.shape, np.uint8)
    marks[lack >= _PERHAPS] = PERHAPS_TOO_LITTLE
    marks[excess >= _PERHAPS] = PERHAPS_TOO_MUCH
    marks[lack >= _LIKELY] = TOO_LITTLE
    marks[excess >= _LIKELY] = TOO_MUCH
    return marks


def influence_text(title: str, influence: Mapping[int, float], is_hidden: bool = False) -> str:
    """Say which exemplar frames shaped an object in a frame, the strongest first, and what the colours mean."""
    meaning = (
        "The colours are the proposal's changes; likely errors come back when it is decided."
        if is_hidden
        else "Orange is likely too much, blue too little."
    )
    shares = sorted(influence.items(), key=lambda share: -share[1])[:_EXEMPLARS_NAMED]
    if not shares:
        return f"No exemplar shapes {title} here. {meaning}"
    named = ", ".join(f"frame {frame} ({100 * share:.0f} %)" for frame, share in shares)
    return f"Here {title} is shaped by {named}. {meaning}"
