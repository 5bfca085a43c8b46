"""Where to look next: the frame whose correction helps most, and frames that no person has agreed with."""

from __future__ import annotations

import numpy as np

from ..core.review_cells import Source
from ..core.suggestion import Suggestion, next_to_fix, next_unreviewed
from . import jobs
from .connections import Connections
from .review_controller import ReviewController, in_words

_MOST_NAMED = 3


class Guide:
    """Leads a person through the reviewed masks, and says why in the review's words.

    Parameters
    ----------
    review : ReviewController
        What knows the masks and goes to frames.
    start_job : callable
        What starts a computation; see :mod:`plugin.jobs`.
    """

    def __init__(self, review: ReviewController, start_job: jobs.StartJob) -> None:
        self._review = review
        self._start_job = start_job
        self._suggesting: jobs.Job | None = None
        self._links: dict[int, np.ndarray] = {}
        self._connections = Connections((review.masks_changed, self._on_masks_changed))

    @property
    def links(self) -> dict[int, np.ndarray]:
        """How far a correction reaches, as :meth:`use_links` was told."""
        return self._links

    def use_links(self, links: dict[int, np.ndarray]) -> None:
        """Judge how far a correction reaches by these: object id to (T - 1,), as :func:`next_to_fix` takes them."""
        self._links = links

    def shut_down(self) -> None:
        """Let go of everything; the guide is of no use afterwards."""
        self._connections.release()
        self._stop()

    def suggest(self) -> None:
        """Go to the frame whose correction would help most, and say why."""
        table = self._review.table
        if table is None or self._suggesting is not None:
            return
        ids = table.object_ids
        quality, links = self.quality(), self._links
        # Accepting a whole proposal at once is no look at each of its masks.
        known = table.is_settled()
        self._suggesting = self._start_job(
            lambda: jobs.outcome_of(lambda: next_to_fix(quality, known, ids, links)),
            self._on_suggestion,
            self._on_suggested,
        )

    def quality(self) -> np.ndarray:
        """Return the estimated quality of the masks as they are, (T, Q) float32; NaN if unknown."""
        table = self._review.table
        assert table is not None
        # Of masks of an earlier run, "after" tells what the last run proposes instead of them.
        last_run = table.runs[-1].number if table.runs else 0
        is_its_mask = (table.column("source") == Source.RUN) & (table.column("run") == last_run)
        after = table.column("after")
        return np.asarray(np.where(is_its_mask & ~np.isnan(after), after, table.column("before")))

    def go_to_unreviewed(self, step: int = 1) -> None:
        """Go to the next frame (the previous one if ``step`` is -1) with a mask that no person has agreed with."""
        review, table = self._review, self._review.table
        if table is None:
            return
        reviewed = table.column("edited") | table.column("locked") | table.column("accepted")
        frame = next_unreviewed(reviewed, review.frame, step)
        if frame is None:
            review.said.emit("You have seen every mask.")
            return
        review.go_to(frame)
        waiting = [key for key, seen in zip(table.object_ids, reviewed[frame], strict=True) if not seen]
        names = ", ".join(table.title(key) for key in waiting)
        named = names if len(waiting) <= _MOST_NAMED else in_words("object", waiting)
        review.said.emit(f"Frame {frame}: not reviewed yet for {named}.")

    def _on_suggestion(self, event: jobs.JobEvent) -> None:
        review, table = self._review, self._review.table
        if isinstance(event, jobs.Failure):
            review.said.emit(event.message)
            return
        assert isinstance(event, jobs.Outcome)
        assert table is not None
        suggestion: Suggestion | None = event.value
        if suggestion is None:
            review.said.emit("You have corrected or locked every mask.")
            return
        review.go_to(suggestion.frame)
        review.select_object(suggestion.object_id)
        review.said.emit(f"Frame {suggestion.frame}, {table.title(suggestion.object_id)}: {suggestion.reason}")

    def _on_suggested(self) -> None:
        self._suggesting = None

    def _on_masks_changed(self, layer: object) -> None:
        if layer is None:
            self._stop()
            self._links = {}

    def _stop(self) -> None:
        if self._suggesting is not None:
            self._suggesting.detach()
        self._suggesting = None
