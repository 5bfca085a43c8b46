"""The list of objects, and what can be done with the selected one."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QColorDialog,
    QGridLayout,
    QInputDialog,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from ...core.labels import LARGEST_ID
from ..connections import Connections
from ..timeline_rows import TimelineRow
from ..workbench import Workbench
from .parts import button

_LIST_HEIGHT = 90


class ObjectsBox(QWidget):
    """Shows the objects of the reviewed masks.

    Parameters
    ----------
    workbench : Workbench
        What knows the masks.
    """

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self.list = QListWidget()
        self.list.setFixedHeight(_LIST_HEIGHT)
        self.list.setToolTip("Click an object to select its label.")
        objects = workbench.objects
        self.new_button = button("New", "Select a free label, to paint a new object with.  [Shift-N]")
        self.grow_button = button("Grow", "A new object grows from your next click or box.  [I]")
        self.rename_button = button("Rename", "Give the object a name.")
        self.colour_button = button("Colour", "Give the object another colour.")
        self.hide_button = button("Hide", "Make the object invisible, or visible again.")
        self.solo_button = button("Solo", "Show only the selected object, or all again.  [S]")
        self.delete_button = button("Delete", "Delete the object in all frames; Ctrl-Z brings it back.")
        self.split_button = button("Split from here", "From this frame on it is another object, with a new id.")
        self.part_button = button(
            "Split piece",
            "Click on one of its pieces: from this frame on it is another object, until the pieces touch.",
        )
        self.id_button = button("Change id", "Give the object the id that you want, in all frames.")
        self.merge_button = button("Merge into", "Give its pixels, in all frames, to another object.")
        self.swap_button = button("Swap from here", "Exchange two ids from this frame on, where they were mixed up.")
        self.merge_menu, self.swap_menu = QMenu(self), QMenu(self)
        self.merge_button.setMenu(self.merge_menu)
        self.swap_button.setMenu(self.swap_menu)
        grid = QGridLayout()
        for place, each in enumerate(
            (
                self.new_button,
                self.grow_button,
                self.rename_button,
                self.colour_button,
                self.hide_button,
                self.solo_button,
                self.merge_button,
                self.swap_button,
                self.split_button,
                self.part_button,
                self.id_button,
                self.delete_button,
            )
        ):
            grid.addWidget(each, place // 2, place % 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list)
        layout.addLayout(grid)
        self._connections = Connections(
            (self.list.currentItemChanged, self._on_item_chosen),
            (self.list.itemDoubleClicked, self._on_rename),
            (self.new_button.clicked, lambda: objects.new()),
            (self.grow_button.clicked, lambda: objects.grow()),
            (self.rename_button.clicked, self._on_rename),
            (self.colour_button.clicked, self._on_colour),
            (self.hide_button.clicked, lambda: objects.toggle_hidden(self.object_id)),
            (self.solo_button.clicked, lambda: workbench.toggle_solo()),
            (self.delete_button.clicked, lambda: objects.delete(self.object_id)),
            (self.split_button.clicked, lambda: objects.split_from_here(self.object_id)),
            (self.part_button.clicked, lambda: objects.split_part()),
            (self.id_button.clicked, self._on_change_id),
            (self.merge_menu.aboutToShow, self._fill_merge_menu),
            (self.swap_menu.aboutToShow, self._fill_swap_menu),
            (workbench.review.table_changed, self._show_objects),
            (workbench.review.object_changed, self._show_selected),
        )
        self._show_objects()

    @property
    def object_id(self) -> int:
        """The selected object; 0 if there is none."""
        return self._workbench.review.object_id

    def shut_down(self) -> None:
        """Let go of the workbench."""
        self._connections.release()

    def _show_objects(self) -> None:
        rows = self._workbench.review.rows()
        shown = [self.list.item(index) for index in range(self.list.count())]
        wanted = [(row.object_id, row.title, row.colour) for row in rows]
        if [item.data(Qt.ItemDataRole.UserRole) for item in shown if item is not None] != wanted:
            self.list.blockSignals(True)
            self.list.clear()
            for row in rows:
                self.list.addItem(_item(row))
            self.list.blockSignals(False)
        has_one, has_two = bool(rows), len(rows) > 1
        for needs_one in (
            self.rename_button,
            self.colour_button,
            self.hide_button,
            self.solo_button,
            self.delete_button,
            self.split_button,
            self.part_button,
            self.id_button,
        ):
            needs_one.setEnabled(has_one)
        for needs_two in (self.merge_button, self.swap_button):
            needs_two.setEnabled(has_two)
        for needs_masks in (self.new_button, self.grow_button):
            needs_masks.setEnabled(self._workbench.review.layer is not None)
        self._show_selected(self.object_id)

    def _show_selected(self, object_id: int) -> None:
        for index in range(self.list.count()):
            item = self.list.item(index)
            if item is not None and item.data(Qt.ItemDataRole.UserRole)[0] == object_id:
                self.list.blockSignals(True)
                self.list.setCurrentRow(index)
                self.list.blockSignals(False)
        self.hide_button.setText("Show" if self._workbench.objects.is_hidden(object_id) else "Hide")

    def _on_item_chosen(self, item: QListWidgetItem | None, _before: QListWidgetItem | None) -> None:
        if item is not None:
            self._workbench.review.select_object(item.data(Qt.ItemDataRole.UserRole)[0])

    def _on_rename(self, *_: object) -> None:
        row = next(row for row in self._workbench.review.rows() if row.object_id == self.object_id)
        name, accepted = QInputDialog.getText(self, "Rename", f"Name of object {row.object_id}:", text=row.title)
        if accepted:
            self._workbench.objects.rename(row.object_id, name)

    def _on_change_id(self) -> None:
        object_id = self.object_id
        new_id, accepted = QInputDialog.getInt(
            self, "Change id", f"New id of object {object_id}:", object_id, 1, LARGEST_ID
        )
        if accepted:
            self._workbench.objects.change_id(object_id, new_id)

    def _on_colour(self) -> None:
        row = next(row for row in self._workbench.review.rows() if row.object_id == self.object_id)
        colour = QColorDialog.getColor(QColor(*row.colour), self)
        if colour.isValid():
            self._workbench.objects.recolour(
                row.object_id, (colour.redF(), colour.greenF(), colour.blueF(), colour.alphaF())
            )

    def _fill_merge_menu(self) -> None:
        self._fill(self.merge_menu, lambda other: self._workbench.objects.merge(other, self.object_id))

    def _fill_swap_menu(self) -> None:
        self._fill(self.swap_menu, lambda other: self._workbench.objects.swap_from_here(self.object_id, other))

    def _fill(self, menu: QMenu, act: Callable[[int], None]) -> None:
        menu.clear()
        for row in self._workbench.review.rows():
            if row.object_id != self.object_id:
                menu.addAction(_icon(row), row.title, lambda other=row.object_id: act(other))


def _item(row: TimelineRow) -> QListWidgetItem:
    item = QListWidgetItem(_icon(row), row.title)
    item.setData(Qt.ItemDataRole.UserRole, (row.object_id, row.title, row.colour))
    return item


def _icon(row: TimelineRow) -> QIcon:
    swatch = QPixmap(12, 12)
    swatch.fill(QColor(*row.colour))
    icon = QIcon(swatch)
    # Else Qt mixes the colour of the selection in.
    icon.addPixmap(swatch, QIcon.Mode.Selected)
    return icon
