"""Whether the session is saved; saves it a few seconds after each change, and opens an earlier one."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QTime, QTimer
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from ..connections import Connections
from ..preferences import saves_by_itself
from ..session_controller import SessionController
from .parts import button

_SECONDS_AFTER_A_CHANGE = 5


class SessionBox(QWidget):
    """Shows where and when the session was saved.

    Parameters
    ----------
    session : SessionController
        What saves and opens.
    """

    def __init__(self, session: SessionController) -> None:
        super().__init__()
        self._session = session
        self.open_button = button(
            "Open the last session", "Masks and marks of this video were saved beside it; go on where you stopped."
        )
        self.open_button.hide()
        self.saved_label = QLabel()
        self._kept = ""
        self.saved_label.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.saved_label)
        self._timer = QTimer(self)
        self._timer.setInterval(1000 * _SECONDS_AFTER_A_CHANGE)
        self._timer.timeout.connect(self._on_timeout)
        session.saves_by_itself = saves_by_itself()
        if session.saves_by_itself:
            self._timer.start()
        self._connections = Connections(
            (self.open_button.clicked, lambda: session.open()),
            (session.found, self._on_found),
            (session.opened, self._on_opened),
            (session.saved, self._on_saved),
            (session.kept, self._on_kept),
            (session.failed, self._on_failed),
        )

    def shut_down(self) -> None:
        """Save what is not saved yet, and let go of the controller."""
        if self._session.saves_by_itself:
            self._session.save_now()
        self._timer.stop()
        self._connections.release()

    def _on_timeout(self) -> None:
        if self._session.is_dirty and self._session.can_save:
            self._session.save()

    def _on_found(self, is_there: bool) -> None:
        self.open_button.setVisible(is_there)
        self.saved_label.clear()
        self._kept = ""

    def _on_opened(self, _layer: object, warnings: list[str]) -> None:
        self.open_button.hide()
        self.saved_label.setText(" ".join(warnings))

    def _on_saved(self, folder: str) -> None:
        self.saved_label.setText(f"Saved beside the video at {QTime.currentTime().toString('HH:mm:ss')}.{self._kept}")
        self.saved_label.setToolTip(folder)
        self.open_button.hide()
        if self._session.saves_by_itself:
            self._timer.start()

    def _on_kept(self, folder: str) -> None:
        self._kept = f" The session before it is kept as “{Path(folder).name}”."

    def _on_failed(self, _message: str) -> None:
        # Not every few seconds the same sentence; a save that a person asks for, or the end, tries again.
        self._timer.stop()
        self.saved_label.setText("Not saved. Press Shift-S to try again.")
