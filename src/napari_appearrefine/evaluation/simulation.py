"""A simulated annotator: replaces one frame after the other by the truth, runs again, and measures what it brings."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.clip import Clip, FrameSource
from ..core.errors import UserError
from ..core.events import Event, FrameLabels, Progress, Report
from ..core.guidance import Guidance, MasksWithTruth
from ..core.labels import LARGEST_ID, as_labels
from ..core.suggestion import next_to_fix
from .measures import frame_measures
from .pairing import counterparts

POLICIES = ("suggested", "uniform", "random", "worst")
_VOID = 255

Refine = Callable[[Clip, FrameSource, Guidance], Iterator[Event]]
"""Refines masks of a clip as a person's marks say."""

Follow = Callable[[Clip, FrameSource, Sequence[int]], Mapping[int, np.ndarray]]
"""Tells how well objects can be followed from frame to frame, as :func:`engine.followability.motion_links` does."""


@dataclass(frozen=True)
class Round:
    """The clip after a number of corrections.

    Parameters
    ----------
    corrected : int or None
        The frame that was replaced by the truth before this round's run; None for the run without any.
    region, contour : float
        Mean J and F over the frames and true objects.
    reason : str
        Why this frame, in the words that an annotator reads; empty for other policies than ``suggested``.
    """

    corrected: int | None
    region: float
    contour: float
    reason: str = ""


@dataclass(frozen=True)
class Simulation:
    """What one policy brought.

    Parameters
    ----------
    policy : str
        How frames were chosen.
    rounds : list of Round
        Without a correction, with one, with two, ...
    """

    policy: str
    rounds: list[Round]

    @property
    def area(self) -> float:
        """Area under the curve of J against the number of corrected frames, divided by that number: a mean J."""
        values = np.array([each.region for each in self.rounds])
        return float(np.mean((values[1:] + values[:-1]) / 2)) if len(values) > 1 else float(values[0])

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON-ready objects."""
        return {
            "policy": self.policy,
            "corrected": [each.corrected for each in self.rounds[1:]],
            "reasons": [each.reason for each in self.rounds[1:]],
            "J": [each.region for each in self.rounds],
            "F": [each.contour for each in self.rounds],
            "area_under_J": self.area,
        }


def simulate(
    clip: Clip,
    masks: FrameSource,
    truth: FrameSource,
    refine: Refine,
    policy: str = "suggested",
    rounds: int = 3,
    seed: int = 0,
    follow: Follow | None = None,
) -> Generator[Progress, None, Simulation]:
    """Simulate an annotator who corrects one frame a round.

    Each round takes the frame that the policy names, replaces its masks by the truth, marks them as
    edited and runs again from the rough masks and all corrections so far. What is measured is
    what the annotator has then: refined frames, and corrected ones as they were drawn.

    Parameters
    ----------
    clip : Clip
        The video.
    masks : FrameSource
        (T, Y, X) rough label maps; objects are matched to the true ones by their overlap.
    truth : FrameSource
        (T, Y, X) true label maps; 255 beside other ids does not count.
    refine : callable
        What refines; it decides the model and its settings.
    policy : {"suggested", "uniform", "random", "worst"}
        ``suggested`` takes :func:`core.suggestion.next_to_fix`, ``uniform`` evenly spaced frames from the
        middle outward, ``random`` any frame, and ``worst`` the frame of the lowest true J.
    rounds : int
        Corrections.
    seed : int
        Of the random policy.
    follow : callable, optional
        What the policy ``suggested`` knows of the motion; nothing if not given.

    Yields
    ------
    Progress
        Of the runs.

    Returns
    -------
    Simulation

    Raises
    ------
    UserError
        If the policy is not known, or masks and truth do not belong together.
    """
    if policy not in POLICIES:
        raise UserError(f"The policy {policy!r} is not known; choose one of {', '.join(POLICIES)}.")
    true = _loaded(truth, "the truth")
    void = (true == _VOID) if (true == _VOID).any() and len(_ids(true)) > 1 else None
    if void is not None:
        true[void] = 0
    true_ids = _ids(true)
    if not true_ids:
        raise UserError("The truth holds no object in any frame; there is nothing to correct towards.")
    rough = matched_ids(_loaded(masks, "the masks"), true)
    object_ids = sorted({*true_ids, *_ids(rough)})
    annotator = _Annotator(policy, rounds, np.random.default_rng(seed), object_ids)
    corrected: list[int] = []
    drawn = rough.copy()
    history: list[Round] = []
    reason = ""
    for number in range(min(rounds, len(clip)) + 1):
        if number:
            frame, reason = annotator.choose(corrected)
            corrected.append(frame)
            drawn[frame] = true[frame]
        guidance = Guidance(truth={object_id: frozenset(corrected) for object_id in object_ids})
        start = MasksWithTruth(rough, drawn, guidance)
        result, report = rough.copy(), None
        for event in refine(clip, start, guidance):
            if isinstance(event, FrameLabels):
                result[event.frame] = event.labels
            elif isinstance(event, Progress):
                yield Progress(f"Round {number}: {event.stage.lower()}", event.done, event.total)
            else:
                report = event
        region, contour = _measured(true, result, true_ids, void)
        annotator.learn(region.mean(axis=1), report)
        if follow is not None and policy == "suggested":
            annotator.links = follow(clip, result, object_ids)
        history.append(Round(corrected[-1] if number else None, float(region.mean()), float(contour.mean()), reason))
    return Simulation(policy, history)


def matched_ids(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Give objects the ids of the true ones that they overlap most, each true id to one object.

    Objects that are left over get ids above all others.

    Parameters
    ----------
    masks, truth : ndarray
        (T, Y, X) uint16 labels.

    Returns
    -------
    ndarray
        (T, Y, X) uint16.
    """
    given = _ids(masks)
    table = np.zeros(LARGEST_ID + 1, np.uint16)
    following = max([*given, *_ids(truth)], default=0) + 1
    partner = counterparts(masks, truth)
    for object_id in given:
        if object_id not in partner:
            partner[object_id], following = following, following + 1
        table[object_id] = partner[object_id]
    return np.asarray(table[masks])


