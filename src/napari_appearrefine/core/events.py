"""What a running job tells whoever started it: progress, one finished frame, the final report."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np

Step = TypeVar("Step")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress:
    """A step of a long job.

    Parameters
    ----------
    stage : str
        What is being done, in a user's words, such as ``"Scoring masks"``.
    done, total : int
        Steps finished and steps in all, of this stage.
    """

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class FrameLabels:
    """The labels of one finished frame.

    Parameters
    ----------
    frame : int
        Index of the frame in the clip.
    labels : ndarray
        (Y, X) uint8 or uint16 at the size of the clip; 0 is background, other values are the
        user's object ids.
    quality : dict of int to float
        Object id to the estimated IoU of its mask with the truth, if the job can tell.
    whole : mapping of int to ndarray
        Object id to (Y, X) bool: its whole shape, hidden parts included, if it was asked for.
    front_to_back : tuple of int
        The ids of ``whole`` by depth, the frontmost first.
    """

    frame: int
    labels: np.ndarray
    quality: Mapping[int, float] = field(default_factory=dict)
    whole: Mapping[int, np.ndarray] = field(default_factory=dict)
    front_to_back: tuple[int, ...] = ()


_TABLES = ("scores", "quality", "input_quality")


@dataclass(frozen=True)
class Report:
    """What a run did, in the form that ``--report`` writes as JSON.

    Parameters
    ----------
    frames : int
        Frames of the clip.
    objects : list of int
        The object ids, ascending.
    scores : list of list of float
        (frames, objects) estimated quality of each input mask; its meaning is the model's.
    exemplars : dict of int to list of int
        For each object id, the frames chosen as exemplars, ascending.
    seconds : float
        Wall-clock time of the run.
    model, device, version : str
        What computed it.
    quality : list of list of float
        (frames, objects) estimated IoU of each resulting mask with the truth, 1 where a person made it
        and NaN where nothing is known; empty if the job tells none.
    input_quality : list of list of float
        (frames, objects) estimated IoU of each input mask with the truth in the light of the results: its
        IoU with what came of it, times the estimate of that. Empty if the job tells no quality.
    details : dict
        What else there is to say, JSON-ready.
    """

    frames: int
    objects: list[int]
    scores: list[list[float]]
    exemplars: dict[int, list[int]]
    seconds: float
    model: str
    device: str
    version: str
    quality: list[list[float]] = field(default_factory=list)
    input_quality: list[list[float]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON-ready objects, its own ones: read them, do not change them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Report:
        """Return the report that was stored as JSON: ``null`` is NaN, the ids are numbers again.

        Raises
        ------
        TypeError, ValueError, KeyError
            If it is no report.
        """
        exemplars = {int(key): [int(frame) for frame in frames] for key, frames in stored["exemplars"].items()}
        numbers = {name: _numbers(stored[name]) for name in _TABLES if name in stored}
        return cls(**{**stored, "exemplars": exemplars, **numbers})


def _numbers(rows: Sequence[Sequence[float | None]]) -> list[list[float]]:
    return [[math.nan if value is None else float(value) for value in row] for row in rows]


Event = Progress | FrameLabels | Report
"""What the generators of :mod:`napari_appearrefine.engine` yield; a :class:`Report` comes last."""


def collect_frames(
    events: Iterator[Event], labels: np.ndarray, show: Callable[[Progress], object] | None = None
) -> Report | None:
    """Run a job to its end, write its frames into (T, Y, X) ``labels``, and return its report if it gives one."""
    report = None
    for event in events:
        if isinstance(event, FrameLabels):
            labels[event.frame] = event.labels
        elif isinstance(event, Report):
            report = event
        elif show is not None:
            show(event)
    return report


def run_to_end(steps: Generator[Step, None, Result], show: Callable[[Step], object] | None = None) -> Result:
    """Run a job in steps to its end, show what it tells on the way, and return its result."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        if show is not None:
            show(step)
