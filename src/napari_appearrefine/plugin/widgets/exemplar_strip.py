"""The exemplars of the selected object as small pictures: a click goes to the frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QWidget

from ..exemplar_views import SIDE, ExemplarView

_WIDTH = 3 * (SIDE + 12) + 20
_MARGIN = 16


class ExemplarStrip(QListWidget):
    """Shows pictures with the numbers of their frames.

    Parameters
    ----------
    parent : QWidget, optional
        Parent widget.
    """

    frame_chosen = QtSignal(int)
    """A person wants to see this frame."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setViewMode(QListWidget.ViewMode.IconMode)
        self.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.setMovement(QListWidget.Movement.Static)
        self.setIconSize(QSize(SIDE, SIDE))
        self.setFixedWidth(_WIDTH)
        self.setToolTip("Frames from which the selected object is learned; click to go there.")
        self._shares: Mapping[int, float] = {}
        self.itemClicked.connect(self._on_item_clicked)

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Make room for a line of pictures with two lines of words below; the theme's font is known now."""
        super().showEvent(event)
        self.setMinimumHeight(SIDE + 2 * self.fontMetrics().lineSpacing() + _MARGIN)

    def show_views(self, views: Sequence[ExemplarView]) -> None:
        """Show these pictures."""
        self.clear()
        for view in views:
            height, width = view.picture.shape[:2]
            image = QImage(view.picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
            item = QListWidgetItem(QIcon(QPixmap.fromImage(image)), self._text(view.frame))
            item.setData(Qt.ItemDataRole.UserRole, view.frame)
            self.addItem(item)

    def show_shares(self, shares: Mapping[int, float]) -> None:
        """Write under the pictures how much each exemplar, by its frame, shaped the shown frame."""
        self._shares = shares
        for index in range(self.count()):
            item = self.item(index)
            assert item is not None
            item.setText(self._text(item.data(Qt.ItemDataRole.UserRole)))

    def _text(self, frame: int) -> str:
        return f"{frame}\n{100 * self._shares[frame]:.0f} %" if frame in self._shares else str(frame)

    def _on_item_clicked(self, item: QListWidgetItem) -> None:
        self.frame_chosen.emit(item.data(Qt.ItemDataRole.UserRole))
