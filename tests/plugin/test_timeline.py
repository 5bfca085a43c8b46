"""The timeline: what falls into a pixel, what is painted, what a click, a drag and the wheel do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QScrollArea

from napari_appearrefine.plugin.timeline_image import (
    BAR,
    GAP,
    GLYPH,
    MARK_COLOURS,
    STRIP,
    TimelineColours,
    quality_colours,
    row_image,
)
from napari_appearrefine.plugin.timeline_rows import Curve, Mark, TimelineRow
from napari_appearrefine.plugin.timeline_view import TimelineView
from napari_appearrefine.plugin.widgets.timeline import GUTTER, Timeline


def make_row(frames=20, object_id=3, **values):
    nothing = np.full(frames, np.nan, np.float32)
    defaults = {
        "before": np.linspace(0, 1, frames, dtype=np.float32),
        "after": nothing,
        "present": np.ones(frames, bool),
        "marks": np.zeros(frames, np.uint8),
    }
    return TimelineRow(object_id, f"object {object_id}", (200, 10, 10), **(defaults | values))


@pytest.fixture
def timeline(qtbot):
    timeline = Timeline()
    qtbot.addWidget(timeline)
    timeline.resize(GUTTER + 400 + 6, 200)
    timeline.set_rows([make_row(), make_row(object_id=7)])
    return timeline


@given(
    frames=st.integers(1, 5000),
    width=st.integers(1, 900),
    zoom=st.floats(0.001, 3),
    at=st.floats(0, 1),
    pixels=st.integers(1, 900),
)
def test_each_frame_in_view_counts_in_some_pixel(frames, width, zoom, at, pixels):
    view = TimelineView(frames, width).zoomed(zoom, at * width)
    assert 0 <= view.first <= view.first + view.span <= frames + 1e-6
    starts = view.starts(pixels)
    assert starts.min() >= 0
    assert starts.max() < frames
    numbers = np.arange(frames, dtype=float)
    lowest = view.lowest(numbers, pixels)
    assert lowest.shape == (pixels,)
    assert lowest[0] == int(view.first)
    worst = int(min(view.first + view.span / 2, frames - 1))
    numbers[:] = 1
    numbers[worst] = 0
    if view.span > pixels:
        assert view.lowest(numbers, pixels).min() == 0
        assert view.united(numbers == 0, pixels).any()


@given(frames=st.integers(2, 5000), frame=st.integers(0, 4999), zoom=st.floats(0.01, 1))
def test_position_and_frame_are_inverse(frames, frame, zoom):
    frame %= frames
    view = TimelineView(frames, 400).zoomed(zoom, 0).showing(frame)
    assert view.frame_at(view.x_of(frame + 0.5)) == frame


def test_zoom_keeps_the_frame_under_the_pointer():
    view = TimelineView(10_000, 500)
    zoomed = view.zoomed(0.1, 300)
    assert zoomed.frame_at(300) == view.frame_at(300)
    assert zoomed.span == pytest.approx(1000)
    assert zoomed.zoomed(1e-9, 0).pixels_a_frame == pytest.approx(40)


def test_strip_shows_quality_before_and_after_and_what_is_unknown():
    before = np.array([0, 1, np.nan, np.nan], np.float32)
    after = np.array([1, 0, np.nan, np.nan], np.float32)
    row = make_row(4, before=before, after=after, present=np.array([True, True, True, False]))
    colours = TimelineColours()
    image = row_image(row, TimelineView(4, 40), 1.0, colours)
    upper, lower = image[GLYPH + GAP + 1], image[GLYPH + GAP + STRIP + 1]
    bad, good = quality_colours()[0], quality_colours()[255]
    np.testing.assert_array_equal(upper[[5, 15]], [bad, good])
    np.testing.assert_array_equal(lower[[5, 15]], [good, bad])
    np.testing.assert_array_equal(upper[[25, 35]], [colours.unknown, colours.empty])


def test_quality_before_fills_both_halves_until_there_is_one_after():
    image = row_image(make_row(4), TimelineView(4, 40), 1.0, TimelineColours())
    np.testing.assert_array_equal(image[GLYPH + GAP + 1], image[GLYPH + GAP + 2 * STRIP - 1])


@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("mark", list(Mark))
def test_each_mark_is_painted_at_its_frame_alone(mark, scale):
    marks = np.zeros(10, np.uint8)
    marks[6] = mark
    colours = TimelineColours()
    image = row_image(make_row(10, marks=marks), TimelineView(10, 200), scale, colours)
    columns = np.flatnonzero((image == MARK_COLOURS[mark]).all(2).any(0)) / scale
    assert columns.size
    assert columns.min() >= 120
    assert columns.max() < 140
    assert image.shape == (round((GLYPH + GAP + 2 * STRIP + 4 * (GAP + BAR)) * scale), 200 * scale, 3)


def test_single_bad_or_marked_frame_of_a_long_video_stays_visible():
    quality, marks = np.ones(10_000, np.float32), np.zeros(10_000, np.uint8)
    quality[7777], marks[1234] = 0, Mark.LOCKED
    image = row_image(make_row(10_000, before=quality, marks=marks), TimelineView(10_000, 500), 1.0, TimelineColours())
    assert (image[GLYPH + GAP + 1] == quality_colours()[0]).all(1).sum() == 1
    assert (image == MARK_COLOURS[Mark.LOCKED]).all(2).any(0).sum() == 1


def test_values_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="object 3"):
        make_row(5, present=np.ones(4, bool))


def test_click_and_drag_choose_frames_and_objects(qtbot, timeline):
    frames, objects = [], []
    timeline.frame_chosen.connect(frames.append)
    timeline.object_chosen.connect(objects.append)
    y = timeline.row_rect(1).center().y()
    qtbot.mousePress(timeline, Qt.MouseButton.LeftButton, pos=QPoint(timeline.x_of(5), y))
    drag(timeline, timeline.x_of(9), y, Qt.MouseButton.LeftButton)
    qtbot.mouseRelease(timeline, Qt.MouseButton.LeftButton, pos=QPoint(timeline.x_of(9), y))
    assert frames == [5, 9]
    assert objects == [7]
    qtbot.mouseClick(timeline, Qt.MouseButton.LeftButton, pos=QPoint(10, timeline.row_rect(0).center().y()))
    assert (frames, objects) == ([5, 9], [7, 3])


def test_shift_drag_selects_a_range(qtbot, timeline):
    ranges = []
    timeline.range_chosen.connect(lambda start, stop: ranges.append((start, stop)))
    shift = Qt.KeyboardModifier.ShiftModifier
    qtbot.mousePress(timeline, Qt.MouseButton.LeftButton, shift, QPoint(timeline.x_of(9), 30))
    drag(timeline, timeline.x_of(4), 30, Qt.MouseButton.LeftButton)
    qtbot.mouseRelease(timeline, Qt.MouseButton.LeftButton, shift, QPoint(timeline.x_of(4), 30))
    assert ranges == [(9, 10), (4, 10)]
    assert timeline.frame == 0
    timeline.clear_range()
    assert timeline.selected_range == (0, 0)


def test_wheel_zooms_and_pans(timeline):
    timeline.set_rows([make_row(10_000)])
    at = QPointF(GUTTER + 100, 40)
    frame = timeline.view.frame_at(100)
    for _ in range(10):
        turn_wheel(timeline, at, 120)
    assert timeline.view.span < 1500
    assert abs(timeline.view.frame_at(100) - frame) <= 1
    first = timeline.view.first
    turn_wheel(timeline, at, -240, Qt.KeyboardModifier.ShiftModifier)
    assert timeline.view.first > first
    timeline.show_all()
    assert timeline.view.span == 10_000


def test_view_follows_the_current_frame(timeline):
    timeline.set_rows([make_row(10_000)])
    for _ in range(20):
        turn_wheel(timeline, QPointF(GUTTER, 40), 120)
    timeline.set_frame(9_000)
    assert timeline.view.first <= 9_000 < timeline.view.first + timeline.view.span


def test_line_of_the_current_frame_is_on_the_picture(timeline):
    timeline.set_colours(TimelineColours(line=(255, 0, 255)))
    timeline.set_frame(12)
    picture = timeline.grab().toImage()
    assert picture.pixelColor(timeline.x_of(12), 100).getRgb()[:3] == (255, 0, 255)


def test_moving_the_line_paints_no_row_again(timeline, monkeypatch):
    timeline.grab()
    monkeypatch.setattr("napari_appearrefine.plugin.widgets.timeline.row_image", None)
    for frame in range(20):
        timeline.set_frame(frame)
        timeline.grab()
    assert timeline.frame == 19


def test_only_rows_in_sight_are_painted(qtbot, monkeypatch):
    timeline, area, painted = Timeline(), QScrollArea(), []

    def watched(row, *arguments):
        painted.append(row.object_id)
        return row_image(row, *arguments)

    monkeypatch.setattr("napari_appearrefine.plugin.widgets.timeline.row_image", watched)
    timeline.set_rows([make_row(object_id=object_id) for object_id in range(1, 201)])
    area.setWidget(timeline)
    timeline.resize(timeline.sizeHint())
    area.resize(500, 150)
    qtbot.addWidget(area)
    area.show()
    qtbot.waitUntil(lambda: 1 in painted)
    area.verticalScrollBar().setValue(area.verticalScrollBar().maximum())
    qtbot.waitUntil(lambda: 200 in painted)
    assert len(set(painted)) < 20


def test_curves_make_the_rows_taller_and_are_painted(timeline):
    height = timeline.sizeHint().height()
    measure = Curve("J", np.full(20, 0.5))
    timeline.set_rows([make_row(measures=[measure])])
    timeline.set_curves_shown(True)
    assert timeline.sizeHint().height() < 2 * height
    assert timeline.row_rect(0).height() > height // 3
    timeline.resize(timeline.width(), timeline.sizeHint().height())
    picture = timeline.grab().toImage()
    column = [picture.pixelColor(timeline.x_of(10), y).name().upper() for y in range(picture.height())]
    assert len(set(column)) > 4


def test_tooltip_says_everything_about_a_frame(timeline):
    marks = np.zeros(20, np.uint8)
    marks[4] = Mark.EDITED | Mark.LOCKED
    timeline.set_rows([make_row(marks=marks, before=np.full(20, 0.25, np.float32))])
    text = timeline.text_at(QPoint(timeline.x_of(4), 40))
    assert text.splitlines() == ["object 3, frame 4", "quality before: 0.25", "edited by you", "locked"]
    assert timeline.text_at(QPoint(10, 40)) == "object 3"


def drag(widget, x, y, button):
    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QMouseEvent

    place = QPointF(x, y)
    QApplication.sendEvent(
        widget, QMouseEvent(QEvent.Type.MouseMove, place, place, button, button, Qt.KeyboardModifier.NoModifier)
    )


def turn_wheel(widget, at, turned, modifiers=Qt.KeyboardModifier.NoModifier):
    none = Qt.MouseButton.NoButton
    event = QWheelEvent(at, at, QPoint(), QPoint(0, turned), none, modifiers, Qt.ScrollPhase.NoScrollPhase, False)
    QApplication.sendEvent(widget, event)
