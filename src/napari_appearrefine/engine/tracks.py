"""What is known of regions followed through time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np

from .regions import Patch

# Frames after which what is out of sight is another object when it comes back, unless it looks the same.
LONGEST_ABSENCE = 10
# Areas of one object, seen in part or as a whole, near or far, differ by no more than this factor.
LARGEST_GROWTH = 5
_ESTABLISHED = 3
_PER_FRAME = ("frames", "areas", "centres", "weights", "motions", "residuals", "looks")


@dataclass
class Track:
    """One region followed through time.

    Parameters
    ----------
    id : int
        1, 2, ... in order of appearance.
    patch : Patch
        Its last mask of its own, moved along by prediction while it is hidden or touches another.
    motion : ndarray
        (2,) predicted motion, pixels a frame.
    frames, areas, centres, weights, motions, residuals, looks : list
        For each frame where it was seen: index, pixels, (2,) centre (x, y), sum of probability, (2,) mean motion to the
        next frame, (2,) mean residual motion, (c,) mean feature or None.
    missing : int
        Frames since it was last seen.
    contact : int
        Frames for which it has shared a blob with another; kept while it is hidden behind it.
    resting : list of (int, Patch)
        Where it would be in the frames since it was last seen if it had stayed with the flow.
    rests : list of (int, Patch)
        The same for past absences that turned out to be rests.
    label : int
        Its value in the tracker's label maps; that of the track that it was cut from, otherwise its id.
    """

    id: int
    patch: Patch
    motion: np.ndarray
    frames: list[int] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    centres: list[np.ndarray] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    motions: list[np.ndarray] = field(default_factory=list)
    residuals: list[np.ndarray] = field(default_factory=list)
    looks: list[np.ndarray | None] = field(default_factory=list)
    missing: int = 0
    contact: int = 0
    resting: list[tuple[int, Patch]] = field(default_factory=list)
    rests: list[tuple[int, Patch]] = field(default_factory=list)
    label: int = 0

    def __post_init__(self) -> None:
        self.label = self.label or self.id

    @property
    def established(self) -> bool:
        """Whether it has been seen often enough to be believed."""
        return len(self.frames) >= _ESTABLISHED

    @property
    def weight(self) -> float:
        """Sum of its probability over all pixels and frames: how prominent it is."""
        return float(sum(self.weights))

    def cut(self, place: int, later_id: int) -> tuple[Track, Track]:
        """Return it up to the ``place``-th frame where it was seen, and from there on under another id."""
        start = self.frames[place]
        earlier, later = (
            replace(
                self,
                **{name: getattr(self, name)[part] for name in _PER_FRAME},
                rests=[rest for rest in self.rests if (rest[0] >= start) == late],
            )
            for part, late in ((slice(place), False), (slice(place, None), True))
        )
        return earlier, replace(later, id=later_id)


@dataclass
class Neighbourhood:
    """What two tracks did while they were near each other.

    Parameters
    ----------
    frames : list of int
        Frames in which they were near.
    differences, motions : list of float
        In each the length of the difference of their residual motions, and of the longer of the two.
    bridged : list of int
        Frames in which what lay between them moved along with them.
    """

    frames: list[int] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    motions: list[float] = field(default_factory=list)
    bridged: list[int] = field(default_factory=list)

    def during(self, frames: Set[int]) -> tuple[int, float, float]:
        """Return in how many of some frames the two were near, and sums over these: ``differences``, ``motions``."""
        places = [place for place, frame in enumerate(self.frames) if frame in frames]
        return (
            len(places),
            sum(self.differences[place] for place in places),
            sum(self.motions[place] for place in places),
        )


def motions_of_objects(tracks: Sequence[Track], chosen: Mapping[int, int], length: int) -> np.ndarray:
    """Return how each object moves, the camera's motion included, also between the frames where it is seen.

    Parameters
    ----------
    tracks : sequence of Track
        All tracks.
    chosen : mapping of int to int
        Track id to object id.
    length : int
        Frames of the clip.

    Returns
    -------
    ndarray
        (T, Q, 2) float (x, y) pixels to the next frame, for the objects in order of id.
    """
    objects = sorted(set(chosen.values()))
    motions = np.zeros((length, len(objects), 2))
    for place, object_id in enumerate(objects):
        sums, areas = np.zeros((length, 2)), np.zeros(length)
        for track in tracks:
            if chosen.get(track.id) == object_id:
                np.add.at(areas, track.frames, track.areas)
                np.add.at(sums, track.frames, np.array(track.areas)[:, None] * np.array(track.motions))
        seen = np.flatnonzero(areas)
        for axis in (0, 1):
            motions[:, place, axis] = np.interp(np.arange(length), seen, sums[seen, axis] / areas[seen])
    return motions
