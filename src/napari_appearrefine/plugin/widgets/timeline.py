"""The timeline: rows of values in, chosen frames and objects out; paints itself and knows no viewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, QSize, Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPen, QPixmap, QPolygonF, QWheelEvent
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from ..timeline_image import TimelineColours, row_height, row_image
from ..timeline_rows import TimelineRow
from ..timeline_view import TimelineView

GUTTER = 96
"""Width of the objects' names, in device-independent pixels."""
_RULER, _GAP, _CURVES, _RIGHT = 18, 6, 48, 6
_ZOOM_STEP = 0.8
# Okabe and Ito's palette; the second and later lines are told apart by their dashes as well.
_TICK = 4
_CURVES_ON_DARK = ("#56B4E9", "#E69F00", "#CC79A7", "#009E73")
_CURVES_ON_LIGHT = ("#0072B2", "#A85400", "#9C3F75", "#006B4E")
_CURVE_STYLES = (Qt.PenStyle.DotLine, Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DashDotLine)


class Timeline(QWidget):
    """One row an object: quality of each frame, marks, presence; a line at the current frame.

    Click or drag to go to a frame, with Shift to select a range; the wheel zooms, a sideways wheel or
    the middle button moves, a double click shows everything.

    Parameters
    ----------
    parent : QWidget, optional
        Parent widget.
    """

    frame_chosen = QtSignal(int)
    """A person wants to see this frame."""
    object_chosen = QtSignal(int)
    """A person clicked the row of this object."""
    range_chosen = QtSignal(int, int)
    """A person selected the frames from the first up to, but without, the second; equal if none."""
    menu_requested = QtSignal(int, int, QPoint)
    """A person asked for the menu of this object (0: none) and frame, at this place of the screen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: list[TimelineRow] = []
        self._colours = TimelineColours()
        self._view = TimelineView(1, 1)
        self._frame = 0
        self._object = 0
        self._range = (0, 0)
        self._range_start: int | None = None
        self._pan_from: float | None = None
        self._shows_curves = False
        self._picture: QPixmap | None = None
        self._pictured: tuple[QRect, float] | None = None
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Timeline")

    @property
    def rows(self) -> list[TimelineRow]:
        """What is shown."""
        return self._rows

    @property
    def frame(self) -> int:
        """The current frame."""
        return self._frame

    @property
    def view(self) -> TimelineView:
        """Which frames are shown."""
        return self._view

    @property
    def selected_range(self) -> tuple[int, int]:
        """First selected frame, and the one after the last; equal if none is selected."""
        return self._range

    def set_rows(self, rows: Sequence[TimelineRow]) -> None:
        """Show these objects, all of the same number of frames."""
        frames = len(rows[0]) if rows else 1
        if frames != self._view.frames:
            self._view = TimelineView(frames, self._strip_width())
            self._range = (0, 0)
        taller = len(rows) != len(self._rows)
        self._rows = list(rows)
        if taller:
            self.updateGeometry()
        self._repaint()

    def set_frame(self, frame: int) -> None:
        """Move the line, and the view with it if it would be outside."""
        if frame != self._frame:
            self._frame = frame
            self._set_view(self._view.showing(min(frame, self._view.frames - 1)))
            self.update()

    def set_object(self, object_id: int) -> None:
        """Highlight the row of an object."""
        self._object = object_id
        self.update()

    def set_colours(self, colours: TimelineColours) -> None:
        """Take the colours of a theme."""
        self._colours = colours
        self._repaint()

    def set_curves_shown(self, shown: bool) -> None:
        """Show or hide the lines under the strips."""
        self._shows_curves = shown
        self.updateGeometry()
        self._repaint()

    def select(self, start: int, stop: int) -> None:
        """Select the frames from ``start`` up to, but without, ``stop``; none if they are equal."""
        if (start, stop) != self._range:
            self._range = (start, stop)
            self.update()
            self.range_chosen.emit(start, stop)

    def clear_range(self) -> None:
        """Select no frames."""
        self.select(0, 0)

    def show_frames(self, first: float, span: float) -> None:
        """Zoom to ``span`` frames from ``first`` on."""
        self._set_view(TimelineView(self._view.frames, self._strip_width(), first, span))

    def show_all(self) -> None:
        """Zoom out to the whole video."""
        self._set_view(TimelineView(self._view.frames, self._strip_width()))

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return room for all rows."""
        return QSize(480, _RULER + max(1, len(self._rows)) * self._row_step())

    minimumSizeHint = sizeHint  # noqa: N815

    def row_rect(self, index: int) -> QRect:
        """Return where a row is, names included."""
        return QRect(0, _RULER + index * self._row_step(), self.width(), self._row_step())

    def rect_of_object(self, object_id: int) -> QRect | None:
        """Return where the row of an object is, with room above it for the ruler; None if it has none."""
        places = (index for index, row in enumerate(self._rows) if row.object_id == object_id)
        index = next(places, None)
        return None if index is None else self.row_rect(index).adjusted(0, -_RULER, 0, 0)

    def x_of(self, frame: int) -> int:
        """Return the middle of a frame."""
        return round(GUTTER + self._view.x_of(frame + 0.5))

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        """Paint the cached picture, then what moves: selection, current frame, current object."""
        place, ratio = self._in_sight(), self.devicePixelRatioF()
        if self._picture is None or (place, ratio) != self._pictured:
            self._picture, self._pictured = self._painted(place, ratio), (place, ratio)
        painter = QPainter(self)
        painter.drawPixmap(place.topLeft(), self._picture)
        if self._rows:
            self._paint_ruler(painter, place.top())
            self._paint_selection(painter)
            self._paint_current(painter, place.top() + _RULER - _TICK)
        painter.end()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        """Keep the frames that are shown."""
        self._set_view(self._view.resized(self._strip_width()))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Go to a frame, choose an object, begin a range or a move."""
        assert event is not None
        x, y = event.position().x(), event.position().y()
        if not self._rows:
            return
        if event.button() == Qt.MouseButton.MiddleButton:
            self._pan_from = x
        elif event.button() == Qt.MouseButton.RightButton:
            self.menu_requested.emit(self._object_at(y), self._frame_at(x), event.globalPosition().toPoint())
        elif event.button() == Qt.MouseButton.LeftButton:
            if self._object_at(y):
                self.object_chosen.emit(self._object_at(y))
            if x >= GUTTER and event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
                self._range_start = self._frame_at(x)
                self.select(self._range_start, self._range_start + 1)
            elif x >= GUTTER:
                self._go_to(self._frame_at(x))

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Scrub, stretch the range, move; without a button, tell about the frame under the pointer."""
        assert event is not None
        x = event.position().x()
        if self._pan_from is not None:
            self._set_view(self._view.panned(self._pan_from - x))
            self._pan_from = x
        elif self._range_start is not None:
            frame = self._frame_at(x)
            self.select(min(frame, self._range_start), max(frame, self._range_start) + 1)
        elif event.buttons() & Qt.MouseButton.LeftButton and self._rows:
            self._go_to(self._frame_at(x))

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """End what the press began."""
        self._range_start = self._pan_from = None

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Show the whole video."""
        self.show_all()

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802
        """Zoom around the pointer; sideways, or with Shift, move."""
        assert event is not None
        sideways, turned = event.angleDelta().x(), event.angleDelta().y()
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier and not sideways:
            sideways, turned = turned, 0
        if sideways:
            self._set_view(self._view.panned(-sideways / 2))
        elif turned:
            self._set_view(self._view.zoomed(_ZOOM_STEP ** (turned / 120), event.position().x() - GUTTER))
        event.accept()

    def event(self, event: QEvent | None) -> bool:
        """Show a tooltip about the frame under the pointer."""
        if event is not None and event.type() == QEvent.Type.ToolTip:
            place: Any = event
            text = self.text_at(place.pos())
            QToolTip.showText(place.globalPos(), text, self)
            return True
        return bool(super().event(event))

    def text_at(self, position: QPoint) -> str:
        """Say what is at a place of the widget, for its tooltip."""
        row = next((row for row in self._rows if row.object_id == self._object_at(position.y())), None)
        if row is None or position.x() < GUTTER:
            return "" if row is None else row.title
        return row.describe(self._frame_at(position.x()))

    def _go_to(self, frame: int) -> None:
        if frame != self._frame:
            self.set_frame(frame)
            self.frame_chosen.emit(frame)

    def _set_view(self, view: TimelineView) -> None:
        if view != self._view:
            self._view = view
            self._repaint()

    def _repaint(self) -> None:
        self._picture = None
        self.update()

    def _strip_width(self) -> float:
        return float(max(1, self.width() - GUTTER - _RIGHT))

    def _row_step(self) -> int:
        return row_height() + _GAP + (_CURVES + _GAP if self._shows_curves else 0)

    def _frame_at(self, x: float) -> int:
        return self._view.frame_at(x - GUTTER)

    def _object_at(self, y: float) -> int:
        index = int((y - _RULER) // self._row_step())
        is_on_ruler = y < self._in_sight().top() + _RULER
        return self._rows[index].object_id if not is_on_ruler and 0 <= index < len(self._rows) else 0

    def _in_sight(self) -> QRect:
        """Return the part that is not scrolled away; everything while the timeline is not shown."""
        seen = self.visibleRegion().boundingRect()
        return self.rect() if seen.isEmpty() else seen

    def _painted(self, part: QRect, ratio: float) -> QPixmap:
        picture = QPixmap(part.size() * ratio)
        picture.setDevicePixelRatio(ratio)
        picture.fill(QColor(*self._colours.background))
        painter = QPainter(picture)
        painter.translate(-part.topLeft())
        for index, row in enumerate(self._rows):
            place = self.row_rect(index)
            if not place.intersects(part):
                continue
            self._paint_name(painter, row, place)
            pixels = row_image(row, self._view, ratio, self._colours)
            image = QImage(pixels.tobytes(), pixels.shape[1], pixels.shape[0], 3 * pixels.shape[1], _RGB)
            target = QRectF(GUTTER, place.top(), pixels.shape[1] / ratio, pixels.shape[0] / ratio)
            painter.drawImage(target, image)
            if self._shows_curves:
                top = place.top() + row_height() + _GAP / 2
                self._paint_curves(painter, row, QRectF(GUTTER, top, self._strip_width(), _CURVES))
        painter.end()
        return picture

    def _paint_ruler(self, painter: QPainter, top: int) -> None:
        """Paint the frames' numbers on top of what is in sight, however far it is scrolled."""
        painter.fillRect(QRect(0, top, self.width(), _RULER), QColor(*self._colours.background))
        painter.setPen(QColor(*self._colours.text))
        for frame in _ticks(self._view):
            x = self._view.x_of(frame + 0.5)
            if 0 <= x <= self._view.width:
                room = QRectF(GUTTER + x - 30, top, 60, _RULER - _TICK)
                painter.drawText(room, Qt.AlignmentFlag.AlignCenter, str(frame))
                painter.drawLine(QPointF(GUTTER + x, room.bottom()), QPointF(GUTTER + x, top + _RULER - 1))

    def _paint_name(self, painter: QPainter, row: TimelineRow, place: QRect) -> None:
        middle = place.top() + row_height() / 2
        painter.fillRect(QRectF(8, middle - 5, 10, 10), QColor(*row.colour))
        painter.setPen(QColor(*self._colours.text))
        room = QRectF(24, place.top(), GUTTER - 30, row_height())
        title = painter.fontMetrics().elidedText(row.title, Qt.TextElideMode.ElideRight, int(room.width()))
        painter.drawText(room, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, title)

    def _paint_curves(self, painter: QPainter, row: TimelineRow, place: QRectF) -> None:
        painter.fillRect(place, QColor(*self._colours.empty))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colours = _CURVES_ON_LIGHT if min(self._colours.background) > 127 else _CURVES_ON_DARK
        for index, curve in enumerate(row.curves):
            if np.isnan(curve.values).all():
                continue
            colour = QColor(colours[index % 4])
            painter.setPen(QPen(colour, 1.3, _CURVE_STYLES[index % 4]))
            for line in _polylines(curve.values, self._view, place):
                painter.drawPolyline(line)
            painter.setPen(colour)
            painter.drawText(_legend_rect(index % 4, place), Qt.AlignmentFlag.AlignVCenter, curve.title)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def _paint_selection(self, painter: QPainter) -> None:
        start, stop = self._range
        if stop > start:
            left, right = (min(max(self._view.x_of(frame), 0), self._view.width) for frame in (start, stop))
            shade = QColor(*self._colours.line)
            shade.setAlpha(60)
            painter.fillRect(QRectF(GUTTER + left, 0, right - left, self.height()), shade)

    def _paint_current(self, painter: QPainter, top: int) -> None:
        """Paint which object and frame are shown; the line begins at ``top``, not to cross out a number."""
        line = QColor(*self._colours.line)
        for index, row in enumerate(self._rows):
            if row.object_id == self._object:
                painter.fillRect(QRect(0, self.row_rect(index).top(), 3, row_height()), line)
        x = self._view.x_of(self._frame + 0.5)
        if 0 <= x <= self._view.width:
            painter.fillRect(QRectF(GUTTER + x - 0.75, top, 1.5, self.height()), line)


