"""The session without widgets: saved beside the video in a worker, found again when the video is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from psygnal import Signal

from ..core.clip import Clip
from ..core.errors import UserError
from ..core.review import ReviewTable
from ..files.samples import is_sample
from ..files.session import OpenedSession, Session, SessionFolder, session_folder, video_fingerprint
from . import jobs
from .controller import RefineController, State
from .layers import clip_of, make_labels, role_of
from .proposal_controller import ProposalController
from .review_controller import ReviewController

_MASKS, _COMMITTED, _ROUGH = "masks", "committed", "rough"


class SessionController:
    """Saves what a person did, and opens it again.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where the masks of a session are added.
    runs, review, proposals : RefineController, ReviewController, ProposalController
        What knows the video, the masks and what the first run started from.
    choose_masks : callable
        Makes a Labels layer the chosen masks.
    start_job : callable
        What starts a computation; see :mod:`plugin.jobs`.
    """

    found = Signal(bool)
    """Whether there is a session of the chosen video."""
    opened = Signal(object, list)
    """A session is open: its Labels layer, and sentences of warning."""
    saved = Signal(str)
    """The session was saved into this folder."""
    failed = Signal(str)
    """A sentence on why it could not be saved or opened."""

    def __init__(
        self,
        viewer: Any,
        runs: RefineController,
        review: ReviewController,
        proposals: ProposalController,
        choose_masks: Callable[[Labels], None],
        start_job: jobs.StartJob,
    ) -> None:
        self._viewer = viewer
        self._runs = runs
        self._review = review
        self._proposals = proposals
        self._choose_masks = choose_masks
        self._start_job = start_job
        self._video: Image | None = None
        self._folder: SessionFolder | None = None
        self._fingerprint: dict[str, Any] | None = None
        self._job: jobs.Job | None = None
        self._changed: set[int] = set()
        self._saved_layer: Labels | None = None
        self._saved_rough: np.ndarray | None = None
        self._is_dirty = False
        self._opens_next = False
        self._connections: list[tuple[Any, Any]] = [
            (review.table_changed, self._on_table_changed),
            (review.pixels_changed, self._on_pixels_changed),
            (review.masks_changed, self._on_masks_changed),
        ]
        for signal, slot in self._connections:
            signal.connect(slot)

    @property
    def can_save(self) -> bool:
        """Whether there is something to save and a place for it, and neither a save nor a run is under way."""
        is_free = self._job is None and self._runs.state is not State.RUNNING
        return self._folder is not None and self._review.tracker is not None and is_free

    @property
    def is_dirty(self) -> bool:
        """Whether something changed since the last save."""
        return self._is_dirty

    def choose_video(self, layer: Image | None) -> None:
        """Look for the session of a video; one that came from no file has none."""
        self._video = layer
        path = None if layer is None else layer.source.path
        self._folder = None
        if path is not None and Path(path).exists() and not is_sample(path):
            self._folder = SessionFolder(session_folder(path))
        self._fingerprint = None
        self.found.emit(self._folder is not None and self._folder.exists())

    def save(self) -> None:
        """Save in a worker."""
        work = self._work()
        if work is None:
            return
        self._changed, self._is_dirty = set(), False

        def listen(event: jobs.JobEvent) -> None:
            if isinstance(event, jobs.Failure):
                # What was to be saved is not: the next save must look at everything.
                self._saved_layer, self._is_dirty = None, True
                self.failed.emit(event.message)
            elif isinstance(event, jobs.Outcome):
                self.saved.emit(str(event.value))

        self._job = self._start_job(lambda: jobs.outcome_of(work), listen, self._on_end)

    def save_now(self) -> None:
        """Save before anything else happens, because the window closes."""
        work = self._work() if self._is_dirty else None
        if work is not None:
            try:
                work()
            except UserError as error:
                self.failed.emit(str(error))
            self._is_dirty = False

    def open(self) -> None:
        """Open the session of the chosen video; its masks become a new layer."""
        folder, video = self._folder, self._video
        if folder is None or video is None:
            return
        if self._job is not None:
            self._opens_next = True
            return
        clip = clip_of(video)

        def listen(event: jobs.JobEvent) -> None:
            if isinstance(event, jobs.Failure):
                self.failed.emit(event.message)
            elif isinstance(event, jobs.Outcome) and video == self._video:
                self._show(event.value, video)

        self._job = self._start_job(lambda: jobs.outcome_of(lambda: folder.load(clip)), listen, self._on_end)

    def shut_down(self) -> None:
        """Let go of everything; the controller is of no use afterwards."""
        for signal, slot in self._connections:
            signal.disconnect(slot)
        if self._job is not None:
            self._job.detach()

    def _work(self) -> Callable[[], Path] | None:
        folder, tracker, video = self._folder, self._review.tracker, self._video
        if folder is None or tracker is None or video is None or self._job is not None:
            return None
        rough, parameters = self._proposals.rough, self._proposals.last_parameters
        masks: dict[str, Any] = {_MASKS: tracker.layer.data, _COMMITTED: tracker.committed}
        changed: dict[str, set[int]] = {}
        if self._saved_layer == tracker.layer:
            changed = {_MASKS: set(self._changed), _COMMITTED: set(self._changed)}
        if rough is not None:
            masks[_ROUGH] = rough
            if rough is self._saved_rough:
                changed[_ROUGH] = set()
        session = Session(
            masks,
            ReviewTable.from_arrays(*tracker.table.to_arrays()),
            {} if parameters is None else {key: str(value) for key, value in asdict(parameters).items()},
            {
                "name": tracker.layer.name,
                "role": role_of(tracker.layer),
                "frame": self._review.frame,
                "selected_label": int(tracker.layer.selected_label),
                "opacity": float(tracker.layer.opacity),
            },
        )
        self._saved_layer, self._saved_rough = tracker.layer, rough
        clip = clip_of(video)

        def work() -> Path:
            folder.save(session, self._known_fingerprint(clip), changed)
            return folder.folder

        return work

    def _known_fingerprint(self, clip: Clip) -> dict[str, Any]:
        # Once a video, because it reads frames.
        self._fingerprint = self._fingerprint or video_fingerprint(clip)
        return self._fingerprint

    def _show(self, opened: OpenedSession, video: Image) -> None:
        session = opened.session
        view = session.view
        data = np.asarray(session.masks[_MASKS])
        layer = make_labels(data, str(view["name"]), video, str(view["role"] or "refined"))
        self._viewer.add_layer(layer)
        self._choose_masks(layer)
        self._review.adopt(session.review, np.asarray(session.masks[_COMMITTED]))
        if _ROUGH in session.masks:
            self._proposals.start_from(np.asarray(session.masks[_ROUGH]))
        layer.selected_label = int(view["selected_label"])
        layer.opacity = float(view["opacity"])
        self._review.go_to(int(view["frame"]))
        self._is_dirty = False
        self.opened.emit(layer, opened.warnings)

    def _on_end(self) -> None:
        self._job = None
        if self._opens_next:
            self._opens_next = False
            self.open()

    def _on_table_changed(self) -> None:
        self._is_dirty = self._review.tracker is not None

    def _on_pixels_changed(self, frames: set[int]) -> None:
        self._changed |= frames

    def _on_masks_changed(self, _layer: Labels | None) -> None:
        self._changed, self._saved_layer, self._is_dirty = set(), None, False
