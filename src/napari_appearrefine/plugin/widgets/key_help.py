"""A sheet over the window that lists the keys."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from qtpy.QtCore import Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from ..shortcuts import SHORTCUTS

_ALWAYS = "← → or Shift + wheel step through the frames; the brush keys are napari's own (P, E, F, L, M, [ and ])."
_HISTORY = (
    ("Ctrl-Z", "take back what you did last, be it a stroke or a mark"),
    ("Ctrl-Shift-Z", "do it again"),
)


class KeyHelp(QFrame):
    """Lists the plugin's keys in the middle of a window; a click or the key itself closes it.

    Parameters
    ----------
    window : QWidget
        What it lies on.
    """

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAutoFillBackground(True)
        self.setStyleSheet("KeyHelp { border: 2px solid gray; }")
        self.label = QLabel(_table())
        self.label.setTextFormat(Qt.TextFormat.RichText)
        self.label.setWordWrap(True)
        self.label.setFixedWidth(480)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 12, 20, 12)
        layout.addWidget(self.label)
        self.adjustSize()
        self.move((window.width() - self.width()) // 2, (window.height() - self.height()) // 2)
        self.raise_()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Close."""
        self.deleteLater()
        self.hide()


def _table() -> str:
    parts = []
    for group, shortcuts in groupby(SHORTCUTS, lambda shortcut: shortcut.group):
        parts.append(_group(group, [(shortcut.key, shortcut.title) for shortcut in shortcuts]))
    parts.append(_group("Undo", _HISTORY))
    return f"<table>{''.join(parts)}</table><p>{_ALWAYS}</p>"


def _group(title: str, keys: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><td style='padding-right: 14px'><b>{key}</b></td><td>{does}</td></tr>" for key, does in keys)
    return f"<tr><td colspan='2' style='padding-top: 8px'><u>{title}</u></td></tr>{lines}"
