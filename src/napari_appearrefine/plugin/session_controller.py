"""The session without widgets: saved beside the video in a worker, found again when the video is opened."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from psygnal import Signal

from ..core.clip import Clip, FrameSource
from ..core.errors import UserError
from ..core.parameters import RefineParameters
from ..core.patches import differing_frames
from ..core.review import ReviewTable
from ..files.samples import is_sample
from ..files.session import OpenedSession, Session, SessionFolder, session_folder, video_fingerprint
from . import jobs
from .connections import Connections
from .controller import RefineController
from .edit_tracker import EditTracker
from .guide import Guide
from .layers import clip_of, make_labels, role_of
from .proposal_controller import ProposalController
from .review_controller import ReviewController
from .view_state import colours_of, set_colours, show_view, view_of

ReadPart = Callable[[], dict[str, Any]]
ShowPart = Callable[[dict[str, Any]], None]
_MASKS, _COMMITTED, _ROUGH = "masks", "committed", "rough"


class SessionController:
    """Saves what a person did, and opens it again.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where the masks of a session are added.
    runs, review, guide, proposals : RefineController, ReviewController, Guide, ProposalController
        What knows the video, the masks, how far corrections reach and what the first run started from.
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
    kept = Signal(str)
    """An earlier session, which nobody opened, is kept in this folder."""
    failed = Signal(str)
    """A sentence on why it could not be saved or opened."""

    def __init__(
        self,
        viewer: Any,
        runs: RefineController,
        review: ReviewController,
        guide: Guide,
        proposals: ProposalController,
        choose_masks: Callable[[Labels], None],
        start_job: jobs.StartJob,
    ) -> None:
        self._viewer = viewer
        self._runs = runs
        self._review = review
        self._guide = guide
        self._proposals = proposals
        self._choose_masks = choose_masks
        self._start_job = start_job
        self._video: Image | None = None
        self._place: _Place | None = None
        self.saves_by_itself = False
        self._job: jobs.Job | None = None
        self._changed: set[int] = set()
        self._saved_masks: dict[str, FrameSource] = {}
        self._saved_view: dict[str, Any] = {}
        self._works = 0
        self._is_dirty = False
        self._opens_next = self._saves_next = False
        self._parts: dict[str, tuple[ReadPart, ShowPart]] = {}
        self._connections = Connections(
            (review.table_changed, self._on_table_changed),
            (review.pixels_changed, self._on_pixels_changed),
            (review.masks_changed, self._on_masks_changed),
            (proposals.changed, self._on_table_changed),
        )

    @property
    def can_save(self) -> bool:
        """Whether there is something to save and a place for it, and nothing writes the masks just now."""
        tracker = self._review.tracker
        if self._place is None or tracker is None or self._job is not None:
            return False
        return self._belongs(tracker) and not tracker.is_writing and not self._runs.writes_to(tracker.layer)

    @property
    def is_dirty(self) -> bool:
        """Whether something changed since the last save, even if it is only how it is looked at.

        What is there of other masks is not replaced before a person has done something about these.
        """
        tracker, video, place = self._review.tracker, self._video, self._place
        if tracker is not None and place is not None and place.is_of_others(tracker) and not _holds_work(tracker):
            return False
        if self._is_dirty or tracker is None or video is None:
            return self._is_dirty
        return self._view(tracker, video) != self._saved_view

    def keep(self, name: str, read: ReadPart, show: ShowPart) -> None:
        """Keep how a part of the window looks.

        Parameters
        ----------
        name : str
            What it is called in the session.
        read : callable
            Returns it, JSON-ready.
        show : callable
            Lets the part look as ``read`` told, once everything else is open.
        """
        self._parts[name] = read, show

    def choose_video(self, layer: Image | None) -> None:
        """Look for the session of a video; one that came from no file has none."""
        self.leave()
        self._video = layer
        path = None if layer is None else layer.source.path
        self._place = None
        if path is not None and Path(path).exists() and not is_sample(path):
            folder = SessionFolder(session_folder(path))
            self._place = _Place(folder, is_unopened=folder.exists())
        self.found.emit(self._place is not None and self._place.is_unopened)

    def leave(self) -> None:
        """Save what a person did last, before another video or other masks are chosen."""
        tracker = self._review.tracker
        if not self.saves_by_itself or tracker is None or not (self.is_dirty and _holds_work(tracker)):
            return
        self._review.finish_writing()
        if self.can_save:
            self.save()
        else:
            self.save_now()

    def save(self) -> None:
        """Save in a worker; again if the masks changed while it read them."""
        work, place = self._work() if self.can_save else None, self._place
        if work is None or place is None:
            return
        self._is_dirty = False

        def listen(event: jobs.JobEvent) -> None:
            if isinstance(event, jobs.Failure):
                # What was to be saved is not: the next save must look at everything.
                self._saved_masks, self._is_dirty = {}, True
                self.failed.emit(event.message)
            elif isinstance(event, jobs.Outcome) and event.value is None:
                self._is_dirty = self._saves_next = True
            elif isinstance(event, jobs.Outcome):
                if place.aside is not None:
                    self.kept.emit(str(place.aside))
                place.aside = None
                self.saved.emit(str(event.value))

        self._job = self._start_job(lambda: jobs.outcome_of(work), listen, self._on_end)

    def save_now(self) -> None:
        """Save before anything else happens, because the window closes; waits for a save that is under way."""
        self._review.finish_writing()
        if self._job is not None:
            # Nobody will hear what becomes of it.
            self._saved_masks, self._is_dirty = {}, True
        work = self._work() if self.is_dirty else None
        if work is not None:
            try:
                work()
            except UserError as error:
                self.failed.emit(str(error))
            self._is_dirty = False

    def open(self) -> None:
        """Open the session of the chosen video; its masks become a new layer."""
        place, video = self._place, self._video
        if place is None or video is None:
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

        self._job = self._start_job(lambda: jobs.outcome_of(lambda: _loaded(place.folder, clip)), listen, self._on_end)

    def shut_down(self) -> None:
        """Let go of everything; the controller is of no use afterwards."""
        self._connections.release()
        if self._job is not None:
            self._job.detach()

    def _work(self) -> Callable[[], Path | None] | None:
        place, tracker, video = self._place, self._review.tracker, self._video
        if place is None or tracker is None or video is None or not self._belongs(tracker):
            return None
        session, clip = self._session(tracker, video), clip_of(video)
        changed = {
            name: set(self._changed) if name in (_MASKS, _COMMITTED) else set()
            for name, masks in session.masks.items()
            if self._saved_masks.get(name) is masks
        }
        self._saved_masks, self._saved_view = dict(session.masks), session.view
        self._changed = set()
        self._works += 1
        number, owner = self._works, tracker.layer.unique_id if _holds_work(tracker) else None
        is_of_others = place.is_of_others(tracker)

        def is_current() -> bool:
            return number == self._works and not self._changed and not tracker.is_writing

        def work() -> Path | None:
            if is_of_others and place.folder.exists():
                # What nobody opened is not overwritten, nor a person's work on other masks.
                place.aside = place.folder.set_aside()
            place.is_unopened, place.owner = False, owner
            saved = place.folder.save(session, place.fingerprint_of(clip), changed, is_current)
            return None if saved is None else place.folder.folder

        return work

    def _session(self, tracker: EditTracker, video: Image) -> Session:
        proposals = self._proposals
        masks: dict[str, FrameSource] = {_MASKS: tracker.layer.data, _COMMITTED: tracker.committed}
        if proposals.rough is not None:
            masks[_ROUGH] = proposals.rough
        proposed, arrays = proposals.stored()
        links = self._guide.links
        arrays |= tracker.painted_cells() | colours_of(tracker.layer)
        if links:
            arrays |= {"links_objects": np.array(list(links), np.int64), "links": np.stack(list(links.values()), 1)}
        parameters = proposals.last_parameters
        return Session(
            masks | proposed,
            ReviewTable.from_arrays(*tracker.table.to_arrays()),
            {} if parameters is None else parameters.to_json(),
            self._view(tracker, video),
            arrays,
            proposals.last_report,
        )

    def _view(self, tracker: EditTracker, video: Image) -> dict[str, Any]:
        layer, proposed = tracker.layer, self._proposals.layer
        facts = {
            "name": layer.name,
            "role": role_of(layer),
            "frame": self._review.frame,
            "shows_proposed": proposed is not None and bool(proposed.visible),
        }
        parts = {name: read() for name, (read, _) in self._parts.items()}
        return facts | view_of(self._viewer, video, layer) | parts

    def _belongs(self, tracker: EditTracker) -> bool:
        """Whether the masks are of the size of the chosen video, and that is one."""
        try:
            clip = None if self._video is None else clip_of(self._video)
        except UserError:
            return False
        return clip is not None and tracker.layer.data.shape == (len(clip), *clip.size)

    def _show(self, loaded: _Loaded, video: Image) -> None:
        opened = loaded.opened
        session, review, proposals = opened.session, self._review, self._proposals
        masks = {name: np.asarray(labels) for name, labels in session.masks.items()}
        view, arrays = session.view, session.arrays
        layer = make_labels(masks[_MASKS], str(view["name"]), video, str(view["role"] or "refined"))
        set_colours(layer, arrays)
        self._viewer.add_layer(layer)
        self._choose_masks(layer)
        review.adopt(session.review, masks[_COMMITTED], arrays, loaded.differing)
        if _ROUGH in masks:
            proposals.start_from(masks[_ROUGH])
        if "links" in arrays:
            ids = (int(object_id) for object_id in arrays["links_objects"])
            self._guide.use_links(dict(zip(ids, arrays["links"].T, strict=True)))
        if self._place is not None:
            self._place.is_unopened, self._place.owner = False, layer.unique_id
        proposals.last_report = session.report
        proposals.last_parameters = loaded.parameters
        review.go_to(int(view["frame"]))
        proposals.reopen(masks, arrays)
        for name, (_, show) in self._parts.items():
            if name in view:
                show(view[name])
        show_view(self._viewer, video, layer, view)
        if proposals.layer is not None and proposals.layer.visible != view["shows_proposed"]:
            proposals.toggle_shown()
        self._is_dirty, self._saved_view = False, self._view(review.tracker, video) if review.tracker else {}
        self.opened.emit(layer, opened.warnings)

    def _on_end(self) -> None:
        self._job = None
        if self._opens_next:
            self._opens_next = self._saves_next = False
            self.open()
        elif self._saves_next:
            self._saves_next = False
            self.save()

    def _on_table_changed(self) -> None:
        self._is_dirty = self._review.tracker is not None

    def _on_pixels_changed(self, frames: set[int]) -> None:
        self._changed |= frames

    def _on_masks_changed(self, _layer: Labels | None) -> None:
        self._changed, self._saved_masks, self._is_dirty = set(), {}, False
        place = self._place
        if place is not None and place.owner not in (None, *(layer.unique_id for layer in self._viewer.layers)):
            # The layer is gone, perhaps by mistake, for which napari has no undo.
            place.is_unopened, place.owner = True, None
            self.found.emit(True)


