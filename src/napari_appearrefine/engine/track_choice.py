"""Which tracks are one object, and which objects are worth showing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from .track_looks import Looks, came_apart, continues_as_other, found_again
from .tracks import LARGEST_GROWTH, LONGEST_ABSENCE, Neighbourhood, Track

# What makes an object worth showing: see choose_objects.
_LEAST_SHARE_OF_LARGEST = 0.08
_LEAST_SHARE_OF_SURE = 0.02
_SURE_PRESENCE = 0.5
_SURE_PROBABILITY = 0.65
_LEAST_PRESENCE = 0.15
_LONG_PRESENCE = 25
# In frames: a shorter track is a speck; so long may a track still be seen when the next one begins, as while two pass
# each other; so many at a track's end and beginning tell how it moved.
_LEAST_FRAMES = 4
_LONGEST_OVERLAP = 6
_END = 8
# Frames with motion all the way from one to the other that make them one, and their share of those with both.
_LEAST_BRIDGED, _LEAST_SHARE_BRIDGED = 6, 0.6


@dataclass(frozen=True)
class Alike:
    """How alike two tracks must be to count as parts of one object.

    Parameters
    ----------
    together : float
        Share of the shorter track's frames in which the other is seen too.
    near : float
        Share of those in which the two are near each other.
    difference : float
        Their motions' difference over the longer of them, at most.
    reach : float
        How far from where one ends the other may begin to continue it, in units of its size.
    turn : float
        Their motions' difference over the longer of them, at most, for one to continue the other.
    """

    together: float
    near: float
    difference: float
    reach: float
    turn: float


STRICT = Alike(together=0.6, near=0.6, difference=0.45, reach=1.25, turn=0.6)
LENIENT = Alike(together=0.4, near=0.5, difference=1.0, reach=2.0, turn=0.9)


def choose_objects(
    tracks: Sequence[Track],
    neighbourhoods: Mapping[tuple[int, int], Neighbourhood],
    absorptions: Sequence[tuple[int, int]],
    length: int,
    limit: int | None = None,
    looks: Looks | None = None,
) -> dict[int, int]:
    """Join tracks that are parts of one object, rank the objects and keep the prominent ones.

    An object's prominence is its probability summed over pixels and frames. Without a limit, an
    object is kept if it is at least 8 % as prominent as the first and is seen in 15 % of the clip
    (or in 25 frames): rather one too few than a wrong one. Beside a large object 2 % are enough for
    one that is seen in half of the clip with a mean probability of 0.65. With a limit, parts are
    joined more readily as long as there are more objects than that.

    Parameters
    ----------
    tracks : sequence of Track
        All tracks of the clip.
    neighbourhoods, absorptions : mapping, sequence
        From :class:`~napari_appearrefine.engine.tracking.Tracker`.
    length : int
        Frames of the clip.
    limit : int, optional
        At most this many objects.
    looks : Looks, optional
        From the tracker: tracks that look the same are one object, however far they are from each other.

    Returns
    -------
    dict of int to int
        Track id to object id, 1, 2, ... in order of prominence; tracks left out do not appear.
    """
    looks = looks or Looks()
    groups = join_parts(tracks, neighbourhoods, absorptions, STRICT, looks)
    if limit is not None and len(_prominent(groups, length)) > limit:
        groups = join_parts(tracks, neighbourhoods, absorptions, LENIENT, looks)
    kept = _prominent(groups, length)[:limit]
    return {track.id: object_id for object_id, group in enumerate(kept, start=1) for track in group}


def join_parts(
    tracks: Sequence[Track],
    neighbourhoods: Mapping[tuple[int, int], Neighbourhood],
    absorptions: Sequence[tuple[int, int]],
    alike: Alike,
    looks: Looks,
) -> list[list[Track]]:
    """Group tracks that are parts of one object.

    These are tracks that are near each other and move alike whenever both are seen, or with all that is between
    them; that continue one another; that look the same at different times; that are what one of them was as a whole;
    and that were absorbed before they were established.

    Returns
    -------
    list of list of Track
        The groups, the most prominent first.
    """
    leader = {track.id: track.id for track in tracks}
    bound: set[int] = set()

    def find(track_id: int) -> int:
        while leader[track_id] != track_id:
            leader[track_id] = leader[leader[track_id]]
            track_id = leader[track_id]
        return track_id

    by_label: dict[int, list[Track]] = {}
    for track in tracks:
        by_label.setdefault(track.label, []).append(track)
    joined = [
        *successions(tracks, alike, looks),
        *found_again(tracks, looks),
        *came_apart(tracks, looks, neighbourhoods),
        *_absorbed(by_label, absorptions),
        *_moving_together(by_label, neighbourhoods, alike),
    ]
    short = {track.id for track in tracks if len(track.frames) < _LEAST_FRAMES}
    for one, other in joined:
        # A speck that is near two objects is no proof that they are one: it goes with the first.
        if {one, other} & short & bound:
            continue
        bound |= {one, other}
        leader[find(one)] = find(other)
    groups: dict[int, list[Track]] = {}
    for track in tracks:
        groups.setdefault(find(track.id), []).append(track)
    return sorted(groups.values(), key=_prominence, reverse=True)


def _absorbed(
    by_label: Mapping[int, Sequence[Track]], absorptions: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    for label, other in absorptions:
        for track in by_label[label]:
            end = track.frames[-1] if track.frames else 0
            yield track.id, min(by_label[other], key=lambda part: _frames_away(part, end)).id


def _frames_away(track: Track, frame: int) -> int:
    return max(track.frames[0] - frame, frame - track.frames[-1], 0) if track.frames else 0


def _moving_together(
    by_label: Mapping[int, Sequence[Track]], neighbourhoods: Mapping[tuple[int, int], Neighbourhood], alike: Alike
) -> Iterator[tuple[int, int]]:
    for (label, other_label), near in neighbourhoods.items():
        for one, other in product(by_label[label], by_label[other_label]):
            both = set(one.frames) & set(other.frames)
            count, difference, motion = near.during(both)
            bridged = len(both.intersection(near.bridged))
            if bridged >= max(_LEAST_BRIDGED, _LEAST_SHARE_BRIDGED * len(both)) or (
                count
                and len(both) >= alike.together * min(len(one.frames), len(other.frames))
                and count >= alike.near * len(both)
                and difference <= alike.difference * motion
            ):
                yield one.id, other.id


def successions(tracks: Sequence[Track], alike: Alike, looks: Looks) -> list[tuple[int, int]]:
    """Find tracks that begin about where and when another one ends, and move on as it did.

    Returns
    -------
    list of (int, int)
        Ids of the earlier and the later track; each is the earlier of one pair at most, and the later of one.
    """
    long_enough = [track for track in tracks if len(track.frames) >= _LEAST_FRAMES]
    found = []
    for earlier, later in product(long_enough, repeat=2):
        pause = later.frames[0] - earlier.frames[-1]
        if earlier.frames[0] < later.frames[0] and -_LONGEST_OVERLAP <= pause <= LONGEST_ABSENCE:
            distance = _succession_distance(earlier, later, pause, alike.turn)
            if distance < alike.reach and not continues_as_other(earlier, later, looks):
                found.append((distance, earlier.id, later.id))
    pairs: list[tuple[int, int]] = []
    for _, one, other in sorted(found):
        if all(one != first and other != second for first, second in pairs):
            pairs.append((one, other))
    return pairs


def _succession_distance(earlier: Track, later: Track, pause: int, turn: float) -> float:
    """Return how far the later track begins from where the earlier one would be, in units of their size."""
    # What vanishes behind something is seen in part at last, and so is what emerges: the largest area of several
    # frames is its size, and each centre may be wrong by about half of it.
    areas = max(earlier.areas[-_END:]), max(later.areas[:_END])
    before, after = np.mean(earlier.residuals[-_END:], axis=0), np.mean(later.residuals[:_END], axis=0)
    faster = max(np.linalg.norm(before), np.linalg.norm(after))
    if max(areas) > LARGEST_GROWTH * min(areas) or np.linalg.norm(before - after) > turn * faster:
        return float("inf")
    if pause <= 0:
        expected = earlier.centres[int(np.searchsorted(earlier.frames, later.frames[0]))]
    else:
        ends = earlier.centres[-_END:]
        velocity = (ends[-1] - ends[0]) / max(earlier.frames[-1] - earlier.frames[-len(ends)], 1)
        expected = ends[-1] + velocity * pause
    return float(np.linalg.norm(later.centres[0] - expected) / max(areas) ** 0.5)


def _prominence(group: list[Track]) -> float:
    return sum(track.weight for track in group)


def _prominent(groups: list[list[Track]], length: int) -> list[list[Track]]:
    if not groups:
        return []
    largest = _prominence(groups[0])
    needed = min(max(_LEAST_FRAMES, _LEAST_PRESENCE * length), _LONG_PRESENCE, length)
    kept = []
    for group in groups:
        seen = len({frame for track in group for frame in track.frames})
        area = sum(sum(track.areas) for track in group)
        sure = seen >= _SURE_PRESENCE * length and _prominence(group) >= _SURE_PROBABILITY * area
        least = _LEAST_SHARE_OF_SURE if sure else _LEAST_SHARE_OF_LARGEST
        if seen >= needed and _prominence(group) >= least * largest:
            kept.append(group)
    return kept


class ShownIds:
    """Which object each value of a tracker's label maps stands for.

    Parameters
    ----------
    tracks : sequence of Track
        Parts of tracks that were cut share a value, each for its own frames.
    chosen : mapping of int to int
        Track id to object id, from :func:`choose_objects`.
    """

    def __init__(self, tracks: Sequence[Track], chosen: Mapping[int, int]) -> None:
        self.objects = sorted(set(chosen.values()))
        parts = Counter(track.label for track in tracks)
        self._whole = np.zeros(max(parts) + 1, np.int32)
        for track in tracks:
            self._whole[track.label] = chosen.get(track.id, 0)
        self._parts = [track for track in tracks if parts[track.label] > 1]
        self._chosen = chosen

    def at(self, frame: int) -> np.ndarray:
        """Return the object id (labels + 1,) int32 of each value of a frame's label map, 0 for none."""
        ids = self._whole.copy()
        for track in self._parts:
            if track.frames[0] <= frame <= track.frames[-1]:
                ids[track.label] = self._chosen.get(track.id, 0)
        return ids
