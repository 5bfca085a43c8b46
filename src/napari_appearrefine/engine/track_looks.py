"""What tracks look like: cut where one goes on as another object, found again after a while or in two parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import permutations

import cv2
import numpy as np

from .tracks import LARGEST_GROWTH, Neighbourhood, Track

# In frames: compared before and after a cut; needed to compare at all; seen together without being two things side by
# side, as while one passes the other.
_WINDOW = 8
_LEAST_LOOKS = 4
_PASSING_OVERLAP = 6
# Likeness of looks (cosine, -1 to 1): below it a track may have changed into another; from it on two may be one; below
# it nothing is shared; how much more a part must be like another object than the rest of its track is; how much less
# like it a rival must be; from it on a part looks like the whole.
_CHANGED = 0.5
_SAME = 0.65
_OTHER = 0.2
_MORE_ALIKE = 0.3
_AMBIGUOUS = 0.15
_PART_SAME = 0.8
# Share of the most prominent track's weight below which a track is not compared.
_LEAST_PROMINENCE = 0.02
# Parts of one thing: share of the frames with both in which they are near, their motions' difference over the longer of
# them at most, what is left of the old one's area at most, and what both together have of it.
_LEAST_NEAR = 0.5
_LARGEST_DIFFERENCE = 1.0
_SHRUNK = 0.75
_WHOLE_AREA = 0.6, 1.5
# Added to every variance, in units of their mean, so that noise is not blown up.
_SMOOTHING = 0.05
# Cells of the features' grid that a region must cover.
_LEAST_COVERED = 3.0


class Looks:
    """Compares features in units of the clip's own variety (whitened, then the cosine).

    What goes up and down together all over the clip counts once, and what hardly varies counts as much
    as what does: so a boat and a ball on the same sea are told apart.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sum: np.ndarray | None = None
        self._products: np.ndarray | None = None
        self._units: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, features: np.ndarray) -> None:
        """Take in the features (c, h, w) of a frame."""
        # Neighbours are much alike: every fourth one in both directions tells the same.
        vectors = features[:, ::4, ::4].reshape(len(features), -1)
        if self._sum is None or self._products is None:
            self._sum, self._products = np.zeros(len(vectors)), np.zeros((len(vectors), len(vectors)))
        self._units = None
        self._count += vectors.shape[1]
        self._sum += vectors.sum(axis=1)
        # Not as a matrix product: the threads of the library for those keep a core busy until the next frame.
        self._products += np.einsum("in,jn->ij", vectors, vectors)

    def of(self, track: Track) -> np.ndarray:
        """Return the looks of a track in these units, (n, c), a row for each frame where it was seen well."""
        seen = [each for each in track.looks if each is not None]
        if not seen or self._sum is None or self._products is None:
            return np.zeros((0, 1))
        if self._units is None:
            mean = self._sum / self._count
            variances, directions = np.linalg.eigh(self._products / self._count - np.outer(mean, mean))
            smoothed = np.maximum(variances, 0) + _SMOOTHING * variances.mean() + 1e-9
            self._units = mean, directions / np.sqrt(smoothed)
        mean, units = self._units
        return np.asarray((np.array(seen) - mean) @ units)


