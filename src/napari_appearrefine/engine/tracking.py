"""Objects kept through time: regions of moving pixels linked from frame to frame, in one pass forwards."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy import optimize

from .bridges import moving_between
from .foreground import clearly_moving
from .motion_cues import MotionCues
from .regions import Patch, carry, components, divide_by_motion, neighbour_distances, patches_of, share_out
from .spool import CoarseSpool, Spool
from .track_looks import Looks, look
from .tracks import LONGEST_ABSENCE, Neighbourhood, Track

# Frames within a shared blob after which a track's last mask of its own is too old to predict from.
_LONGEST_CONTACT = 12
# Share of a piece that a track must be expected to fill, for the piece to be split for it.
_LEAST_CLAIM = 0.05
# Share of a hidden track's area that must come out of a blob, for the track to be seen again.
_LEAST_EMERGED = 0.1
# Near is a gap of so many pixels, and this share of the larger one's width (the root of its area).
_NEAR_PIXELS = 3.0
_NEAR_SHARE = 0.3


class Tracker:
    """Links the foreground of successive frames.

    Attributes
    ----------
    tracks : list of Track
        All tracks so far, in order of id.
    labels, probabilities : Spool
        For each frame so far: (h, w) int32 track ids, and (h, w) uint8 probability times 255.
    features, moving : CoarseSpool
        For each frame so far what it looks like, (c, h / s, w / s), and what clearly moves there,
        (1, h / s, w / s); empty if no features came.
    neighbourhoods : dict
        (smaller id, larger id) to what the two did while near each other.
    absorptions : list of (int, int)
        Id of a track that was dissolved in another before it was established, and the other's.
    looks : Looks
        How to compare what tracks look like; knows nothing if no features came.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.labels = Spool()
        self.probabilities = Spool()
        self.features = CoarseSpool()
        self.moving = CoarseSpool()
        self.neighbourhoods: dict[tuple[int, int], Neighbourhood] = {}
        self.absorptions: list[tuple[int, int]] = []
        self.looks = Looks()
        self._active: list[Track] = []
        self._shown: np.ndarray | None = None
        self._hidden: np.ndarray | None = None

    def advance(self, probability: np.ndarray, cues: MotionCues, features: np.ndarray | None = None) -> None:
        """Take in the next frame.

        Parameters
        ----------
        probability : ndarray
            (h, w) float32, that a pixel belongs to a moving object.
        cues : MotionCues
            With the gaps 1 and -1 among others.
        features : ndarray, optional
            (c, h / s, w / s) what the frame looks like.
        """
        if features is not None:
            self.looks.add(features)
            self.features.append(features)
            self.moving.append(clearly_moving(cues, (features.shape[1], features.shape[2]))[None])
        step = _Step(self, len(self.labels), probability, cues, features)
        labels = step.assign()
        self._update(step, labels)
        self.absorptions += step.absorptions
        self.labels.append(labels)
        seen = np.where(probability > 0.05, probability, 0)
        self.probabilities.append(np.clip(seen * 255 + 0.5, 0, 255).astype(np.uint8))

    def _update(self, step: _Step, labels: np.ndarray) -> None:
        hidden = np.zeros(labels.shape, np.int32)
        patches = patches_of(step.compact(labels))
        still_active: list[Track] = []
        for slot, track in enumerate(step.tracks, start=1):
            patch = patches.get(slot)
            if patch is not None and track.id not in step.absorbed:
                self._see(step, track, patch)
                still_active.append(track)
            elif track.id not in step.absorbed and track.missing < LONGEST_ABSENCE:
                _miss(step, track, hidden)
                still_active.append(track)
        self._note_neighbours(step, labels)
        self._note_bridges(step)
        self._active, self._shown, self._hidden = still_active, labels, hidden

    def _see(self, step: _Step, track: Track, patch: Patch) -> None:
        motion, residual = step.mean_motion(patch)
        alone = track.id not in step.sharing
        track.contact = 0 if alone else track.contact + 1
        # Within a shared blob the pixels' owner is a guess, so the motion from before counts more.
        trust = 1.0 if not track.frames else 0.6 if alone else 0.2
        track.motion = (1 - trust) * track.motion + trust * motion
        if alone or track.contact > _LONGEST_CONTACT:
            track.patch = patch
        elif track.frames:
            track.patch = track.patch.moved(track.motion)
        if track.id in step.rested:
            track.rests += track.resting
        track.resting = []
        track.missing = 0
        track.frames.append(step.frame)
        track.areas.append(patch.area)
        track.centres.append(patch.centre)
        track.weights.append(float(patch.values(step.probability).sum()))
        track.motions.append(motion)
        track.residuals.append(residual)
        track.looks.append(None if step.features is None else look(step.features, patch.on(step.probability.shape)))

    def _note_neighbours(self, step: _Step, labels: np.ndarray) -> None:
        seen = {track.id: track for track in step.tracks if track.frames and track.frames[-1] == step.frame}
        if len(seen) < 2:
            return
        largest = max(track.areas[-1] for track in seen.values())
        gaps = neighbour_distances(labels, _NEAR_PIXELS + _NEAR_SHARE * largest**0.5)
        for (one, other), gap in gaps.items():
            if one not in seen or other not in seen:
                continue
            first, second = seen[one], seen[other]
            if gap > _NEAR_PIXELS + _NEAR_SHARE * max(first.areas[-1], second.areas[-1]) ** 0.5:
                continue
            near = self.neighbourhoods.setdefault((one, other), Neighbourhood())
            near.frames.append(first.frames[-1])
            near.differences.append(float(np.linalg.norm(first.residuals[-1] - second.residuals[-1])))
            near.motions.append(float(max(np.linalg.norm(first.residuals[-1]), np.linalg.norm(second.residuals[-1]))))

    def _note_bridges(self, step: _Step) -> None:
        seen = sorted((track for track in step.tracks if track.frames[-1:] == [step.frame]), key=lambda track: track.id)
        if len(seen) < 2:
            return
        one, other = np.triu_indices(len(seen), 1)
        centres = np.array([track.centres[-1] for track in seen])
        between = moving_between(np.stack([centres[one], centres[other]], axis=1), step.cues)
        for first, second in zip(one[between], other[between], strict=True):
            pair = seen[first].id, seen[second].id
            self.neighbourhoods.setdefault(pair, Neighbourhood()).bridged.append(step.frame)

    def start(self, patch: Patch, motion: np.ndarray) -> Track:
        """Begin a new track with a motion (2,) in pixels a frame."""
        track = Track(len(self.tracks) + 1, patch, motion)
        self.tracks.append(track)
        return track


