"""What a run will take, before it starts: time from earlier runs on this computer, memory from what it holds at once.

Imports no torch, so that a window may ask.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from ..core.clip import Clip
from ..core.errors import UserError
from ..core.parameters import FlowMaskParameters, RefineParameters
from ..files.atomic import atomic_path
from ..files.cache_folder import cache_folder
from .flow import DRAWING_SIDE, WORKING_SIDE, working_size
from .resources import feature_memory

FILE = "pace.json"
_log = logging.getLogger(__name__)

# Seconds a frame of 240 x 432 pixels on two processor cores, with one object, for a computer that has run nothing yet.
_USUAL_PACE = {
    ("flow masks", "builtin", "dis"): 0.10,
    ("refinement", "builtin", "network", "own"): 0.12,
    ("refinement", "published", "network", "own"): 0.6,
}
_WORKING_PIXELS = 240 * 432
_NEW_SAY = 0.5
MOST_AT_A_TIME = 4
"""Frames that are computed side by side at most, whatever the number of threads."""
_MIB = 1 << 20


@dataclass(frozen=True)
class Expectation:
    """How long a run will take and how much memory, both at most.

    Parameters
    ----------
    task : str
        What it does, in a user's words.
    frames, objects : int
        On what; 0 objects if their number is not known.
    seconds : float or None
        Time; None if there is no telling.
    memory : int
        Bytes of resident memory of a process that does nothing else.
    measured : bool
        Whether the time is known from a run on this computer.
    """

    task: str
    frames: int
    objects: int
    seconds: float | None
    memory: int
    measured: bool

    def __str__(self) -> str:
        """In words: "Refining 100 frames, 2 objects: at most about 40 s and 0.6 GB of memory"."""
        objects = f", {self.objects} object{'s' * (self.objects != 1)}" if self.objects else ""
        frames = f"{self.frames} frame{'s' * (self.frames != 1)}{objects}"
        return f"{self.task} {frames}: {self.price}"

    @property
    def price(self) -> str:
        """In words: "at most about 40 s and 0.6 GB of memory"."""
        memory = f"{self.memory / 1e9:.1f} GB of memory"
        if self.seconds is None:
            return f"at most about {memory}; the time shows while it runs"
        # A person needs to know which of the two it is: their computer may be of another kind.
        source = "" if self.measured else " (on two processor cores; not measured here yet)"
        return f"at most about {_duration(self.seconds)}{source} and {memory}"


@dataclass(frozen=True)
class _Kind:
    """Runs of one kind have one pace."""

    what: tuple[str, ...]
    device: str
    precision: str

    @property
    def name(self) -> str:
        return ", ".join((*self.what, self.device, self.precision))


def expected_flow_masks(clip: Clip, parameters: FlowMaskParameters) -> Expectation:
    """Say what masks from motion will take."""
    seconds, measured = _seconds(_flow_kind(parameters), _flow_work(clip), cache_folder())
    return Expectation("Finding masks in", len(clip), 0, seconds, _flow_memory(clip), measured)


def expected_refinement(
    clip: Clip, objects: int, parameters: RefineParameters, threads: int | None = None
) -> Expectation:
    """Say what a refinement will take.

    Parameters
    ----------
    clip : Clip
        The video.
    objects : int
        How many objects its masks hold.
    parameters : RefineParameters
        Settings.
    threads : int, optional
        How many torch may use; all processor cores by default.

    Raises
    ------
    UserError
        If the environment holds no number as the limit of memory.
    """
    memory = _refinement_memory(clip, objects, parameters, threads or os.cpu_count() or 1)
    work = _refinement_work(clip, objects, parameters)
    folder = cache_folder(parameters.cache_dir)
    seconds, measured = _seconds(_refinement_kind(parameters), work, folder)
    return Expectation("Refining", len(clip), objects, seconds, memory, measured)


def remember_flow_masks(clip: Clip, parameters: FlowMaskParameters, seconds: float) -> None:
    """Remember how long masks from motion took."""
    _remember(_flow_kind(parameters), seconds / _flow_work(clip), None)


def remember_refinement(clip: Clip, objects: int, parameters: RefineParameters, seconds: float) -> None:
    """Remember how long a refinement took that computed everything."""
    if parameters.cache:
        work = _refinement_work(clip, objects, parameters)
        _remember(_refinement_kind(parameters), seconds / work, parameters.cache_dir)


def _seconds(kind: _Kind, work: float, folder: Path) -> tuple[float | None, bool]:
    """Return the time, if it can be told, and whether a run on this computer tells it."""
    known = _paces(folder).get(kind.name)
    pace = _USUAL_PACE.get(kind.what) if known is None and kind.device in ("auto", "cpu") else known
    return None if pace is None else work * pace, known is not None


def _flow_kind(parameters: FlowMaskParameters) -> _Kind:
    return _Kind(("flow masks", parameters.model, parameters.flow), parameters.device, "auto")


def _refinement_kind(parameters: RefineParameters) -> _Kind:
    what = ("refinement", parameters.model, parameters.corrector, parameters.edges)
    return _Kind(what, parameters.device, parameters.precision)


def _flow_work(clip: Clip) -> float:
    return len(clip) * _working_pixels(clip) / _WORKING_PIXELS


def _refinement_work(clip: Clip, objects: int, parameters: RefineParameters) -> float:
    if parameters.model == "published":
        # One size for all videos; objects are corrected in groups of three.
        return len(clip) * (2 + max(objects, 1)) / 3
    share_of_rounds = (1 + parameters.rounds) / 4
    pixels = _working_pixels(clip, DRAWING_SIDE)
    return len(clip) * share_of_rounds * (1 + max(objects, 1)) / 2 * pixels / _WORKING_PIXELS


def _flow_memory(clip: Clip) -> int:
    return 360 * _MIB + round(300 * _MIB * _working_pixels(clip) / _WORKING_PIXELS) + 2 * _frame_bytes(clip)


def _refinement_memory(clip: Clip, objects: int, parameters: RefineParameters, threads: int) -> int:
    # Libraries and weights, then what each thread works on, then frames as they are read, judged and written.
    limit, frames = feature_memory(parameters), 20 * _frame_bytes(clip)
    if parameters.model == "published":
        return (1100 + 100 * min(threads, MOST_AT_A_TIME)) * _MIB + limit + frames
    at_once = (30 * min(threads, MOST_AT_A_TIME) + 12 * min(objects, 8)) * _working_pixels(clip, DRAWING_SIDE)
    return 430 * _MIB + round(at_once * _MIB / _WORKING_PIXELS) + limit + frames


def _frame_bytes(clip: Clip) -> int:
    return 3 * clip.size[0] * clip.size[1]


def _working_pixels(clip: Clip, side: int = WORKING_SIDE) -> int:
    height, width = working_size(clip.size, side)
    return height * width


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _paces(folder: Path) -> dict[str, float]:
    try:
        stored = json.loads((folder / FILE).read_text())
        return {str(name): float(pace) for name, pace in stored.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remember(kind: _Kind, pace: float, chosen: Path | None) -> None:
    name = kind.name
    try:
        folder = cache_folder(chosen)
        known = _paces(folder)
        known[name] = pace if name not in known else _NEW_SAY * pace + (1 - _NEW_SAY) * known[name]
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / FILE) as beside:
            beside.write_text(json.dumps(known, indent=1))
    except (OSError, UserError) as error:
        _log.info("The time of this run is not remembered: %s", error)