class _Annotator:
    """Chooses the next frame."""

    def __init__(self, policy: str, rounds: int, rng: np.random.Generator, object_ids: Sequence[int]) -> None:
        self._policy = policy
        self._rounds = rounds
        self._rng = rng
        self._object_ids = object_ids
        self.links: Mapping[int, np.ndarray] = {}
        self._region = np.zeros(0)
        self._quality = np.zeros((0, 0))

    def learn(self, region: np.ndarray, report: Report | None) -> None:
        """Take note of the true (T,) J, which only one policy looks at, and of what the run says of itself."""
        self._region = region
        quality = np.full((len(region), len(self._object_ids)), np.nan)
        if report is not None:
            told = report.quality or report.scores
            for slot, object_id in enumerate(self._object_ids):
                if object_id in report.objects:
                    column = report.objects.index(object_id)
                    quality[:, slot] = [np.nan if row[column] is None else row[column] for row in told]
        self._quality = quality

    def choose(self, corrected: Sequence[int]) -> tuple[int, str]:
        """Return a frame that was not corrected yet, and why."""
        frames = len(self._region)
        open_frames = np.setdiff1d(np.arange(frames), corrected)
        if self._policy == "random":
            return int(self._rng.choice(open_frames)), ""
        if self._policy == "worst":
            return int(open_frames[np.argmin(self._region[open_frames])]), ""
        if self._policy == "uniform":
            return _evenly(frames, self._rounds)[len(corrected)], ""
        known = np.zeros(self._quality.shape, bool)
        known[list(corrected)] = True
        suggestion = next_to_fix(self._quality, known, self._object_ids, self.links)
        if suggestion is None:
            raise RuntimeError("all frames are corrected")
        return suggestion.frame, suggestion.reason


def _evenly(frames: int, rounds: int) -> list[int]:
    """Return evenly spaced frames, the middle one first and then always the one farthest from those before."""
    places = [int((place + 0.5) * frames / rounds) for place in range(min(rounds, frames))]
    order = [places.pop(len(places) // 2)]
    while places:
        order.append(places.pop(int(np.argmax([min(abs(place - other) for other in order) for place in places]))))
    return order


def _measured(
    truth: np.ndarray, result: np.ndarray, object_ids: Sequence[int], void: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return J and F of each frame and object, (T, Q) each; an object counts by its id."""
    pairs = [(slot, slot) for slot in range(len(object_ids))]
    region, contour = np.empty((2, len(truth), len(object_ids)))
    for frame in range(len(truth)):
        outside = None if void is None else void[frame]
        both = frame_measures(truth[frame], object_ids, result[frame], object_ids, outside, pairs)
        region[frame], contour[frame] = (np.diagonal(each) for each in both)
    return region, contour


def _loaded(masks: FrameSource, name: str) -> np.ndarray:
    labels = np.stack([as_labels(masks[frame], name, frame) for frame in range(len(masks))])
    only_white = set(np.unique(labels).tolist()) <= {0, _VOID}
    return (labels > 0).astype(np.uint16) if only_white else labels


def _ids(labels: np.ndarray) -> list[int]:
    return [int(object_id) for object_id in np.flatnonzero(np.bincount(labels.ravel())) if object_id]


def table(simulations: Mapping[str, Simulation] | Sequence[Simulation]) -> str:
    """Return a table for people: one line a policy, J for each number of corrected frames."""
    listed = list(simulations.values()) if isinstance(simulations, Mapping) else list(simulations)
    most = max(len(each.rounds) for each in listed)
    head = f"{'policy':10}" + "".join(f"{f'J, {number}':>8}" for number in range(most)) + "    area  F, last  frames"
    lines = [head]
    for each in listed:
        values = "".join(f"{one.region:8.3f}" for one in each.rounds)
        frames = ", ".join(str(one.corrected) for one in each.rounds[1:])
        lines.append(f"{each.policy:10}{values}{each.area:8.3f}  {each.rounds[-1].contour:7.3f}  {frames}")
    return "\n".join(lines)
