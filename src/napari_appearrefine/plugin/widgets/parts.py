"""What the docks are put together from: buttons with tooltips, labels of plain words, titled groups."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGroupBox, QLabel, QLayout, QPushButton, QVBoxLayout, QWidget


def button(text: str, tooltip: str) -> QPushButton:
    """Make a button that says on hovering what it does."""
    made = QPushButton(text)
    made.setToolTip(tooltip)
    return made


def text_label() -> QLabel:
    """Make a label for sentences, whatever characters they hold."""
    label = QLabel()
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def group(title: str, *content: QWidget | QLayout) -> QGroupBox:
    """Make a titled frame with widgets and layouts below each other."""
    made = QGroupBox(title)
    layout = QVBoxLayout(made)
    for part in content:
        if isinstance(part, QWidget):
            layout.addWidget(part)
        else:
            layout.addLayout(part)
    return made