def look(features: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Return the mean feature (c,) float32 of a region, or None where it is too small to tell.

    Parameters
    ----------
    features : ndarray
        (c, h / s, w / s) of a frame.
    mask : ndarray
        (h, w) bool.
    """
    covered = cv2.resize(mask.astype(np.float32), features.shape[:0:-1], interpolation=cv2.INTER_AREA)
    total = float(covered.sum())
    if total < _LEAST_COVERED:
        return None
    return np.asarray((features * covered).sum(axis=(1, 2)) / total, np.float32)


def part_exchanged(tracks: Sequence[Track], looks: Looks) -> list[Track]:
    """Cut every track that goes on as another object, as happens where one passes in front of the other.

    A change of looks is not enough, since objects turn and are hidden in part. The part before the cut or the
    one after it must look like a track that was seen beside the other part, so is another object than that.

    Returns
    -------
    list of Track
        In order of id; the later part of a track that was cut has a new one.
    """
    rows = {track.id: looks.of(track) for track in tracks}
    others = [(track, _mean_direction(rows[track.id])) for track in tracks if len(rows[track.id]) >= _LEAST_LOOKS]
    whole = list(tracks)
    parted: list[Track] = []
    last_id = max((track.id for track in tracks), default=0)
    while whole:
        track = whole.pop()
        row = _greatest_change(rows[track.id])
        if row is None:
            parted.append(track)
            continue
        place = [index for index, each in enumerate(track.looks) if each is not None][row]
        parts = track.cut(place, last_id + 1)
        before, after = rows[track.id][:row], rows[track.id][row:]
        if not _exchanged(parts, (_mean_direction(before), _mean_direction(after)), others):
            parted.append(track)
            continue
        last_id += 1
        rows[track.id], rows[last_id] = before, after
        whole += parts
    return sorted(parted, key=lambda track: track.id)


def found_again(tracks: Sequence[Track], looks: Looks) -> Iterator[tuple[int, int]]:
    """Find pairs of tracks, one after the other, that look so alike that they are one object.

    However far they are from each other in time and place. A pair does not count if something else that was seen
    beside one of the two looks like the other nearly as much: cells in a dish cannot be told apart like this.

    Yields
    ------
    tuple of int
        Ids of two tracks.
    """
    known, rows = _known(tracks, looks)
    if len(known) < 2:
        return
    means = np.array([_mean_direction(rows[track.id]) for track in known])
    alike = means @ means.T
    beside = _seen_beside(known)
    sizes = [float(np.median(track.areas)) for track in known]
    for one, other in zip(*np.nonzero(np.triu(alike, 1) >= _SAME), strict=True):
        if other in beside[one] or max(sizes[one], sizes[other]) > LARGEST_GROWTH * min(sizes[one], sizes[other]):
            continue
        least_alike, least_size = alike[one, other] - _AMBIGUOUS, min(sizes[one], sizes[other]) / LARGEST_GROWTH
        rivals = [alike[rival, other] for rival in beside[one] if sizes[rival] > least_size]
        rivals += [alike[rival, one] for rival in beside[other] if sizes[rival] > least_size]
        if max(rivals, default=-1.0) <= least_alike:
            yield known[one].id, known[other].id


def came_apart(
    tracks: Sequence[Track], looks: Looks, neighbourhoods: Mapping[tuple[int, int], Neighbourhood]
) -> Iterator[tuple[int, int]]:
    """Find pairs of tracks, near each other, that are parts of what one of them was before or after.

    So with what passes behind something: its head emerges as a new track, while the old one goes on as its tail.
    The new one looks like the old one as a whole, no less than the rest of that, which is the smaller for it; two
    things that are only alike are together larger than one. A pair does not count if something else looks nearly
    as much like the whole.

    Parameters
    ----------
    neighbourhoods : mapping
        From :class:`~napari_appearrefine.engine.tracking.Tracker`.

    Yields
    ------
    tuple of int
        Ids of two tracks.
    """
    known, rows = _known(tracks, looks)
    means = {track.id: _mean_direction(rows[track.id]) for track in known}
    for track, part in permutations(known, 2):
        near = neighbourhoods.get((min(track.label, part.label), max(track.label, part.label)))
        both = set(track.frames) & set(part.frames) if near else set()
        if near is None or len(both) < _LEAST_LOOKS or not _move_on_together(near, both):
            continue
        frames, seen = np.array(track.frames), np.array([each is not None for each in track.looks])
        for alone in (frames < part.frames[0], frames > part.frames[-1]):
            shown = alone[seen]
            if np.count_nonzero(shown) < _LEAST_LOOKS:
                continue
            whole = _mean_direction(rows[track.id][shown])
            likeness = float(whole @ means[part.id])
            rest = -1.0 if shown.all() else float(whole @ _mean_direction(rows[track.id][~shown]))
            rivals = [float(whole @ mean) for rival, mean in means.items() if rival not in (track.id, part.id)]
            area = float(np.median(np.array(track.areas)[alone]))
            least = max(_PART_SAME, rest, max(rivals, default=-1.0) + _AMBIGUOUS)
            if likeness >= least and _add_up(track, part, both, area):
                yield track.id, part.id


def _move_on_together(near: Neighbourhood, both: Set[int]) -> bool:
    count, difference, motion = near.during(both)
    return count >= _LEAST_NEAR * len(both) and difference <= _LARGEST_DIFFERENCE * motion


def _add_up(track: Track, part: Track, both: Set[int], whole: float) -> bool:
    own, other = (
        np.array([area for frame, area in zip(each.frames, each.areas, strict=True) if frame in both])
        for each in (track, part)
    )
    least, most = _WHOLE_AREA
    return bool(np.median(own) <= _SHRUNK * whole and least * whole <= np.median(own + other) <= most * whole)


def continues_as_other(earlier: Track, later: Track, looks: Looks) -> bool:
    """Whether what a track looked like at its end has nothing of what another looks like at its beginning."""
    end, beginning = looks.of(earlier)[-_WINDOW:], looks.of(later)[:_WINDOW]
    if min(len(end), len(beginning)) < _LEAST_LOOKS:
        return False
    return float(_mean_direction(end) @ _mean_direction(beginning)) < _OTHER


def _known(tracks: Sequence[Track], looks: Looks) -> tuple[list[Track], dict[int, np.ndarray]]:
    """Return the tracks that are prominent and seen well often enough to be compared, and their looks by id."""
    least = _LEAST_PROMINENCE * max((track.weight for track in tracks), default=0.0)
    rows = {track.id: looks.of(track) for track in tracks if track.weight >= least}
    return [track for track in tracks if len(rows.get(track.id, ())) >= _LEAST_LOOKS], rows


def _mean_direction(rows: np.ndarray) -> np.ndarray:
    """Return the mean of looks (n, c) as a unit vector (c,): the product of two is their likeness."""
    mean = rows.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9))


def _greatest_change(rows: np.ndarray) -> int | None:
    """Return the row before which and from which on looks differ most, if they differ at all."""
    changes = {
        row: float(_mean_direction(rows[max(row - _WINDOW, 0) : row]) @ _mean_direction(rows[row : row + _WINDOW]))
        for row in range(_LEAST_LOOKS, len(rows) - _LEAST_LOOKS + 1)
    }
    row = min(changes, key=changes.__getitem__, default=None)
    return row if row is not None and changes[row] < _CHANGED else None


def _exchanged(
    parts: tuple[Track, Track], means: tuple[np.ndarray, np.ndarray], others: Sequence[tuple[Track, np.ndarray]]
) -> bool:
    for other, mean in others:
        if other.label == parts[0].label:
            continue
        likeness = [float(mean @ each) for each in means]
        together = [_together(part, other) for part in parts]
        for own, beside in ((0, 1), (1, 0)):
            sizes = float(np.median(parts[own].areas)), float(np.median(other.areas))
            if (
                likeness[own] >= max(_SAME, likeness[beside] + _MORE_ALIKE)
                and together[own] <= _PASSING_OVERLAP
                and together[beside] >= _LEAST_LOOKS
                and max(sizes) <= LARGEST_GROWTH * min(sizes)
            ):
                return True
    return False


def _together(one: Track, other: Track) -> int:
    return len(set(one.frames) & set(other.frames))


def _seen_beside(tracks: Sequence[Track]) -> dict[int, list[int]]:
    """Return the place of each track to those of the tracks that were seen beside it, as another thing."""
    return {
        place: [other for other, track in enumerate(tracks) if other != place and _two_things(tracks[place], track)]
        for place in range(len(tracks))
    }


def _two_things(one: Track, other: Track) -> bool:
    """Whether two tracks were seen together for longer than one thing is on both sides of what it passes behind.

    There its tail shrinks while its head grows, and both together are as large as it was.
    """
    both = set(one.frames) & set(other.frames)
    if len(both) <= _PASSING_OVERLAP:
        return False
    earlier, later = sorted((one, other), key=lambda track: track.frames[0])
    alone = np.array(earlier.frames) < later.frames[0]
    if not alone.any() or earlier.frames[-1] >= later.frames[-1]:
        return True
    return not _add_up(earlier, later, both, float(np.median(np.array(earlier.areas)[alone])))
