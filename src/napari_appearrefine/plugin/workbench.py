"""All controllers of the plugin together, and the actions that keys, buttons and menus share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from psygnal import Signal

from ..core.errors import UserError
from ..core.parameters import FlowMaskParameters, RefineParameters
from . import jobs
from .controller import RefineController, RunResult, Task
from .engine_calls import Refiner
from .error_map import ErrorMap
from .exemplar_views import ExemplarViews
from .guide import Guide
from .layers import clip_of
from .objects_controller import ObjectsController
from .proposal_controller import ProposalController
from .review_controller import ReviewController
from .session_controller import SessionController
from .truth_controller import TruthController

if TYPE_CHECKING:
    from ..engine.expectation import Expectation


class Workbench:
    """What the dock shows; could live without it.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        The viewer.
    runs : RefineController, optional
        What runs.
    start_job : callable, optional
        What starts small computations; see :mod:`plugin.jobs`.
    explain : callable, optional
        What computes likely errors; by default the engine, which shares what the runs computed.
    follow : callable, optional
        What tells, after a run, how far corrections reach; the engine by default, if it is what runs.
    in_slices : callable, optional
        What does long work in the main thread; see :mod:`plugin.jobs`.
    """

    refine_requested = Signal()
    """A key asks for a run, whose settings the dock knows."""
    keys_requested = Signal()
    """A key asks for the list of keys."""

    def __init__(
        self,
        viewer: Any,
        runs: RefineController | None = None,
        start_job: jobs.StartJob = jobs.start_job,
        explain: jobs.Explain | None = None,
        follow: jobs.Follow | None = None,
        in_slices: jobs.RunInSlices = jobs.run_in_slices,
    ) -> None:
        refiner = Refiner()
        self._viewer = viewer
        self._start_job = start_job
        self._follow = refiner.follow if runs is None else follow
        self._following: jobs.Job | None = None
        self.runs = runs or RefineController(viewer, refine_events=refiner)
        self.review = ReviewController(viewer, start_job, in_slices)
        self.guide = Guide(self.review, start_job)
        self.proposals = ProposalController(viewer, self.runs, self.review, in_slices)
        self.error_map = ErrorMap(viewer, self.runs, self.review, self.proposals, start_job, explain or refiner.explain)
        self.objects = ObjectsController(viewer, self.runs, self.review, self.proposals, start_job)
        self.session = SessionController(
            viewer, self.runs, self.review, self.guide, self.proposals, self.choose_masks, start_job
        )
        self.truth = TruthController(self.review, start_job)
        self.exemplars = ExemplarViews(self.runs, self.review, start_job)
        self.runs.run_finished.connect(self._on_run_finished)

    def choose_video(self, layer: Image | None) -> None:
        """Choose the video to work on."""
        self.runs.choose_video(layer)
        self.session.choose_video(layer)

    def choose_masks(self, layer: Labels | None) -> None:
        """Choose the masks to refine and review."""
        if layer != self.review.layer:
            self.session.leave()
        self.runs.choose_masks(layer)
        self.review.choose_masks(layer)

    @property
    def holds_work(self) -> bool:
        """Whether the masks hold what a person edited or locked."""
        table = self.review.table
        return table is not None and table.settled_frames > 0

    def find_masks(self, parameters: FlowMaskParameters) -> None:
        """Start to compute masks from motion, beside the masks there are if any of them hold a person's work."""
        self.runs.find_masks(parameters, aside=self.holds_work or self.review.keeps_work)

    def refine(self, parameters: RefineParameters, directly: bool = False) -> None:
        """Start a run.

        Parameters
        ----------
        parameters : RefineParameters
            Settings.
        directly : bool
            Write the result at once instead of proposing it. Masks that cannot be written, or are not
            read yet, are always refined directly, into a layer of their own.
        """
        masks = self.review.layer
        if masks is None or (directly and self.runs.output_of_refinement()[1] != masks):
            self.proposals.close()
            self.runs.refine(parameters, self.review.guidance)
        elif self.runs.can_refine:
            # In place, too: then marks and pixels come and go together, and what a person painted stays.
            self.proposals.run(parameters, at_once=directly)

    def expected(self, parameters: RefineParameters) -> Expectation | None:
        """Say what a run would take, or None while the masks are not read or a setting is unusable."""
        from ..engine.expectation import expected_refinement

        video, table = self.runs.video, self.review.table
        if video is None or table is None:
            return None
        try:
            return expected_refinement(clip_of(video), len(table.object_ids), parameters)
        except UserError:
            return None

    def actions(self) -> dict[str, Callable[[], object]]:
        """Return what each key of :mod:`plugin.shortcuts` does, those of the history included."""
        review, proposals = self.review, self.proposals
        return {
            "next_to_fix": self.guide.suggest,
            "next_unreviewed": lambda: self.guide.go_to_unreviewed(1),
            "previous_unreviewed": lambda: self.guide.go_to_unreviewed(-1),
            "next_change": self.go_to_change,
            "lock_object": review.toggle_lock,
            "lock_frame": lambda: review.toggle_lock(object_ids=self._all_objects()),
            "pin_exemplar": review.toggle_pin,
            "ban_exemplar": review.toggle_ban,
            "refine": self.refine_requested.emit,
            "accept_frame": lambda: proposals.accept(review.selected_frames),
            "accept_all": proposals.accept,
            "reject_frame": lambda: proposals.reject(review.selected_frames),
            "reject_all": proposals.reject,
            "show_proposed": proposals.toggle_shown,
            "show_errors": self.error_map.toggle,
            "solo_object": self.toggle_solo,
            "new_object": self.objects.new,
            "grow_object": self.objects.grow,
            "save_session": self.session.save,
            "show_keys": self.keys_requested.emit,
            "undo": lambda: self._with_history().undo(),
            "redo": lambda: self._with_history().redo(),
        }

    def go_to_change(self) -> None:
        """Go to the next frame that the proposal changes; after the last one comes the first."""
        frames = self.proposals.open_frames()
        if frames:
            later = [frame for frame in frames if frame > self.review.frame]
            self.review.go_to((later or frames)[0])
            self.review.select_object(self.proposals.object_that_changes_most(self.review.frame))

    def toggle_solo(self) -> None:
        """Show only the selected object, or all of them again."""
        layer = self.review.layer
        if layer is not None:
            layer.show_selected_label = not layer.show_selected_label

    def shut_down(self) -> None:
        """Stop what runs and let go of the viewer."""
        self.runs.run_finished.disconnect(self._on_run_finished)
        self._forget_reach()
        self.exemplars.shut_down()
        self.truth.shut_down()
        self.session.shut_down()
        self.objects.shut_down()
        self.error_map.shut_down()
        self.proposals.shut_down()
        self.guide.shut_down()
        self.review.shut_down()
        self.runs.shut_down()

    def _with_history(self) -> ReviewController | Labels:
        # Another layer that a person paints on has a history of its own.
        active = self._viewer.layers.selection.active
        is_another = isinstance(active, Labels) and active.editable and active != self.review.layer
        return active if is_another else self.review

    def _all_objects(self) -> list[int]:
        return [] if self.review.table is None else self.review.table.object_ids

    def _on_run_finished(self, result: RunResult) -> None:
        wrote_what_is_reviewed = result.layer is not None and result.layer == self.review.layer
        if result.task is not Task.PROPOSE and wrote_what_is_reviewed:
            self.review.read_again()
        elif result.task is not Task.PROPOSE and result.layer is not None:
            self.review.forget(result.layer)
        elif result.task is Task.PROPOSE:
            self._measure_reach()

    def _measure_reach(self) -> None:
        video, layer, follow = self.runs.video, self.review.layer, self._follow
        if video is None or layer is None or follow is None:
            return
        self._forget_reach()
        clip, masks, ids = clip_of(video), layer.data, self._all_objects()

        def listen(event: jobs.JobEvent) -> None:
            if isinstance(event, jobs.Outcome) and self.review.layer == layer:
                self.guide.use_links(event.value)

        self._following = self._start_job(
            lambda: jobs.outcome_of(lambda: follow(clip, masks, ids)), listen, self._on_followed
        )

    def _on_followed(self) -> None:
        self._following = None

    def _forget_reach(self) -> None:
        if self._following is not None:
            self._following.detach()
        self._following = None