_RGB = QImage.Format.Format_RGB888


def _legend_rect(index: int, place: QRectF) -> QRectF:
    """Return where a curve is named, left of the curves: two beside each other, because four would not fit."""
    column, line = index // 2, index % 2
    return QRectF(24 + 48 * column, place.top() + line * place.height() / 2, 48, place.height() / 2)


def _ticks(view: TimelineView) -> range:
    """Return frames to name on the ruler, at least 60 pixels apart, at round numbers."""
    wanted = 60 / view.pixels_a_frame
    step = next(step * 10**power for power in range(9) for step in (1, 2, 5) if step * 10**power >= wanted)
    return range(int(view.first) // step * step, int(np.ceil(view.first + view.span)), step)


def _polylines(values: np.ndarray, view: TimelineView, place: QRectF) -> list[QPolygonF]:
    """Return the lines of a curve, broken where a value is missing, at most two points a pixel."""
    pixels = min(int(view.width), int(np.ceil(view.span)))
    pixels = max(pixels, 1)
    lowest = view.lowest(values, pixels)
    x = place.left() + (np.arange(pixels) + 0.5) * (place.width() / pixels)
    y = place.bottom() - 2 - np.clip(lowest, 0, 1) * (place.height() - 4)
    known = np.flatnonzero(~np.isnan(lowest))
    runs = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)
    return [QPolygonF([QPointF(x[i], y[i]) for i in run]) for run in runs if run.size]
