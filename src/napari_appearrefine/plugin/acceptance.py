"""The acceptance of a proposal: pixels and marks written frame by frame, as one undo step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ..core.patches import LabelPatch
from ..core.proposal import Decision, Proposal
from ..core.review_cells import Change, Edit
from .edit_tracker import EditTracker


class Acceptance:
    """Takes over proposed masks; what a person drew since the run began stays, and so does what is locked.

    Parameters
    ----------
    proposal : Proposal
        What to take them from.
    tracker : EditTracker
        What writes the masks and their marks.
    run : int
        Number of the run that proposes.
    seen : bool
        Whether a person looked at it, and so agrees with the masks.
    on_undone, on_redone : callable
        Told when a person takes it back, or makes it again.
    """

    def __init__(
        self,
        proposal: Proposal,
        tracker: EditTracker,
        run: int,
        seen: bool,
        on_undone: Callable[[], None],
        on_redone: Callable[[], None],
    ) -> None:
        self.proposal = proposal
        self.tracker = tracker
        self.written: list[int] = []
        """Frames whose pixels changed."""
        self._run = run
        self._seen = seen
        self._taken = np.zeros(proposal.decisions.shape, bool)
        self._step = tracker.begin(on_undone, on_redone)

    def steps(
        self, frames: Sequence[int], changing: Iterable[int], object_ids: Sequence[int], is_shown: Callable[[int], bool]
    ) -> Iterator[int]:
        """Write; yield each frame whose pixels changed. Ends early if a person takes it back.

        Parameters
        ----------
        frames : sequence of int
            What is accepted, ascending.
        changing : iterable of int
            Those of them in which pixels may change; of the others only the marks do.
        object_ids : sequence of int
            What is accepted; objects of both the proposal and the table.
        is_shown : callable
            Tells whether a frame is on the screen.
        """
        wanted = sorted(set(frames) & set(changing))
        alike = sorted(set(frames) - set(wanted))
        self.tracker.grow(self._step, [], self._decided(alike, object_ids, None))
        for frame in wanted:
            if self._step.was_undone():
                return
            after = self.tracker.layer.data[frame].copy()
            patches = []
            for whole in self.proposal.patches(self.tracker.layer.data, [frame], object_ids):
                patch = _without(whole, after, self._kept(frame))
                after[patch.rows, patch.columns] = patch.values
                patches.append(patch)
            present = set(np.flatnonzero(np.bincount(after.ravel())).tolist())
            edit = self._decided([frame], object_ids, present)
            self.tracker.grow(self._step, patches, edit, refresh=is_shown(frame))
            if any(len(patch) for patch in patches):
                self.written.append(frame)
            yield frame

    def end(self) -> None:
        """Show what was written, and tell about it."""
        self.tracker.end(self._step)

    def in_words(self) -> str:
        """Say what was written, and where."""
        frames = "1 frame was" if len(self.written) == 1 else f"{len(self.written)} frames were"
        return f"{frames} written into “{self.tracker.layer.name}”; Ctrl-Z takes it back."

    def take_back(self) -> None:
        """Let be open again what was accepted."""
        self.proposal.decisions[self._taken] = Decision.OPEN

    def make_again(self) -> None:
        """Let be accepted what was."""
        self.proposal.decisions[self._taken] = Decision.ACCEPTED

    def _kept(self, frame: int) -> list[int]:
        decisions = self.proposal.decisions[frame]
        rejected = [self.proposal.object_ids[slot] for slot in np.flatnonzero(decisions == Decision.REJECTED)]
        return sorted({*rejected, *self.tracker.table.settled(frame)})

    def _decided(self, frames: Sequence[int], object_ids: Sequence[int], present: set[int] | None) -> Edit:
        before = self.proposal.decide(Decision.ACCEPTED, frames, object_ids)
        taken = before != self.proposal.decisions
        self._taken |= taken
        changes: list[Change] = []
        for object_id in object_ids:
            slot = self.proposal.object_ids.index(object_id)
            mine = np.flatnonzero(taken[:, slot]).tolist()
            there = {} if present is None else dict.fromkeys(mine, object_id in present)
            changes += self.tracker.table.taken_over(object_id, mine, self._run, there, self._seen).changes
        return Edit("Accept proposed masks", tuple(changes))


def _without(patch: LabelPatch, now: np.ndarray, settled: list[int]) -> LabelPatch:
    """Leave out the pixels that settled objects would gain or lose: locked since the run, or rejected."""
    old = now[patch.rows, patch.columns]
    free = ~(np.isin(old, settled) | np.isin(patch.values, settled))
    return LabelPatch(patch.frame, patch.rows[free], patch.columns[free], patch.values[free])
