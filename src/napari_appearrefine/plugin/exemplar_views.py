"""Small pictures of the exemplars of the selected object, read and cut out in a worker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from psygnal import Signal

from ..core.clip import Clip
from ..core.review_cells import ExemplarState
from . import jobs
from .connections import Connections
from .controller import RefineController
from .error_map import FewFrames
from .layers import clip_of
from .review_controller import ReviewController

SIDE = 56
_MARGIN = 0.2
_MOST = 24


@dataclass(frozen=True)
class ExemplarView:
    """One exemplar.

    Parameters
    ----------
    frame : int
        Its frame.
    picture : ndarray
        (SIDE, SIDE, 3) uint8, the object in the middle and its surroundings dimmed.
    """

    frame: int
    picture: np.ndarray


class ExemplarViews:
    """Keeps the pictures in step with the selected object and its marks, while it is switched on.

    Parameters
    ----------
    runs : RefineController
        What knows the video.
    review : ReviewController
        What knows the masks and their marks.
    start_job : callable
        What starts a computation; see :mod:`plugin.jobs`.
    """

    changed = Signal(list)
    """Other pictures are to be shown: a list of :class:`ExemplarView`."""

    def __init__(self, runs: RefineController, review: ReviewController, start_job: jobs.StartJob) -> None:
        self._runs = runs
        self._review = review
        self._start_job = start_job
        self._is_on = False
        self._job: jobs.Job | None = None
        self._shown: tuple[int, list[int]] = (0, [])
        self._connections = Connections(
            (review.table_changed, self._on_changed),
            (review.object_changed, self._on_changed),
        )

    def switch(self, on: bool) -> None:
        """Compute pictures from now on, or no more."""
        self._is_on = on
        self._shown = (0, [])
        self._on_changed()

    def shut_down(self) -> None:
        """Let go of everything; the controller is of no use afterwards."""
        self._connections.release()
        if self._job is not None:
            self._job.detach()

    def exemplars(self) -> list[int]:
        """Return the frames that are exemplars of the selected object, at most 24."""
        table, object_id = self._review.table, self._review.object_id
        if table is None or not object_id:
            return []
        cells = table.cells(object_id)
        is_one = np.isin(cells["exemplar"], (ExemplarState.CHOSEN, ExemplarState.PINNED)) & cells["present"]
        return [int(frame) for frame in np.flatnonzero(is_one)[:_MOST]]

    def _on_changed(self, *_: object) -> None:
        layer, video = self._review.layer, self._runs.video
        wanted = (self._review.object_id, self.exemplars())
        if not self._is_on or self._job is not None or wanted == self._shown:
            return
        self._shown = wanted
        if layer is None or video is None or not wanted[1]:
            self.changed.emit([])
            return
        clip, masks = clip_of(video), FewFrames(layer.data, set(wanted[1]))
        self._job = self._start_job(
            lambda: jobs.outcome_of(lambda: _views(clip, masks, *wanted)), self._on_event, self._on_end
        )

    def _on_event(self, event: jobs.JobEvent) -> None:
        if isinstance(event, jobs.Outcome):
            self.changed.emit(event.value)

    def _on_end(self) -> None:
        self._job = None
        # Another object may have been selected meanwhile.
        self._on_changed()


def _views(clip: Clip, masks: FewFrames, object_id: int, frames: list[int]) -> list[ExemplarView]:
    return [ExemplarView(frame, cut_out(clip.rgb(frame), masks[frame] == object_id)) for frame in frames]


def cut_out(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a square around an object, its surroundings dimmed.

    Parameters
    ----------
    image : ndarray
        (Y, X, 3) uint8.
    mask : ndarray
        (Y, X) bool; the whole frame is shown if it is empty.

    Returns
    -------
    ndarray
        (SIDE, SIDE, 3) uint8.
    """
    # Here, because a window that opens need not wait for OpenCV.
    import cv2

    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8)) if mask.any() else (0, 0, *mask.shape[::-1])
    half = (0.5 + _MARGIN) * max(width, height)
    middle = top + height / 2, left + width / 2
    rows, columns = (
        np.clip(np.linspace(centre - half, centre + half, SIDE), 0, length - 1).astype(np.intp)
        for centre, length in zip(middle, mask.shape, strict=True)
    )
    place = np.ix_(rows, columns)
    picture = image[place]
    return np.where(mask[place][..., None], picture, picture // 2).astype(np.uint8)