@dataclass
class _Place:
    """Where the session of a video is kept.

    Parameters
    ----------
    folder : SessionFolder
        The folder.
    is_unopened : bool
        Whether an earlier session is in it that nobody opened.
    owner : hashable, optional
        The layer that a person's work in it is about; None if there is no work in it.
    aside : Path, optional
        Where an earlier session was put, until the person is told.
    """

    folder: SessionFolder
    is_unopened: bool
    owner: Hashable = None
    aside: Path | None = None
    _fingerprint: dict[str, Any] | None = None

    def is_of_others(self, tracker: EditTracker) -> bool:
        """Whether it holds what a person did about other masks."""
        return self.is_unopened or self.owner not in (None, tracker.layer.unique_id)

    def fingerprint_of(self, clip: Clip) -> dict[str, Any]:
        """Return what the video is known by, computed once, because it reads frames."""
        self._fingerprint = self._fingerprint or video_fingerprint(clip)
        return self._fingerprint


@dataclass(frozen=True)
class _Loaded:
    """A session as it was read; ``differing`` are the frames whose masks are others than those that were committed."""

    opened: OpenedSession
    differing: list[int]
    parameters: RefineParameters | None


def _loaded(folder: SessionFolder, clip: Clip) -> _Loaded:
    opened = folder.load(clip)
    session = opened.session
    masks, committed = (session.masks[name] for name in (_MASKS, _COMMITTED))
    differing = differing_frames(masks, committed)
    parameters = RefineParameters.from_json(session.parameters) if session.parameters else None
    return _Loaded(opened, differing, parameters)


def _holds_work(tracker: EditTracker) -> bool:
    """Whether a person did something about the masks: painted, marked, or had them refined."""
    table = tracker.table
    return bool(table.settled_frames or table.runs or table.names or table.column("exemplar").any())
