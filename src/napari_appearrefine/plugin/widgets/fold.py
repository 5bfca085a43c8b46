"""A part of the dock that folds away under its title."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qtpy.QtCore import Qt
from qtpy.QtGui import QIcon, QPixmap
from qtpy.QtWidgets import QSizePolicy, QWidget
from superqt import QCollapsible


class Fold(QCollapsible):
    """Folded at first; a click on the title opens and closes it.

    Parameters
    ----------
    title : str
        What is inside.
    content : QWidget
        What to show when it is open.
    """

    def __init__(self, title: str, *content: QWidget) -> None:
        # The arrow is part of the text: superqt paints its own in black, before napari sets the theme.
        nothing = QPixmap(1, 1)
        nothing.fill(Qt.GlobalColor.transparent)
        super().__init__(f"▸  {title}", expandedIcon=QIcon(nothing), collapsedIcon=QIcon(nothing))
        layout = self.layout()
        assert layout is not None
        # As wide as the groups above it.
        layout.setContentsMargins(0, 0, 0, 0)
        self.title = title
        self.toggled.connect(self._on_toggled)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        for widget in content:
            self.addWidget(widget)

    def set_open(self, is_open: bool) -> None:
        """Open or close it at once."""
        (self.expand if is_open else self.collapse)(animate=False)

    def _on_toggled(self, is_open: bool) -> None:
        self.setText(f"{'▾' if is_open else '▸'}  {self.title}")


def which_are_open(folds: Iterable[Fold]) -> dict[str, bool]:
    """Return the title of each fold and whether it is open."""
    return {fold.title: fold.isExpanded() for fold in folds}


def open_again(folds: Iterable[Fold], opened: Mapping[str, bool]) -> None:
    """Open and close folds as :func:`which_are_open` told."""
    for fold in folds:
        fold.set_open(opened.get(fold.title, False))
