"""A run proposes, the person disposes: what would change is shown, accepted or rejected."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from ..core.events import Report
from ..core.parameters import RefineParameters
from ..core.proposal import Decision, Proposal, change_map, frame_change
from ..core.quality import quality_of
from . import jobs
from .acceptance import Acceptance
from .changes_overlay import ChangesOverlay
from .connections import Connections
from .controller import RefineController, RunResult, Task
from .layers import PROPOSAL_SUFFIX, add_unselected, make_labels
from .review_controller import ReviewController

_FRAMES_BETWEEN_WORDS = 50
_FRAMES_BEFORE_OVERLAY = 2
_PROPOSED, _BASELINE = "proposed", "baseline"


class ProposalController:
    """Starts runs that propose, and owns the proposal there may be.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where the layer of changes is shown.
    runs : RefineController
        What runs.
    review : ReviewController
        What knows the marks of the masks.
    in_slices : callable, optional
        What does long work in the main thread; see :mod:`plugin.jobs`.
    """

    changed = Signal()
    """There is a proposal now, or none, or less of it is open."""

    def __init__(
        self,
        viewer: Any,
        runs: RefineController,
        review: ReviewController,
        in_slices: jobs.RunInSlices = jobs.run_in_slices,
    ) -> None:
        self._viewer = viewer
        self._in_slices = in_slices
        self._coming_back: jobs.Slices | None = None
        self._runs = runs
        self._review = review
        self._rough: np.ndarray | None = None
        self._layer: Labels | None = None
        self._changes = ChangesOverlay(viewer)
        self._frames_come = 0
        self._baseline: np.ndarray | None = None
        self._proposal: Proposal | None = None
        self._differs: dict[int, np.ndarray] = {}
        self._run = 0
        self._at_once = False
        self._compared: set[int] = set()
        self._settled = np.zeros((0, 0), bool)
        self.last_report: Report | None = None
        self.last_parameters: RefineParameters | None = None
        self._connections = Connections(
            (runs.output_opened, self._on_output_opened),
            (runs.frame_finished, self._on_frame_finished),
            (runs.run_finished, self._on_run_finished),
            (review.frame_changed, self._show_changes),
            (review.pixels_changed, self._on_pixels_changed),
            (review.table_changed, self._on_table_changed),
            (review.masks_changed, self._on_masks_changed),
        )
        viewer.layers.events.removed.connect(self._on_layer_removed)

    @property
    def is_open(self) -> bool:
        """Whether there is something to accept or reject."""
        return self._proposal is not None and self._layer is not None

    @property
    def layer(self) -> Labels | None:
        """The layer with the proposed masks."""
        return self._layer

    @property
    def overlay(self) -> Labels | None:
        """The layer that shows what would change in the frame that is shown."""
        return self._changes.layer

    @property
    def rough(self) -> np.ndarray | None:
        """The (T, Y, X) masks that the first run started from."""
        return self._rough

    def start_from(self, rough: np.ndarray) -> None:
        """Let the next run start from these (T, Y, X) masks, as an earlier session did."""
        self._rough = rough

    def stored(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the proposal for a session: (T, Y, X) masks by name, and small arrays; nothing if none is open."""
        proposal, layer = self._proposal, self._layer
        if proposal is None or layer is None or self._baseline is None:
            return {}, {}
        ids = proposal.object_ids
        nothing = np.zeros(len(layer.data), bool)
        differs = [self._differs.get(object_id, nothing) for object_id in ids]
        return {_PROPOSED: layer.data, _BASELINE: self._baseline}, {
            "proposal_objects": np.array(ids, np.int64),
            "proposal_run": np.array(self._run),
            "decisions": proposal.decisions.copy(),
            "differs": np.array(differs, bool).reshape(len(ids), -1).T.copy(),
        }

    def reopen(self, masks: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> None:
        """Show the proposal that :meth:`stored` told; none if none was open."""
        reviewed = self._review.layer
        if _PROPOSED not in masks or reviewed is None:
            return
        self._layer = make_labels(masks[_PROPOSED], reviewed.name + PROPOSAL_SUFFIX, reviewed, "proposal")
        self._layer.visible = False
        add_unselected(self._viewer, self._layer)
        self._baseline = masks[_BASELINE]
        ids = [int(object_id) for object_id in arrays["proposal_objects"]]
        self._proposal = Proposal(self._baseline, self._layer.data, ids)
        self._proposal.decisions[:] = arrays["decisions"]
        self._differs = dict(zip(ids, arrays["differs"].T.copy(), strict=True))
        self._run = int(arrays["proposal_run"])
        self._show_what_is_open()

    def forget_rough(self) -> None:
        """Start the next run from the masks as they are, because objects are others now."""
        self._rough = None

    def open_frames(self, object_ids: Collection[int] | None = None) -> list[int]:
        """Return the frames in which a change is to be decided about, of some objects or of any."""
        everything = self._open_changes().items()
        changes = [frames for key, frames in everything if object_ids is None or key in object_ids]
        frames: list[int] = np.flatnonzero(np.logical_or.reduce(changes)).tolist() if changes else []
        return frames

    def object_that_changes_most(self, frame: int) -> int:
        """Return the object with the most open changes in a frame; 0 if nothing is open there."""
        masks, layer = self._review.layer, self._layer
        if masks is None or layer is None:
            return 0
        changing = [key for key, frames in self._open_changes().items() if frames[frame]]
        return frame_change(masks.data[frame], layer.data[frame]).changes_most(changing)

    def run(self, parameters: RefineParameters, at_once: bool = False) -> None:
        """Start a run that honours every mark; ``at_once`` writes what it proposes when it ends, unseen."""
        self.close()
        self._at_once = at_once
        # What was decided about it stays so from now on.
        self._proposal, self._differs = None, {}
        self.last_parameters = parameters
        self._runs.propose(parameters, self._review.guidance, self._rough)

    def accept(self, frames: Iterable[int] | None = None, object_ids: Iterable[int] | None = None) -> None:
        """Write proposed masks into the masks, as one undo step; all of them by default.

        What a person drew since the run began stays, and so does what is locked. Many frames are written
        a few at a time, while the person may go on.
        """
        self._review.finish_writing()
        proposal, tracker, layer = self._proposal, self._review.tracker, self._layer
        if proposal is None or tracker is None or layer is None:
            return
        tracker.follow_history()
        chosen = range(tracker.table.frames) if frames is None else sorted(set(frames))
        known = set(proposal.object_ids) & set(tracker.table.object_ids)
        ids = sorted(known if object_ids is None else known & set(object_ids))
        if not proposal.is_open(chosen, ids):
            return
        differed = {key: frames.copy() for key, frames in self._differs.items()}
        acceptance = Acceptance(
            proposal,
            tracker,
            self._run,
            not self._at_once,
            lambda: self._on_taken_back(acceptance, layer, differed),
            lambda: self._on_made_again(acceptance, layer),
        )
        tracker.work(self._accepting(acceptance, chosen, ids), lambda: self._on_accepted(acceptance))

    def reject(self, frames: Iterable[int] | None = None, object_ids: Iterable[int] | None = None) -> None:
        """Leave masks as they are; all of them by default. Undo takes that back."""
        self._review.finish_writing()
        proposal, tracker, layer = self._proposal, self._review.tracker, self._layer
        if proposal is None or tracker is None or layer is None:
            return
        changes = self._open_changes()
        before = proposal.decide(Decision.REJECTED, frames, object_ids)
        rejected = before != proposal.decisions

        def decide(decision: Decision) -> None:
            proposal.decisions[rejected] = decision
            self._show_again(proposal, layer)

        if rejected.any():
            slots = {key: slot for slot, key in enumerate(proposal.object_ids) if key in changes}
            stay = {key: np.flatnonzero(changes[key] & rejected[:, slot]) for key, slot in slots.items()}
            tracker.decide(
                tracker.table.rejected(stay), lambda: decide(Decision.OPEN), lambda: decide(Decision.REJECTED)
            )
            self._show_what_is_open()
            self._review.said.emit("Rejected: your masks stay as they were there. Ctrl-Z takes it back.")

    def toggle_shown(self) -> None:
        """Show the proposed masks instead of the masks, or the masks again."""
        layer, masks, overlay = self._layer, self._review.layer, self.overlay
        if layer is None or masks is None or overlay is None:
            return
        layer.visible = not layer.visible
        masks.visible = overlay.visible = not layer.visible
        self.changed.emit()

    def close(self) -> None:
        """Take the layers of the proposal away; what was accepted stays."""
        self._review.finish_writing()
        layer, self._layer = self._layer, None
        self._changes.close()
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        if layer is not None and self._review.layer is not None:
            self._review.layer.visible = True
            self._viewer.layers.selection.active = self._review.layer
        self._review.show_proposed({})
        self.changed.emit()

    def shut_down(self) -> None:
        """Let go of everything, layers included; the controller is of no use afterwards."""
        self._connections.release()
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self.close()

    def _accepting(self, acceptance: Acceptance, frames: Sequence[int], ids: Sequence[int]) -> Iterator[None]:
        changing = self.open_frames()
        for frame in acceptance.steps(frames, changing, ids, lambda frame: frame == self._review.frame):
            self._compare(frame)
            done = len(acceptance.written)
            if done and done % _FRAMES_BETWEEN_WORDS == 0:
                self._review.said.emit(f"{done} frames are written, of {len(changing)} at most.")
            yield

    def _on_accepted(self, acceptance: Acceptance) -> None:
        self._compared = set(acceptance.written)
        acceptance.end()
        self._show_what_is_open()
        self._review.said.emit(acceptance.in_words())

    def _on_taken_back(self, acceptance: Acceptance, layer: Labels, differed: dict[int, np.ndarray]) -> None:
        acceptance.take_back()
        if acceptance.proposal is not self._proposal:
            return
        for object_id, differs in self._differs.items():
            before = differed.get(object_id)
            differs[acceptance.written] = False if before is None else before[acceptance.written]
        self._compared = set(acceptance.written)
        self._show_again(acceptance.proposal, layer)

    def _on_made_again(self, acceptance: Acceptance, layer: Labels) -> None:
        acceptance.make_again()
        self._show_again(acceptance.proposal, layer)

    def _show_again(self, proposal: Proposal, layer: Labels) -> None:
        """Show what is open of a proposal about which decisions came or went, if it is still the one."""
        if proposal is not self._proposal:
            return
        if self._layer is None and self.open_frames():
            # One layer after the other: for each of them the window stands still. Held here until it is done.
            self._coming_back = self._in_slices(self._bring_back(layer), lambda: None)
        else:
            self._show_what_is_open()

    def _bring_back(self, layer: Labels) -> Iterator[None]:
        self._layer = layer
        layer.visible = False
        add_unselected(self._viewer, layer)
        yield
        if self._layer is layer:
            self._show_what_is_open()

    def _open_changes(self) -> dict[int, np.ndarray]:
        proposal, table = self._proposal, self._review.table
        if proposal is None or table is None:
            return self._differs
        # What a person drew or locked since the run began stays, so there is nothing to decide about it.
        known = set(self._differs) & set(table.object_ids)
        return {
            key: self._differs[key] & (proposal.decisions[:, slot] == Decision.OPEN) & ~table.is_settled([key])[:, 0]
            for slot, key in enumerate(proposal.object_ids)
            if key in known
        }

    def _show_what_is_open(self) -> None:
        if not self.open_frames():
            self.close()
            return
        assert self._review.layer is not None
        self._changes.open(self._review.layer)
        self._review.show_proposed(self._open_changes())
        self._show_changes()
        self.changed.emit()

    def _show_changes(self, *_: object) -> None:
        masks, layer = self._review.layer, self._layer
        if masks is None or layer is None or self.overlay is None:
            return
        frame, table = self._review.frame, self._review.table
        changing = [key for key, frames in self._open_changes().items() if frames[frame]]
        settled = [] if table is None else table.settled(frame)
        self._changes.show(change_map(masks.data[frame], layer.data[frame], changing, settled))

    def _compare(self, frame: int) -> None:
        masks, layer = self._review.layer, self._layer
        if masks is None or layer is None:
            return
        change = frame_change(masks.data[frame], layer.data[frame])
        for object_id in {*change.added, *change.removed, *self._differs}:
            differs = self._differs.setdefault(object_id, np.zeros(len(layer.data), bool))
            differs[frame] = object_id in change.added or object_id in change.removed

    def _on_output_opened(self, result: RunResult) -> None:
        if result.task is not Task.PROPOSE or self._review.layer is None:
            return
        self._layer, self._baseline, self._frames_come = result.layer, result.baseline, 0
        self._proposal, self._differs = None, {}
        if self._rough is None:
            self._rough = result.baseline

    def _on_frame_finished(self, frame: int) -> None:
        masks = self._review.layer
        if self._layer is not None and self._proposal is None and masks is not None:
            # The first frame brought a layer already, for which the window stood still, and while it did
            # the second one has come.
            self._frames_come += 1
            opens_overlay = self.overlay is None and self._frames_come > _FRAMES_BEFORE_OVERLAY
            if opens_overlay:
                self._changes.open(masks)
            self._compare(frame)
            self._review.show_proposed(self._differs)
            if opens_overlay or frame == self._review.frame:
                self._show_changes()

    def _on_run_finished(self, result: RunResult) -> None:
        table = self._review.table
        if result.task is not Task.PROPOSE or table is None or self._layer is None or self._baseline is None:
            return
        report = result.report
        if report is not None and self.last_parameters is not None:
            self.last_report = report
            before = quality_of(np.array(report.input_quality or report.scores))
            after = np.array(report.quality) if report.quality else None
            parameters = self.last_parameters.to_json()
            self._review.apply(table.ran(parameters, report.objects, before, report.exemplars, after))
        self._run = table.runs[-1].number if table.runs else 0
        self._proposal = Proposal(self._baseline, self._layer.data, table.object_ids)
        if self._at_once and self.open_frames():
            self.accept()
        self._at_once = False
        self._show_what_is_open()

    def _on_pixels_changed(self, frames: set[int]) -> None:
        compared, self._compared = self._compared, set()
        if self._layer is not None and self._proposal is not None:
            for frame in frames - compared:
                self._compare(frame)
            if self._review.frame in frames:
                self._show_changes()

    def _on_table_changed(self) -> None:
        table = self._review.table
        if self._layer is None or self._proposal is None or table is None:
            return
        settled = table.is_settled()
        if not np.array_equal(settled, self._settled):
            self._settled = settled
            self._review.show_proposed(self._open_changes())
            self._show_changes()
            self.changed.emit()

    def _on_masks_changed(self, layer: Labels | None) -> None:
        if layer is None:
            self._rough = self.last_report = self._proposal = None
            self._differs = {}
            self.close()

    def _on_layer_removed(self, event: Any) -> None:
        if event.value == self._layer:
            self.close()
