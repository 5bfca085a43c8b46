"""Accept and reject: what a run proposes, for all frames, the selected ones, one object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ..connections import Connections
from ..proposal_controller import ProposalController
from ..review_controller import ReviewController
from .parts import button

_LARGEST_BESIDE_A_WORD = 999
"""Longer words would make the dock wider."""
_LONGEST_TITLE = 12


class ProposalBox(QWidget):
    """Shows how much of a proposal is open, and decides about it; hidden while there is none.

    Parameters
    ----------
    proposals : ProposalController
        What owns the proposal.
    review : ReviewController
        What knows the shown frame and the selected object.
    """

    def __init__(self, proposals: ProposalController, review: ReviewController) -> None:
        super().__init__()
        self._proposals = proposals
        self._review = review
        self.open_label = QLabel()
        self.open_label.setWordWrap(True)
        self.shown_button = button("", "See the proposed masks instead of yours, and back.  [T]")
        self.accept_all = button("Accept all", "Take every proposed mask; Ctrl-Z takes it back.  [Shift-A]")
        self.reject_all = button("Reject all", "Keep all your masks as they are.  [Shift-D]")
        self.accept_frame = button("", "Take the proposed masks of these frames.  [A]")
        self.reject_frame = button("", "Keep your masks of these frames.  [D]")
        self.accept_object = button("", "Take every proposed mask of the selected object.")
        self.reject_object = button("", "Keep your masks of the selected object.")
        grid = QGridLayout()
        for line, pair in enumerate(
            (
                (self.accept_frame, self.reject_frame),
                (self.accept_object, self.reject_object),
                (self.accept_all, self.reject_all),
            )
        ):
            for column, each in enumerate(pair):
                grid.addWidget(each, line, column)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.open_label)
        layout.addWidget(self.shown_button)
        layout.addLayout(grid)
        self._connections = Connections(
            (self.shown_button.clicked, proposals.toggle_shown),
            (self.accept_all.clicked, lambda: proposals.accept()),
            (self.reject_all.clicked, lambda: proposals.reject()),
            (self.accept_frame.clicked, lambda: proposals.accept(review.selected_frames)),
            (self.reject_frame.clicked, lambda: proposals.reject(review.selected_frames)),
            (self.accept_object.clicked, lambda: proposals.accept(object_ids=[review.object_id])),
            (self.reject_object.clicked, lambda: proposals.reject(object_ids=[review.object_id])),
            (proposals.changed, self._show_state),
            (review.frame_changed, self._show_state),
            (review.object_changed, self._show_state),
            (review.range_changed, self._show_state),
        )
        self._show_state()

    def shut_down(self) -> None:
        """Let go of the controllers."""
        self._connections.release()

    def _show_state(self, *_: object) -> None:
        self.setVisible(self._proposals.is_open)
        frames = self._proposals.open_frames()
        count = "1 frame" if len(frames) == 1 else f"{len(frames)} frames"
        self.open_label.setText(f"{count} would change: blue is added, orange removed, yellow changes object.")
        proposed = self._proposals.layer
        is_shown = proposed is not None and proposed.visible
        self.shown_button.setText("Show my masks again" if is_shown else "Show the proposed masks")
        chosen, table = self._review.selected_frames, self._review.table
        self._name(self.accept_frame, self.reject_frame, _frames_in_words(chosen), set(chosen) & set(frames))
        object_id = self._review.object_id
        title = "" if table is None else table.title(object_id)
        self._name(self.accept_object, self.reject_object, _shortened(title), self._proposals.open_frames([object_id]))

    @staticmethod
    def _name(accept: QPushButton, reject: QPushButton, name: str, something: Iterable[int]) -> None:
        for each, verb in ((accept, "Accept"), (reject, "Reject")):
            each.setText(f"{verb} {name}")
            each.setEnabled(bool(list(something)))


def _shortened(title: str) -> str:
    return title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1]}…"


def _frames_in_words(frames: Sequence[int]) -> str:
    first, last = frames[0], frames[-1]
    if first == last:
        return f"frame {first}"
    return f"frames {first}-{last}" if last <= _LARGEST_BESIDE_A_WORD else f"{first}-{last}"
