"""Live numbers: J and F of the masks against a Labels layer that is chosen as the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from . import jobs
from .connections import Connections
from .review_controller import ReviewController
from .timeline_rows import Curve

_FRAMES_A_PART = 16
_NO_ID = -1


@dataclass(frozen=True)
class _Part:
    """J and F of some frames, (frames, Q) each."""

    frames: list[int]
    region: np.ndarray
    contour: np.ndarray


class TruthController:
    """Measures the reviewed masks in a worker: all frames at first, then those that change.

    Each object is measured against the true one that it overlaps most when the truth is chosen, whatever their ids.

    Parameters
    ----------
    review : ReviewController
        What knows the masks and shows the curves.
    start_job : callable
        What starts a computation; see :mod:`plugin.jobs`.
    """

    measured = Signal(float, float)
    """Mean J and F of all objects and frames measured so far."""

    def __init__(self, review: ReviewController, start_job: jobs.StartJob) -> None:
        self._review = review
        self._start_job = start_job
        self._truth: Labels | None = None
        self._job: jobs.Job | None = None
        self._ids: list[int] = []
        self._partners: dict[int, int] | None = None
        self._values = np.zeros((0, 0, 2))
        self._waiting: set[int] = set()
        self._connections = Connections(
            (review.pixels_changed, self._on_pixels_changed),
            (review.masks_changed, self._on_masks_changed),
        )

    @property
    def partners(self) -> Mapping[int, int]:
        """Object id to the id in the truth that it is measured against; without those that overlap nothing there."""
        return self._partners or {}

    def choose(self, layer: Labels | None) -> None:
        """Take a Labels layer as the truth, or none; one of another size is none."""
        if layer != self._truth:
            self._truth = layer
            self._begin()

    def shut_down(self) -> None:
        """Let go of everything; the controller is of no use afterwards."""
        self._connections.release()
        self._stop()

    def _begin(self) -> None:
        self._stop()
        self._review.show_measures({})
        masks, table = self._review.layer, self._review.table
        if self._truth is None or masks is None or table is None or self._truth.data.shape != masks.data.shape:
            return
        self._ids = table.object_ids
        self._values = np.full((len(masks.data), len(self._ids), 2), np.nan)
        self._measure(range(len(masks.data)))

    def _stop(self) -> None:
        if self._job is not None:
            self._job.detach()
        self._job, self._waiting, self._partners = None, set(), None
        self._values = np.zeros((0, 0, 2))

    def _measure(self, frames: Iterable[int]) -> None:
        masks, truth = self._review.layer, self._truth
        if masks is None or truth is None:
            return
        true, data, ids, chosen, partners = truth.data, masks.data, list(self._ids), list(frames), self._partners
        self._job = self._start_job(lambda: _measures(true, data, ids, chosen, partners), self._on_event, self._on_end)

    def _on_event(self, event: jobs.JobEvent) -> None:
        value = event.value if isinstance(event, jobs.Outcome) else None
        if isinstance(value, dict):
            self._partners = value
        elif isinstance(value, _Part):
            self._values[value.frames, :, 0], self._values[value.frames, :, 1] = value.region, value.contour
            self._review.show_measures(
                {
                    key: [Curve("J", self._values[:, slot, 0].copy()), Curve("F", self._values[:, slot, 1].copy())]
                    for slot, key in enumerate(self._ids)
                }
            )
            means = np.nanmean(self._values, axis=(0, 1))
            self.measured.emit(float(means[0]), float(means[1]))

    def _on_end(self) -> None:
        self._job = None
        waiting, self._waiting = self._waiting, set()
        if waiting:
            self._measure(sorted(waiting))

    def _on_pixels_changed(self, frames: set[int]) -> None:
        table = self._review.table
        if not self._values.size or table is None:
            return
        if table.object_ids != self._ids:
            self._begin()
        elif self._job is not None:
            self._waiting |= frames
        elif frames:
            self._measure(sorted(frames))

    def _on_masks_changed(self, _layer: Labels | None) -> None:
        self._begin()


def _measures(
    true: Any, masks: np.ndarray, ids: list[int], frames: list[int], partners: dict[int, int] | None
) -> Iterator[jobs.JobEvent]:
    """Measure some frames, part by part; a frame is copied first, as a person may paint on it."""
    # Here, because a window that opens need not wait for OpenCV and SciPy.
    from ..evaluation.measures import frame_measures
    from ..evaluation.pairing import counterparts

    if partners is None:
        partners = counterparts(masks, true)
        yield jobs.Outcome(partners)
    true_ids = [partners.get(object_id, _NO_ID) for object_id in ids]
    pairs = [(slot, slot) for slot in range(len(ids))]
    for start in range(0, len(frames), _FRAMES_A_PART):
        part = frames[start : start + _FRAMES_A_PART]
        region, contour = np.full((2, len(part), len(ids)), np.nan)
        for place, frame in enumerate(part):
            values = frame_measures(np.asarray(true[frame]), true_ids, masks[frame].copy(), ids, pairs=pairs)
            region[place], contour[place] = (np.diagonal(each) for each in values)
        yield jobs.Outcome(_Part(part, region, contour))
