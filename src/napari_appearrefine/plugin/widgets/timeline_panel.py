"""The dock under the viewer: the timeline, the buttons that lead through it, and a sentence on why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari.layers import Labels
from napari.utils.theme import get_theme
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QMenu, QPushButton, QScrollArea, QVBoxLayout, QWidget

from ..connections import Connections
from ..shortcuts import SHORTCUTS
from ..timeline_image import MARK_COLOURS, TimelineColours, quality_colours
from ..timeline_rows import Mark
from ..workbench import Workbench
from .exemplar_strip import ExemplarStrip
from .layer_combo import LayerCombo
from .parts import button
from .timeline import Timeline

_LEGEND = {
    Mark.CHOSEN: "● exemplar",
    Mark.PINNED: "▼ pinned",
    Mark.BANNED: "✖ banned",
    Mark.PROPOSED: "▬ proposed",
    Mark.EDITED: "▬ edited",
    Mark.LOCKED: "▬ locked",
    Mark.ACCEPTED: "▬ accepted",
}
_NO_TRUTH = "No ground truth"
_MOST_HEIGHT = 127
"""Of the rows that are seen without scrolling, in device-independent pixels; more would not fit on 1280 x 800."""
_RIM = 2
_HINT = "Choose masks to see here how good they are in every frame."


class TimelinePanel(QWidget):
    """Shows the review of a :class:`~napari_appearrefine.plugin.workbench.Workbench`.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Whose theme to follow.
    workbench : Workbench
        What knows the masks.
    """

    def __init__(self, viewer: Any, workbench: Workbench) -> None:
        super().__init__()
        self._viewer = viewer
        self._workbench = workbench
        self.timeline = Timeline()
        self.area = QScrollArea()
        self.previous_button = _button_to("◀ Previous", "previous_unreviewed")
        self.next_button = _button_to("Next to fix", "next_to_fix")
        self.unreviewed_button = _button_to("Next unreviewed ▶", "next_unreviewed")
        self.curves_box = QCheckBox("Curves")
        self.curves_box.setToolTip("Draw the quality as lines under the strips.")
        self.errors_box = QCheckBox("Likely errors")
        self.errors_box.setToolTip(
            "Show in this frame where a mask is likely too much (orange) or too little (blue).  [W]"
        )
        self.exemplars_box = QCheckBox("Exemplars")
        self.exemplars_box.setToolTip(
            "Show the frames from which the object is learned; with Likely errors, how much each shapes this one."
        )
        self.exemplar_strip = ExemplarStrip()
        self.exemplar_strip.hide()
        self.truth_combo = LayerCombo(_NO_TRUTH, optional=True)
        self.truth_combo.setToolTip("Measure the masks against these: J (overlap) and F (outline) of each frame.")
        self.truth_label = QLabel()
        self.reason_label = QLabel(_HINT)
        self.reason_label.setTextFormat(Qt.TextFormat.PlainText)
        self.reason_label.setWordWrap(True)
        self._said_at: int | None = None
        self._said_of_errors = ""
        self.legend_label = QLabel(_legend())
        self.legend_label.setToolTip(
            "The upper half of a strip is the estimated quality before the last run, the lower half after it."
        )
        self._influence: Mapping[int, Mapping[int, float]] = {}
        self._lay_out()
        # However many changes come at once, the rows are made once.
        self._rows_timer = QTimer(self)
        self._rows_timer.setSingleShot(True)
        self._rows_timer.timeout.connect(self._show_rows)
        review, actions = workbench.review, workbench.actions()
        self._connections = Connections(
            (review.table_changed, self._on_table_changed),
            (review.frame_changed, self.timeline.set_frame),
            (review.object_changed, self._on_object_changed),
            (review.said, self._say),
            (workbench.objects.said, self._say),
            (workbench.error_map.said, self._say_of_errors),
            (workbench.error_map.changed, self._on_error_map_changed),
            (workbench.error_map.explained, self._on_explained),
            (review.object_changed, self._show_shares),
            (self.errors_box.clicked, actions["show_errors"]),
            (self.exemplars_box.toggled, self._on_exemplars_toggled),
            (self.exemplar_strip.frame_chosen, review.go_to),
            (workbench.exemplars.changed, self.exemplar_strip.show_views),
            (self.truth_combo.layer_changed, self._on_truth_chosen),
            (workbench.truth.measured, self._on_measured),
            (self.timeline.frame_chosen, review.go_to),
            (self.timeline.object_chosen, review.select_object),
            (self.timeline.range_chosen, review.select_frames),
            (self.timeline.menu_requested, self._show_menu),
            (self.curves_box.toggled, self._on_curves_toggled),
            (self.previous_button.clicked, actions["previous_unreviewed"]),
            (self.next_button.clicked, actions["next_to_fix"]),
            (self.unreviewed_button.clicked, actions["next_unreviewed"]),
            (viewer.events.theme, self._on_theme_changed),
        )
        workbench.session.keep("timeline", self._look, self._show_look)
        self._on_theme_changed()
        self._show_rows()

    def set_layers(self, layers: Sequence[Labels]) -> None:
        """Offer these layers as ground truth; none is chosen unless a person does."""
        self.truth_combo.set_layers(layers)

    def shut_down(self) -> None:
        """Let go of workbench and viewer."""
        self._connections.release()
        self._rows_timer.stop()

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Make room for two lines of words, so that the timeline stays where it is; the theme's font is known now."""
        super().showEvent(event)
        self.reason_label.setMinimumHeight(2 * (self.reason_label.fontMetrics().lineSpacing() + _RIM))

    def menu_for(self, object_id: int, frame: int) -> QMenu:
        """Return the menu of an object and a frame, or of the selected frames if the frame is one of them."""
        review, proposals = self._workbench.review, self._workbench.proposals
        start, stop = self.timeline.selected_range
        frames = list(range(start, stop)) if start <= frame < stop else [frame]
        where = f"frame {frame}" if len(frames) == 1 else f"frames {start} to {stop - 1}"
        menu = QMenu(self)
        table = review.table
        ids, name = ([], "") if table is None else (table.object_ids, table.title(object_id))
        for title, some in ((name, [object_id]), ("All objects", ids)):
            part = menu.addMenu(f"{title}, {where}")
            assert part is not None
            for words, act in (
                ("Lock or unlock", review.toggle_lock),
                ("Pin as exemplar, or not", review.toggle_pin),
                ("Ban as exemplar, or not", review.toggle_ban),
                ("Mark as right, or not", review.toggle_accepted),
            ):
                part.addAction(words, lambda act=act, some=some: act(frames, some))
            if proposals.is_open:
                part.addSeparator()
                part.addAction("Accept the proposal", lambda some=some: proposals.accept(frames, some))
                part.addAction("Reject the proposal", lambda some=some: proposals.reject(frames, some))
        whole = range(0 if table is None else table.frames)
        menu.addAction(f"Lock or unlock {name} in all frames", lambda: review.toggle_lock(whole, [object_id]))
        menu.addSeparator()
        menu.addAction("Select no frames", self.timeline.clear_range)
        menu.addAction("Show the whole video", self.timeline.show_all)
        return menu

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        for each in (self.previous_button, self.next_button, self.unreviewed_button):
            row.addWidget(each)
        row.addWidget(self.reason_label, 1)
        row.addWidget(self.exemplars_box)
        row.addWidget(self.errors_box)
        row.addWidget(self.curves_box)
        area = self.area
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        inside = QWidget()
        inner = QVBoxLayout(inside)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.setSpacing(0)
        inner.addWidget(self.timeline)
        inner.addStretch(1)
        area.setWidget(inside)
        bar = area.verticalScrollBar()
        assert bar is not None
        # Scrolling moves what is painted, and the ruler must not go with it.
        bar.valueChanged.connect(lambda _: self.timeline.update())
        bar.rangeChanged.connect(self._scroll_to_object)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 2, 6, 2)
        layout.setSpacing(2)
        layout.addLayout(row)
        middle = QHBoxLayout()
        middle.addWidget(area, 1)
        middle.addWidget(self.exemplar_strip)
        layout.addLayout(middle, 1)
        foot = QHBoxLayout()
        foot.addWidget(self.legend_label, 1)
        foot.addWidget(self.truth_label)
        foot.addWidget(self.truth_combo)
        layout.addLayout(foot)

    def _look(self) -> dict[str, Any]:
        """Return what a session keeps."""
        timeline = self.timeline
        return {
            "first": timeline.view.first,
            "span": timeline.view.span,
            "selected": list(timeline.selected_range),
            "curves": self.curves_box.isChecked(),
            "exemplars": self.exemplars_box.isChecked(),
            "errors": self.errors_box.isChecked(),
        }

    def _show_look(self, look: Mapping[str, Any]) -> None:
        self._rows_timer.stop()
        self._show_rows()
        self.timeline.show_frames(look["first"], look["span"])
        self.timeline.select(*look["selected"])
        self.curves_box.setChecked(look["curves"])
        self.exemplars_box.setChecked(look["exemplars"])
        if look["errors"] != self.errors_box.isChecked():
            self._workbench.error_map.toggle()

    def _on_table_changed(self) -> None:
        self._rows_timer.start()

    def _on_truth_chosen(self, layer: Labels | None) -> None:
        self.truth_label.clear()
        self._workbench.truth.choose(layer)
        self.curves_box.setChecked(layer is not None or self.curves_box.isChecked())

    def _on_measured(self, region: float, contour: float) -> None:
        self.truth_label.setText(f"J {region:.3f}   F {contour:.3f}")
        partners = self._workbench.truth.partners.items()
        self.truth_label.setToolTip(
            "Measured against the objects that they overlap most:\n"
            + "\n".join(f"object {own} against {other}" for own, other in partners)
        )

    def _on_error_map_changed(self, is_on: bool) -> None:
        self.errors_box.setChecked(is_on)
        # Who switched it on wants to hear of it, and who switched it off no more.
        self._said_at = None
        if not is_on and self.reason_label.text() == self._said_of_errors:
            self._show_sentence("")

    def _on_explained(self, influence: Mapping[int, Mapping[int, float]]) -> None:
        self._influence = influence
        self._show_shares()

    def _show_shares(self, *_: object) -> None:
        self.exemplar_strip.show_shares(self._influence.get(self._workbench.review.object_id, {}))

    def _on_exemplars_toggled(self, shown: bool) -> None:
        self.exemplar_strip.setVisible(shown)
        self._workbench.exemplars.switch(shown)

    def _on_curves_toggled(self, shown: bool) -> None:
        self.timeline.set_curves_shown(shown)
        self._make_room()

    def _on_object_changed(self, object_id: int) -> None:
        self.timeline.set_object(object_id)
        self._scroll_to_object()

    def _make_room(self) -> None:
        self.area.setMinimumHeight(min(self.timeline.sizeHint().height() + _RIM, _MOST_HEIGHT))

    def _scroll_to_object(self, *_: object) -> None:
        place = self.timeline.rect_of_object(self._workbench.review.object_id)
        if place is not None:
            self.area.ensureVisible(0, place.bottom(), 0, 0)
            self.area.ensureVisible(0, place.top(), 0, 0)

    def _show_rows(self) -> None:
        review = self._workbench.review
        rows = review.rows()
        self.timeline.set_rows(rows)
        self._make_room()
        self.timeline.set_frame(review.frame)
        self.timeline.set_object(review.object_id)
        for each in (self.previous_button, self.next_button, self.unreviewed_button):
            each.setEnabled(bool(rows))
        for box in (self.exemplars_box, self.errors_box, self.curves_box):
            box.setEnabled(bool(rows))
        if rows and self.reason_label.text() == _HINT:
            self.reason_label.clear()
        elif not rows:
            self.reason_label.setText(_HINT)

    def _say(self, sentence: str) -> None:
        self._said_at = self._workbench.review.frame
        self._show_sentence(sentence)

    def _say_of_errors(self, sentence: str) -> None:
        # It comes again with every stroke and mark, and must not hide why a person is here or what was just done.
        if self._said_at != self._workbench.review.frame:
            self._said_of_errors = sentence
            self._show_sentence(sentence)

    def _show_sentence(self, sentence: str) -> None:
        self.reason_label.setText(sentence)
        self.reason_label.setToolTip(sentence)

    def _show_menu(self, object_id: int, frame: int, place: QPoint) -> None:
        if object_id:
            self.menu_for(object_id, frame).popup(place)

    def _on_theme_changed(self, event: Any = None) -> None:
        self.timeline.set_colours(colours_of_theme(self._viewer.theme))


def colours_of_theme(name: str) -> TimelineColours:
    """Return the timeline's colours for one of napari's themes."""
    theme = get_theme(name)

    def rgb(colour: Any) -> tuple[int, int, int]:
        red, green, blue = colour.as_rgb_tuple()[:3]
        return red, green, blue

    return TimelineColours(
        background=rgb(theme.background),
        unknown=rgb(theme.highlight),
        empty=rgb(theme.foreground),
        text=rgb(theme.text),
        line=rgb(theme.text),
    )


def _button_to(text: str, action: str) -> QPushButton:
    shortcut = next(shortcut for shortcut in SHORTCUTS if shortcut.action == action)
    return button(text, f"Go to {shortcut.title}  [{shortcut.key}]")


def _legend() -> str:
    shades = "".join(
        f'<span style="color: rgb{tuple(int(part) for part in quality_colours()[step])}">█</span>'
        for step in (0, 51, 102, 153, 204, 255)
    )
    marks = " &nbsp; ".join(
        f'<span style="color: rgb{MARK_COLOURS[mark]}">{text[0]}</span>{text[1:]}' for mark, text in _LEGEND.items()
    )
    return f"bad {shades} good &nbsp; &nbsp; {marks}"
