"""Correction in rounds: what one round repaired teaches the next, until little changes; truth comes last."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.events import FrameLabels, Progress
from ..core.guidance import Guidance, MasksWithTruth, keep_settled
from ..core.labels import label_dtype, label_ious
from .interface import ClipInputs, RefinementModel
from .propagation import REACH
from .selection import nearest_exemplars, select_exemplars, with_true_scores
from .spool import Spool

# Shares of the objects' pixels that a round changed: below the first the rounds end, below the second a frame stays.
_SETTLED = 0.005
_STILL = 0.02
# Nearest exemplars of which a change may tell more of a frame that is still.
_TELLING = 3
# What Python takes for the areas of one frame, roughly.
_ENTRY_BYTES = 400


@dataclass(frozen=True)
class Outcome:
    """What the rounds came to.

    Parameters
    ----------
    exemplars : dict of int to list of int
        Object id to the frames that taught the last round.
    quality : ndarray
        (T, Q) estimated IoU of the results, NaN where nothing is known.
    agreement : ndarray
        (T, Q) IoU of the masks that were given with the results, 0 where nothing was given.
    rounds : int
        How many there were.
    """

    exemplars: dict[int, list[int]]
    quality: np.ndarray
    agreement: np.ndarray
    rounds: int


def correct_in_rounds(
    model: RefinementModel, inputs: ClipInputs, rough: ClipInputs, scores: np.ndarray, exemplars: int, rounds: int
) -> Generator[Progress | FrameLabels, None, Outcome]:
    """Choose exemplars and correct every frame, then again from what came out.

    The next round judges masks by how far the last one was sure of them. The rounds end when fewer
    than 0.5 % of the objects' pixels changed, or after ``rounds``. Each round gives the labels of every
    frame, which replace those of the round before. A frame in which a round changed less than 2 % of each
    object is left as it is by the next.

    What a person drew or locked takes part in the last round alone, which there always is then. So the
    rounds before it are those of an earlier run, which keeps them. For an object that is in no rough mask
    such rounds are nothing; if there is one, ``rounds`` of them begin with what the person drew. In the last round
    too, frames stay as they are that the one before hardly changed, if what the person did is far from them.

    Parameters
    ----------
    model : RefinementModel
        Corrects.
    inputs : ClipInputs
        The clip, its masks and what a person decided.
    rough : ClipInputs
        The same without what the person drew and locked, so perhaps with fewer objects.
    scores : ndarray
        (T, Q) estimated quality of the masks, before a person made some of them true.
    exemplars, rounds : int
        At most so many.

    Raises
    ------
    UserError
        If a person banned all frames of an object as exemplars.
    """
    _check_exemplars(inputs)
    known = [slot for slot, object_id in enumerate(inputs.areas) if object_id in rough.areas]
    before = rounds - 1 if known and inputs.guidance.any_settled else 0
    after = 1 if before and len(known) == len(inputs.areas) else rounds
    steps = _Rounds(model, inputs, exemplars, before + after)
    if before:
        last = yield from steps.take(before, rough, scores[:, known])
        scores = np.zeros(scores.shape, np.float32)
        scores[:, known] = np.nan_to_num(last.quality)
        start = _with_settled(last.labels, inputs)
        if len(known) == len(inputs.areas):
            start = replace(start, still=frozenset(last.change.still))
    else:
        start = inputs
    last = yield from steps.take(after, start, scores)
    return Outcome(last.exemplars, last.quality, last.agreement, steps.taken)


@dataclass(frozen=True)
class _Round:
    """What one round gave: labels, estimated quality, likeness to the masks given, who taught, and what changed.

    The last one of all keeps no labels.
    """

    labels: KeptLabels
    quality: np.ndarray
    agreement: np.ndarray
    exemplars: dict[int, list[int]]
    change: _Change


@dataclass
class _Rounds:
    """Takes rounds, ``most`` in all, and counts them; whatever they give, ``given`` tells what is settled."""

    model: RefinementModel
    given: ClipInputs
    exemplars: int
    most: int
    taken: int = 0

    def take(
        self, count: int, inputs: ClipInputs, scores: np.ndarray
    ) -> Generator[Progress | FrameLabels, None, _Round]:
        """Correct at most ``count`` times, each time from what came out."""
        parts = self._depends_on(inputs, scores)
        while True:
            self.taken, count = self.taken + 1, count - 1
            last = yield from self._remembered(inputs, scores, [*parts, self.taken] if parts else [])
            if not count or last.change.share < _SETTLED:
                return last
            areas = {key: last.labels.areas(key) for key in inputs.areas}
            inputs = replace(inputs, masks=last.labels, areas=areas, still=frozenset(last.change.still))
            scores = np.nan_to_num(last.quality).astype(np.float32)

    def _remembered(
        self, inputs: ClipInputs, scores: np.ndarray, parts: list[Any]
    ) -> Generator[Progress | FrameLabels, None, _Round]:
        if not parts or self.taken == self.most:
            return (yield from self._round(inputs, scores))
        # Rounds before what a person drew takes part need not be shown again: only what follows from them counts.
        if self.given.guidance.any_settled:
            known: _Round | None = inputs.reuse.recall("round", parts)
            if known is not None:
                return known
        found = yield from self._round(inputs, scores)
        inputs.reuse.remember("round", parts, found, found.labels.nbytes)
        return found

    def _depends_on(self, inputs: ClipInputs, scores: np.ndarray) -> list[Any]:
        """Return all that rounds depend on, for a digest; nothing for those that no other run will ask for."""
        if inputs.guidance.any_settled or not inputs.reuse.remembers:
            return []
        frames = [[inputs.reuse.image_digest(frame), inputs.label_digest(frame)] for frame in range(len(inputs.clip))]
        return [self.exemplars, inputs.object_ids, inputs.guidance.to_json(), scores, frames]

    def _round(self, inputs: ClipInputs, scores: np.ndarray) -> Generator[Progress | FrameLabels, None, _Round]:
        settled = self.given if inputs.guidance.any_settled else inputs
        chosen, quality = self._chosen(inputs, scores), np.full(scores.shape, np.nan)
        agreement = np.zeros(scores.shape)
        still = self._untouched(inputs, scores, chosen)
        if still != inputs.still:
            # Else they keep the digests of their masks.
            inputs = replace(inputs, still=still)
        kept, change = KeptLabels.of(inputs), _Change()
        weighed = with_true_scores(scores, inputs.object_ids, inputs.guidance)
        for event in self._corrected(inputs, weighed, chosen):
            if isinstance(event, Progress):
                yield event
                continue
            result = _settled(event, settled)
            quality[result.frame] = [result.quality.get(object_id, np.nan) for object_id in inputs.areas]
            if self.taken < self.most:
                kept.put(result)
                change.add(inputs, result, kept)
            shown = _settled(event, self.given)
            agreement[result.frame] = label_ious(self.given.labels(result.frame), shown.labels, list(inputs.areas))
            yield shown
        return _Round(kept, quality, agreement, chosen, change)

    def _chosen(self, inputs: ClipInputs, scores: np.ndarray) -> dict[int, list[int]]:
        chosen = self._selected(inputs, scores, inputs.guidance)
        if not inputs.guidance.truth:
            return chosen
        return {key: list(frames) for key, frames in self.model.confirmed(inputs, chosen).items()}

    def _selected(self, inputs: ClipInputs, scores: np.ndarray, guidance: Guidance) -> dict[int, list[int]]:
        return select_exemplars(scores, inputs.areas, self.exemplars, self.model.spreads_exemplars, guidance)

    def _untouched(self, inputs: ClipInputs, scores: np.ndarray, chosen: Mapping[int, Sequence[int]]) -> frozenset[int]:
        """Leave out the still frames for which it matters what a person drew or locked: near it, or taught by it.

        What is still agrees with its exemplars; a change of one of the three nearest may tell more, not of another.
        Frames in which everything is settled are as they will be.
        """
        guidance = inputs.guidance
        if not guidance.any_settled:
            return inputs.still
        without = self._selected(inputs, scores, guidance.without_settled())
        settled = {frame: ids for frame in range(len(inputs.clip)) if (ids := guidance.settled(frame))}

        def concerned(frame: int) -> bool:
            return any(abs(frame - other) <= REACH for other in settled) or any(
                nearest_exemplars(frame, chosen[key], _TELLING) != nearest_exemplars(frame, without[key], _TELLING)
                for key in chosen
            )

        finished = {frame for frame, ids in settled.items() if set(ids) >= set(inputs.object_ids)}
        return frozenset(finished | {frame for frame in inputs.still if not concerned(frame)})

    def _corrected(
        self, inputs: ClipInputs, scores: np.ndarray, chosen: dict[int, list[int]]
    ) -> Iterator[Progress | FrameLabels]:
        name, done, frames = "Correcting frames", 0, len(inputs.clip)
        if self.most > 1:
            name += f" (round {self.taken} of at most {self.most})"
        yield Progress(name, 0, frames)
        for event in self.model.correct(inputs, scores, chosen):
            yield event
            if isinstance(event, FrameLabels):
                done += 1
                yield Progress(name, done, frames)


@dataclass
class _Change:
    """How many pixels of objects a round changed, and the frames in which it changed next to nothing."""

    pixels: int = 0
    changed: int = 0
    still: set[int] = field(default_factory=set)

    def add(self, inputs: ClipInputs, result: FrameLabels, kept: KeptLabels) -> None:
        """Compare the labels of a frame, whose areas are kept, with those that the round began with."""
        frame, after = result.frame, result.labels
        before = inputs.labels(frame)
        differ = before != after
        moved = np.bincount(np.concatenate([before[differ], after[differ]]), minlength=max(inputs.areas) + 1)
        pixels = {key: int(area[frame]) + kept.area(key, frame) for key, area in inputs.areas.items()}
        self.pixels += sum(pixels.values())
        self.changed += 2 * int(np.count_nonzero(differ))
        if all(moved[key] <= _STILL * count for key, count in pixels.items()):
            self.still.add(frame)

    @property
    def share(self) -> float:
        return self.changed / max(self.pixels, 1)


@dataclass
class KeptLabels:
    """Labels of a whole clip, put aside.

    Parameters
    ----------
    shape : tuple of int
        (T, Y, X).
    dtype : dtype
        Of the labels.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _planes: Spool = field(default_factory=Spool)
    _frames: dict[int, tuple[int, dict[int, int]]] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: ClipInputs) -> KeptLabels:
        """Return room for the labels of a clip."""
        return cls((len(inputs.clip), *inputs.clip.size), np.dtype(label_dtype(inputs.object_ids)))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the labels take, roughly."""
        return self._planes.memory + _ENTRY_BYTES * len(self._frames)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frame: int) -> np.ndarray:
        """Return the (Y, X) labels of a frame."""
        return self._planes[self._frames[frame][0]]

    def put(self, result: FrameLabels) -> None:
        """Keep the labels of a frame."""
        counts = np.bincount(result.labels[result.labels > 0])
        areas = {int(key): int(counts[key]) for key in np.flatnonzero(counts)}
        self._frames[result.frame] = len(self._planes), areas
        self._planes.append(result.labels.astype(self.dtype))

    def areas(self, object_id: int) -> np.ndarray:
        """Return the (T,) areas of an object in pixels."""
        return np.array([self.area(object_id, frame) for frame in range(len(self))], np.int64)

    def area(self, object_id: int, frame: int) -> int:
        """Return the area of an object in one frame in pixels."""
        return self._frames[frame][1].get(object_id, 0)


def _check_exemplars(inputs: ClipInputs) -> None:
    for object_id, area in inputs.areas.items():
        banned = list(inputs.guidance.banned.get(object_id, ()))
        if not inputs.guidance.exemplars_of(object_id) and np.isin(np.flatnonzero(area), banned).all():
            raise UserError(
                f"All frames with object {object_id} are banned as exemplars; allow at least one, or pin a good one."
            )


def _settled(result: FrameLabels, inputs: ClipInputs) -> FrameLabels:
    """Put back what must not change; the one place where this is enforced, for whatever model."""
    settled = inputs.guidance.settled(result.frame)
    if not settled:
        return result
    quality = {key: value for key, value in result.quality.items() if key not in settled}
    quality |= {key: 1.0 for key, frames in inputs.guidance.truth.items() if result.frame in frames}
    labels = result.labels.astype(label_dtype(inputs.object_ids))
    return FrameLabels(result.frame, keep_settled(labels, inputs.labels(result.frame), settled), quality)


def _with_settled(labels: KeptLabels, given: ClipInputs) -> ClipInputs:
    """Return the inputs with masks from the last round, in which settled objects are as they are given."""
    masks = MasksWithTruth(labels, given.masks, given.guidance)
    areas = {key: labels.areas(key) for key in given.areas}
    for frame in range(len(labels)):
        if given.guidance.settled(frame):
            counts = np.bincount(masks[frame].ravel(), minlength=max(areas) + 1)
            for object_id, area in areas.items():
                area[frame] = counts[object_id]
    return replace(given, masks=masks, areas=areas)
