"""Damages masks the way masks from optical flow go wrong, for training data and for benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ..core.labels import labels_of, planes_of
from .faults import drag, drift, filled, halo, holes, nothing, wobble, wrong_object

_MEAN_RUN = 4.0

Fault = Callable[[np.ndarray, np.random.Generator, float], np.ndarray]

FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "halo": halo,
        "holes": holes,
        "drift": drift,
        "drag": drag,
        "wrong": wrong_object,
        "nothing": nothing,
        "wobble": wobble,
        "filled": filled,
    }
)
LASTING = ("holes", "drag", "halo", "filled")
# Without the fault that came last, so that figures of clips damaged by a seed stay comparable.
KINDS = tuple(kind for kind in FAULTS if kind != "filled")
_FREQUENCY = {
    "halo": 3.0,
    "holes": 4.0,
    "drift": 2.0,
    "drag": 4.0,
    "wrong": 2.0,
    "nothing": 1.5,
    "wobble": 1.5,
    "filled": 5.0,
}


def damage_plane(
    plane: np.ndarray,
    rng: np.random.Generator,
    strength: float = 1.0,
    others: np.ndarray | None = None,
    kinds: Sequence[str] = KINDS,
) -> np.ndarray:
    """Damage the mask of one object in one frame.

    One kind of damage is drawn, and often a milder second one on top, since real flow masks
    rarely have a single fault.

    Parameters
    ----------
    plane : ndarray
        (Y, X) bool.
    rng : numpy.random.Generator
        Source of every random choice.
    strength : float
        1 is what masks from optical flow show, 0 next to nothing.
    others : ndarray, optional
        (Y, X) or (K, Y, X) bool, masks of the other objects, one of which may be taken by mistake.
    kinds : sequence of str
        Which of :data:`KINDS` to draw from.

    Returns
    -------
    ndarray
        (Y, X) bool, a new array.

    Raises
    ------
    ValueError
        If a kind is not known or the plane is not (Y, X) bool.
    """
    if plane.ndim != 2 or plane.dtype != np.bool_:
        raise ValueError(f"a plane must be (Y, X) bool, not {plane.shape} {plane.dtype}")
    plane = np.ascontiguousarray(plane)
    kind = _draw_kind(rng, kinds)
    first, second, bend = (np.random.Generator(np.random.PCG64(int(seed))) for seed in rng.integers(2**63, size=3))
    again, bent = rng.uniform() < 0.35, rng.uniform() < 0.5
    if kind == "nothing":
        return nothing(plane, first)
    damaged = wrong_object(plane, first, strength, others) if kind == "wrong" else FAULTS[kind](plane, first, strength)
    milder = [other for other in ("halo", "holes", "drag") if other in kinds and other != kind]
    if again and milder:
        damaged = FAULTS[milder[int(second.integers(len(milder)))]](damaged, second, 0.4 * strength)
    return wobble(damaged, bend, 0.4 * strength) if bent and "wobble" in kinds else damaged


def damage_clip(
    masks: np.ndarray,
    rng: np.random.Generator,
    share_of_frames: float = 1 / 3,
    strength: float = 1.0,
    kinds: Sequence[str] = KINDS,
) -> tuple[np.ndarray, np.ndarray]:
    """Damage runs of frames of a clip's masks.

    Bad frames come in runs of about four, as with flow: the object stops, or the camera shakes,
    and the same fault stays for a while with a changing extent.

    Parameters
    ----------
    masks : ndarray
        (T, Y, X) labels, any integer or boolean dtype.
    rng : numpy.random.Generator
        Source of every random choice.
    share_of_frames : float
        Share, 0 to 1, of the frames with an object that are damaged.
    strength : float
        1 is what masks from optical flow show, 0 next to nothing.
    kinds : sequence of str
        Which of :data:`KINDS` to draw from.

    Returns
    -------
    damaged : ndarray
        (T, Y, X) of the dtype of ``masks``, a new array.
    frames : ndarray
        Indices, ascending, of the damaged frames.

    Raises
    ------
    ValueError
        If the share is not from 0 to 1, a kind is not known or the masks are not (T, Y, X).
    """
    if masks.ndim != 3:
        raise ValueError(f"masks must be (T, Y, X), not {masks.shape}")
    if not 0 <= share_of_frames <= 1:
        raise ValueError(f"share_of_frames is {share_of_frames}, not from 0 to 1")
    damaged = masks.copy()
    present = np.flatnonzero(masks.any(axis=(1, 2)))
    object_ids = [int(label) for label in np.unique(masks) if label]
    runs = _runs(len(present), round(share_of_frames * len(present)), rng)
    for run in runs:
        frames = present[run]
        bad = [object_id for object_id in object_ids if len(object_ids) == 1 or rng.uniform() < 0.6]
        bad = bad or [object_ids[int(rng.integers(len(object_ids)))]]
        seeds = {object_id: int(rng.integers(2**63)) for object_id in bad}
        extents = _extents(len(frames), rng)
        for frame, extent in zip(frames, extents, strict=True):
            damaged[frame] = _damage_frame(masks[frame], object_ids, seeds, strength * extent, kinds)
    return damaged, np.sort(np.concatenate([present[run] for run in runs])) if runs else np.empty(0, np.int64)


def damage_throughout(
    masks: np.ndarray, rng: np.random.Generator, kinds: Sequence[str] = LASTING, strength: float = 1.0
) -> np.ndarray:
    """Damage every frame in the same way and at the same side of each object: faults that all frames agree on.

    Parameters
    ----------
    masks : ndarray
        (T, Y, X) integer labels, 0 for background.
    rng : numpy.random.Generator
        Source of every random choice.
    kinds : sequence of str
        Which of :data:`FAULTS` to draw from, one for each object.
    strength : float
        1 is what masks from optical flow show, 0 next to nothing.

    Returns
    -------
    ndarray
        (T, Y, X) of the dtype of ``masks``, a new array.
    """
    object_ids = [int(label) for label in np.unique(masks) if label]
    faults = {key: (FAULTS[_draw_kind(rng, kinds)], int(rng.integers(2**63))) for key in object_ids}
    damaged = np.zeros_like(masks)
    for frame, labels in enumerate(masks):
        for key, (fault, seed) in faults.items():
            damaged[frame][fault(labels == key, np.random.default_rng(seed), strength)] = key
    return damaged


def _damage_frame(
    labels: np.ndarray, object_ids: Sequence[int], seeds: Mapping[int, int], strength: float, kinds: Sequence[str]
) -> np.ndarray:
    planes = planes_of(labels.astype(np.uint16), object_ids)
    changed = planes.copy()
    for index, object_id in enumerate(object_ids):
        if object_id in seeds:
            others = np.delete(planes, index, axis=0)
            changed[index] = damage_plane(
                planes[index], np.random.default_rng(seeds[object_id]), strength, others if len(others) else None, kinds
            )
    # A damaged plane goes on top: below an intact neighbour its fault would often stay hidden.
    order = sorted(range(len(object_ids)), key=lambda index: object_ids[index] in seeds)
    return labels_of(changed[order], [object_ids[index] for index in order]).astype(labels.dtype)


def _runs(length: int, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Split ``count`` of ``length`` positions into runs of mean length 4 with gaps between them while there is room."""
    lengths: list[int] = []
    while sum(lengths) < count:
        lengths.append(min(int(rng.geometric(1 / _MEAN_RUN)), count - sum(lengths)))
    # Gaps: a random composition of what is left over, at least one frame inside where possible.
    spare = length - count
    inner = 1 if spare >= len(lengths) - 1 else 0
    free = spare - inner * max(len(lengths) - 1, 0)
    cuts = np.sort(rng.integers(0, free + 1, len(lengths)))
    runs, start = [], 0
    for index, size in enumerate(lengths):
        offset = int(cuts[index]) + inner * index + start
        runs.append(np.arange(offset, offset + size))
        start += size
    return runs


def _extents(count: int, rng: np.random.Generator) -> np.ndarray:
    """Extent of the damage in each frame of a run: a smooth rise and fall with some jitter."""
    phase = rng.uniform(0, np.pi) + np.arange(count) * rng.uniform(0.2, 0.7)
    return np.asarray(np.clip(1.0 + 0.25 * np.sin(phase) + 0.08 * rng.standard_normal(count), 0.5, 1.5))


def _draw_kind(rng: np.random.Generator, kinds: Sequence[str]) -> str:
    unknown = [kind for kind in kinds if kind not in FAULTS]
    if unknown or not kinds:
        raise ValueError(f"unknown kinds of damage {unknown}; known are {', '.join(KINDS)}")
    weights = np.array([_FREQUENCY[kind] for kind in kinds])
    return str(kinds[int(np.searchsorted(np.cumsum(weights), rng.uniform() * weights.sum()))])