class _Step:
    """The linking of one frame: which track each piece of foreground belongs to."""

    def __init__(
        self, tracker: Tracker, frame: int, probability: np.ndarray, cues: MotionCues, features: np.ndarray | None
    ) -> None:
        self.frame = frame
        self.probability = probability
        self.cues = cues
        self.features = features
        self.flow = cues.flow[cues.gaps.index(1)]
        self.residual = cues.residual[cues.gaps.index(1)]
        self.tracks = list(tracker._active)
        self.sharing: set[int] = set()
        self.absorbed: set[int] = set()
        self.absorptions: list[tuple[int, int]] = []
        self.rested: set[int] = set()
        self._tracker = tracker
        pieces, _ = components(probability)
        self.pieces, self.areas = divide_by_motion(pieces, self.residual)
        back = cues.flow[cues.gaps.index(-1)]
        nothing = np.zeros(probability.shape, np.int32)
        self.carried = nothing if tracker._shown is None else carry(tracker._shown, back)
        self.ghosts = nothing if tracker._hidden is None else carry(tracker._hidden, back)
        self.labels = np.zeros(probability.shape, np.int32)

    def assign(self) -> np.ndarray:
        """Return the frame's track ids (h, w) int32."""
        overlap = self._overlaps()
        mains = self._claims(overlap)
        for piece in range(1, len(self.areas)):
            claimants = [slot for slot, main in mains.items() if main == piece]
            if claimants:
                self._give(piece, self._strong(piece, claimants, overlap.sum(axis=0)), mains)
        free = self._join_fragments(overlap, mains)
        unmatched = [track for slot, track in enumerate(self.tracks, start=1) if slot not in mains]
        free = self._recover(free, unmatched)
        patches = patches_of(np.where(np.isin(self.pieces, free), self.pieces, 0)) if free else {}
        for patch in patches.values():
            track = self._tracker.start(patch, self.mean_motion(patch)[0])
            self.tracks.append(track)
            patch.paint(self.labels, track.id)
        return self.labels

    def compact(self, ids: np.ndarray) -> np.ndarray:
        """Replace track ids (h, w) by 1, 2, ... in the order of the tracks at hand."""
        slots = np.zeros(len(self._tracker.tracks) + 1, np.int32)
        slots[[track.id for track in self.tracks]] = np.arange(1, len(self.tracks) + 1)
        return slots.take(ids)

    def mean_motion(self, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean flow and the mean residual flow (2,) over a patch, weighted by probability."""
        weights = patch.values(self.probability) + 1e-3
        return (
            np.average(patch.values(self.flow), axis=0, weights=weights),
            np.average(patch.values(self.residual), axis=0, weights=weights),
        )

    def _overlaps(self) -> np.ndarray:
        width = len(self.tracks) + 1
        somewhere = (self.pieces > 0) | (self.carried > 0)
        codes = self.pieces[somewhere].astype(np.int64) * width + self.compact(self.carried[somewhere])
        return np.bincount(codes, minlength=len(self.areas) * width).reshape(-1, width)

    def _claims(self, overlap: np.ndarray) -> dict[int, int]:
        """Return track slot to the piece it mainly lies in."""
        predicted = overlap.sum(axis=0)
        mains: dict[int, int] = {}
        for slot in range(1, overlap.shape[1]):
            if len(self.areas) < 2 or predicted[slot] == 0:
                continue
            piece = 1 + int(np.argmax(overlap[1:, slot]))
            shared = overlap[piece, slot]
            if shared >= 0.25 * predicted[slot] or shared >= 0.5 * self.areas[piece]:
                mains[slot] = piece
        return mains

    def _strong(self, piece: int, claimants: list[int], predicted: np.ndarray) -> list[int]:
        """Leave out tracks too new or too small to split a piece for, and add those hidden behind the others."""
        if len(claimants) > 1:
            strong = [
                slot
                for slot in claimants
                if self.tracks[slot - 1].established and predicted[slot] >= _LEAST_CLAIM * self.areas[piece]
            ] or [max(claimants, key=lambda slot: int(predicted[slot]))]
            winner = self.tracks[max(strong, key=lambda slot: int(predicted[slot])) - 1]
            for weak in (self.tracks[slot - 1] for slot in claimants if slot not in strong):
                self.absorbed.add(weak.id)
                if not weak.established:
                    self.absorptions.append((weak.id, winner.id))
            claimants = strong
        behind = []
        for slot, track in enumerate(self.tracks, start=1):
            if track.missing and track.contact and track.established:
                expected = track.patch.moved(track.motion)
                if np.count_nonzero(expected.values(self.pieces) == piece) >= 0.5 * expected.area:
                    behind.append(slot)
        return claimants + behind

    def _give(self, piece: int, claimants: list[int], mains: dict[int, int]) -> None:
        where = self.pieces == piece
        if len(claimants) == 1:
            self.labels[where] = self.tracks[claimants[0] - 1].id
            return
        tracks = [self.tracks[slot - 1] for slot in claimants]
        rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        carried = patches_of(self.compact(self.carried))
        predictions = [
            carried[slot] if track.contact > _LONGEST_CONTACT and slot in carried else track.patch.moved(track.motion)
            for slot, track in zip(claimants, tracks, strict=True)
        ]
        owners = share_out(
            where[box], predictions, np.stack([track.motion for track in tracks]), self.flow[box], rows[0], columns[0]
        )
        shares = np.bincount(owners.ravel(), minlength=len(claimants) + 1)[1:]
        emerged = [
            slot
            for slot, track, share in zip(claimants, tracks, shares, strict=True)
            if not track.missing or share >= _LEAST_EMERGED * track.patch.area
        ]
        if len(emerged) < len(claimants):
            self._give(piece, emerged, mains)
            return
        self.sharing |= {track.id for track in tracks}
        mains.update(dict.fromkeys(claimants, piece))
        ids = np.array([0] + [track.id for track in tracks], np.int32)
        self.labels[box] = np.where(owners > 0, ids[owners], self.labels[box])

    def _join_fragments(self, overlap: np.ndarray, mains: dict[int, int]) -> list[int]:
        """Give pieces that broke off a track back to it; return the pieces that remain."""
        taken = set(mains.values())
        remaining = []
        for piece in range(1, len(self.areas)):
            if piece in taken:
                continue
            slot = int(np.argmax(overlap[piece, 1:])) + 1 if overlap.shape[1] > 1 else 0
            owner = self.tracks[slot - 1] if slot in mains else None
            mostly = slot > 0 and overlap[piece, slot] > 0.5 * self.areas[piece]
            if owner is None or not mostly or not self._belongs(piece, owner):
                remaining.append(piece)
            else:
                self.labels[self.pieces == piece] = owner.id
        return remaining

    def _belongs(self, piece: int, owner: Track) -> bool:
        main = self.labels == owner.id
        fragment = self.pieces == piece
        if not main.any():
            return False
        distance = cv2.distanceTransform((~main).astype(np.uint8), cv2.DIST_L2, 3)
        if distance[fragment].min() > 2 + _NEAR_SHARE * np.count_nonzero(main) ** 0.5:
            return False
        one, other = self.residual[main].mean(axis=0), self.residual[fragment].mean(axis=0)
        faster = max(np.linalg.norm(one), np.linalg.norm(other))
        return bool(np.linalg.norm(one - other) <= 0.5 * faster + 0.5)

    def _recover(self, pieces: list[int], tracks: Sequence[Track]) -> list[int]:
        """Find lost tracks again among free pieces; return the pieces that remain."""
        if not pieces or not tracks:
            return pieces
        found = patches_of(np.where(np.isin(self.pieces, pieces), self.pieces, 0))
        scores = np.zeros((len(tracks), len(pieces)))
        rested = np.zeros_like(scores, bool)
        for row, track in enumerate(tracks):
            moved = track.patch.moved(track.motion)
            for column, piece in enumerate(pieces):
                patch = found[piece]
                ratio = patch.area / max(track.patch.area, 1)
                if not 0.2 <= ratio <= 5:
                    continue
                stayed = np.count_nonzero(patch.values(self.ghosts) == track.id)
                stayed += np.count_nonzero(patch.values(self.carried) == track.id)
                went = np.count_nonzero(moved.values(self.pieces) == piece)
                size = max(patch.area, track.patch.area)
                reach = 0.75 * size**0.5 * (1 + 0.1 * track.missing)
                near = max(0.0, 1 - float(np.linalg.norm(moved.centre - patch.centre)) / reach)
                scores[row, column] = max(stayed / size, went / size, 0.3 * near)
                rested[row, column] = stayed >= went and stayed > 0.3 * size
        for row, column in zip(*optimize.linear_sum_assignment(-scores), strict=True):
            if scores[row, column] > 0.05:
                track = tracks[row]
                found[pieces[column]].paint(self.labels, track.id)
                if rested[row, column]:
                    self.rested.add(track.id)
        return [piece for piece in pieces if not (self.labels[self.pieces == piece] > 0).any()]


def _miss(step: _Step, track: Track, hidden: np.ndarray) -> None:
    """Carry a track that is not seen in this frame on, both as if it rested and as if it kept moving."""
    place = (step.carried == track.id) if track.missing == 0 else (step.ghosts == track.id)
    track.missing += 1
    track.patch = track.patch.moved(track.motion)
    for patch in patches_of(place.astype(np.int32)).values():
        track.resting.append((step.frame, patch))
        patch.paint(hidden, track.id, only_where=0)
