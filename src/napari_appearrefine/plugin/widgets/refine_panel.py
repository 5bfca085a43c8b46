"""The dock widget "Refine masks": choose the video, choose or find masks, refine, decide."""

from __future__ import annotations

from functools import partial
from typing import Any

from napari.layers import Image, Labels
from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ...core.errors import UserError
from ...core.events import Progress
from ...core.parameters import FlowMaskParameters, RefineParameters
from ..controller import RefineController, RunResult, State, Task
from ..garbage import SetAside
from ..layers import role_of
from ..preferences import preferred_parameters
from ..result_text import describe
from ..shortcuts import KeyBindings
from ..time_left import in_words
from ..workbench import Workbench
from .fold import Fold, open_again, which_are_open
from .key_help import KeyHelp
from .layer_combo import LayerCombo
from .objects_box import ObjectsBox
from .parameters_form import ParametersForm
from .parts import button, group, text_label
from .proposal_box import ProposalBox
from .session_box import SessionBox
from .timeline_panel import TimelinePanel

_TIMELINE = "Masks over time"


class RefinePanel(QWidget):
    """Shows a :class:`~napari_appearrefine.plugin.controller.RefineController` from top to bottom.

    Parameters
    ----------
    napari_viewer : Viewer
        The viewer; napari gives it by the parameter's name.
    controller : RefineController, optional
        What does the work; one of its own by default.
    """

    def __init__(self, napari_viewer: Any, controller: RefineController | None = None) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.workbench = Workbench(napari_viewer, controller)
        self.controller = self.workbench.runs
        self.timeline_panel = TimelinePanel(napari_viewer, self.workbench)
        self.proposal_box = ProposalBox(self.workbench.proposals, self.workbench.review)
        self.objects_box = ObjectsBox(self.workbench)
        self.session_box = SessionBox(self.workbench.session)
        self._keys: KeyBindings | None = None
        self._set_aside: SetAside | None = None
        self._key_help: KeyHelp | None = None
        self._was_docked = False

        self.video_combo = LayerCombo("Open a video first")
        self.video_combo.setToolTip("The Image layer with the video, time on its first axis.")
        self.masks_combo = LayerCombo("Choose masks, or find them below")
        self.masks_combo.setToolTip("The Labels layer with one rough mask for each frame of the video.")
        self.objects_spin = QSpinBox()
        self.objects_spin.setRange(0, 255)
        self.objects_spin.setSpecialValueText("auto")
        self.objects_spin.setToolTip("How many moving objects to find at most; auto finds the number by itself.")
        self.find_button = button(
            "Masks from motion", "Compute rough masks of everything that moves differently from the camera."
        )
        self.refine_button = button(
            "Refine", "Find the frames whose masks are good, and repair the others after their example.  [R]"
        )
        self.directly_box = QCheckBox("Write the result at once")
        self.directly_box.setToolTip(
            "Write refined masks into a new layer as they come, instead of proposing them frame by frame."
        )
        self.keys_button = button("Keys", "Show what each key does.  [H]")
        self.timeline_button = button("Timeline", "Show the timeline under the video, if it was closed.")
        self.output_label = text_label()
        self.stage_label = text_label()
        self.progress_bar = QProgressBar()
        self.cancel_button = button("Cancel", "Stop, and keep the frames that are finished.")
        self.result_label = text_label()
        self.result_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.result_label.hide()
        self.refine_form: ParametersForm[RefineParameters] = ParametersForm(preferred_parameters())
        self.motion_form: ParametersForm[FlowMaskParameters] = ParametersForm(
            FlowMaskParameters(), left_out=frozenset({"objects", "device"})
        )
        self._lay_out()
        folds = (self.objects_fold, self.advanced)
        self.workbench.session.keep("dock", partial(which_are_open, folds), partial(open_again, folds))

        self._connections = [
            (self.video_combo.layer_changed, self._on_video_chosen),
            (self.masks_combo.layer_changed, self._on_masks_chosen),
            (self.find_button.clicked, self._on_find_clicked),
            (self.refine_button.clicked, self._on_refine_clicked),
            (self.cancel_button.clicked, self._on_cancel_clicked),
            (self.directly_box.toggled, self._show_state),
            (self.refine_form.changed, self._show_marks),
            (self.keys_button.clicked, self._on_keys_requested),
            (self.timeline_button.clicked, self._open_timeline),
            (self.workbench.refine_requested, self._on_refine_requested),
            (self.workbench.keys_requested, self._on_keys_requested),
            (self.workbench.review.masks_changed, self._show_state),
            (self.workbench.review.table_changed, self._show_marks),
            (self.workbench.session.opened, self._on_session_opened),
            (self.workbench.session.failed, show_error),
            (self.controller.state_changed, self._show_state),
            (self.controller.progress_changed, self._on_progress_changed),
            (self.controller.run_finished, self._on_run_finished),
            (self.controller.run_failed, self._on_run_failed),
        ]
        for signal, slot in self._connections:
            signal.connect(slot)
        self.destroyed.connect(self.workbench.shut_down)
        self.reset_choices()
        self._show_state()

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers that there are now; napari calls this when layers come, go or are renamed."""
        layers = [layer for layer in self._viewer.layers if role_of(layer) not in ("proposal", "overlay", "whole")]
        self.video_combo.set_layers([layer for layer in layers if isinstance(layer, Image)])
        labels = [layer for layer in layers if isinstance(layer, Labels)]
        self.masks_combo.set_layers(labels)
        self.timeline_panel.set_layers([layer for layer in labels if layer != self.masks_combo.layer])
        self._show_state()

    def shut_down(self) -> None:
        """Stop what runs and let go of the viewer."""
        if not self._connections:
            return
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self._connections = []
        if self._keys is not None:
            self._keys.release()
        if self._set_aside is not None:
            self._set_aside.end()
        self.session_box.shut_down()
        self.objects_box.shut_down()
        self.proposal_box.shut_down()
        self.timeline_panel.shut_down()
        self.workbench.shut_down()
        self._close_timeline()

    def event(self, event: QEvent | None) -> bool:
        """Notice that the dock widget around the panel was closed: napari then takes the panel out of it."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._on_docked()
            elif self._was_docked:
                self.shut_down()
        return bool(super().event(event))

    def _on_docked(self) -> None:
        if self._was_docked:
            return
        self._was_docked = True
        self._keys = KeyBindings(self._viewer, self.workbench.actions(), self.workbench.review.step)
        self._set_aside = SetAside(self._viewer)
        self.destroyed.connect(self._set_aside.end)
        # Later, because napari is not done with this dock yet.
        QTimer.singleShot(0, self._open_timeline)

    def _open_timeline(self, *_: object) -> None:
        if self._connections and self.timeline_panel.parent() is None:
            self._viewer.window.add_dock_widget(self.timeline_panel, name=_TIMELINE, area="bottom")
            if self._key_help is not None:
                self._key_help.raise_()

    def _close_timeline(self) -> None:
        if self.timeline_panel.parent() is not None:
            self._viewer.window.remove_dock_widget(self.timeline_panel)
        self.timeline_panel.deleteLater()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        objects_label = QLabel("Objects")
        objects_label.setToolTip(self.objects_spin.toolTip())
        row.addWidget(objects_label)
        row.addWidget(self.objects_spin)
        row.addWidget(self.find_button, 1)
        self.advanced = Fold(
            "Advanced",
            group("Refinement", self.refine_form, self.directly_box),
            group("Masks from motion", self.motion_form),
        )
        self.objects_fold = Fold("Objects", self.objects_box)
        self.progress_box = QWidget()
        progress_layout = QVBoxLayout(self.progress_box)
        progress_layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.stage_label, self.progress_bar, self.cancel_button):
            progress_layout.addWidget(widget)
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.addWidget(group("1  Video", self.video_combo))
        layout.addWidget(group("2  Masks", self.session_box.open_button, self.masks_combo, row))
        layout.addWidget(
            group(
                "3  Refine",
                self.refine_button,
                self.output_label,
                self.progress_box,
                self.result_label,
                self.proposal_box,
            )
        )
        layout.addWidget(self.objects_fold)
        layout.addWidget(self.advanced)
        foot = QHBoxLayout()
        foot.addWidget(self.keys_button)
        foot.addWidget(self.timeline_button)
        layout.addLayout(foot)
        layout.addWidget(self.session_box)
        layout.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        area.setMinimumWidth(inside.minimumSizeHint().width() + 20)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(area)

    def _on_video_chosen(self, layer: Image | None) -> None:
        self.workbench.choose_video(layer)
        self._show_state()

    def _on_masks_chosen(self, layer: Labels | None) -> None:
        self.workbench.choose_masks(layer)
        self._show_state()

    def _on_find_clicked(self) -> None:
        try:
            parameters = self.motion_form.parameters(
                objects=self.objects_spin.value() or None, device=self.refine_form.input("device").value
            )
        except UserError as error:
            self._on_run_failed(str(error))
            return
        self._begin("Starting")
        self.workbench.find_masks(parameters)

    def _on_refine_clicked(self) -> None:
        try:
            parameters = self.refine_form.parameters()
        except UserError as error:
            self._on_run_failed(str(error))
            return
        self._begin("Starting")
        self.workbench.refine(parameters, self.directly_box.isChecked())

    def _on_cancel_clicked(self) -> None:
        self.cancel_button.setEnabled(False)
        self.stage_label.setText("Stopping")
        self.controller.cancel()

    def _on_refine_requested(self) -> None:
        self.refine_button.click()

    def _on_keys_requested(self) -> None:
        if self._key_help is not None:
            self._key_help.close()
            self._key_help.deleteLater()
            self._key_help = None
            return
        window = self.window()
        assert window is not None
        self._key_help = KeyHelp(window)
        self._key_help.destroyed.connect(self._on_key_help_gone)
        self._key_help.show()

    def _on_key_help_gone(self) -> None:
        self._key_help = None

    def _begin(self, stage: str) -> None:
        self._say("")
        self.stage_label.setText(stage)
        self.progress_bar.setRange(0, 0)

    def _on_progress_changed(self, progress: Progress, seconds_left: float | None) -> None:
        if self.cancel_button.isEnabled():
            rest = "" if seconds_left is None else f", {in_words(seconds_left)}"
            self.stage_label.setText(f"{progress.stage}: {progress.done} of {progress.total}{rest}")
        self.progress_bar.setRange(0, progress.total)
        self.progress_bar.setValue(progress.done)

    def _on_session_opened(self, layer: Labels, warnings: list[str]) -> None:
        self.masks_combo.choose(layer)
        parameters = self.workbench.proposals.last_parameters
        if parameters is not None:
            self.refine_form.show_parameters(parameters)
        for sentence in warnings:
            show_warning(sentence)

    def _on_run_finished(self, result: RunResult) -> None:
        text = describe(result)
        if result.task is Task.PROPOSE and not (self.workbench.proposals.is_open or self.directly_box.isChecked()):
            text += " Nothing would change."
        if result.task is Task.FIND_MASKS and result.layer is not None:
            if self.workbench.holds_work:
                text += " Your own masks are still the chosen ones."
            else:
                self.masks_combo.choose(result.layer)
        self._say(text)
        self._show_state()

    def _say(self, text: str) -> None:
        self.result_label.setText(text)
        self.result_label.setVisible(bool(text))

    def _on_run_failed(self, message: str) -> None:
        self._say("")
        self._show_state()
        show_error(message)

    def _show_marks(self) -> None:
        if self.controller.state is not State.RUNNING:
            self.output_label.setText(self._where_the_result_goes())

    def _show_state(self, *_: object) -> None:
        running = self.controller.state is State.RUNNING
        self.video_combo.setEnabled(not running and self.video_combo.count() > 0)
        self.masks_combo.setEnabled(not running and self.masks_combo.count() > 0)
        self.objects_spin.setEnabled(self.controller.can_find_masks)
        self.find_button.setEnabled(self.controller.can_find_masks)
        self.refine_button.setEnabled(self.controller.can_refine and not self.workbench.review.is_reading)
        self.refine_form.setEnabled(not running)
        self.motion_form.setEnabled(not running)
        self.progress_box.setVisible(running)
        self.cancel_button.setEnabled(running)
        if not running:
            self.output_label.setText(self._where_the_result_goes())
            self.output_label.setVisible(bool(self.output_label.text()))

    def _where_the_result_goes(self) -> str:
        if self.controller.masks is None:
            return ""
        table = self.workbench.review.table
        kept = 0 if table is None else table.settled_frames
        frames, stay = ("frame", "stays as it is") if kept == 1 else ("frames", "stay as they are")
        marks = f" {kept} {frames} with your edits or locks {stay}." if kept else ""
        if table is not None and not self.directly_box.isChecked():
            where = f"The result is a proposal for “{self.controller.masks.name}”, to accept or reject."
            return f"{where}{marks}{self._what_it_takes()}"
        try:
            name, layer = self.controller.output_of_refinement()
        except UserError as error:
            return str(error)
        if layer is None:
            return f"The result becomes a new layer, “{name}”.{marks}{self._what_it_takes()}"
        if layer == self.controller.masks:
            return f"“{name}” is refined in place; Ctrl-Z takes it back.{marks}{self._what_it_takes()}"
        back = "Ctrl-Z takes it back. To build on edits made there, choose it as masks."
        return f"The result replaces “{name}”; {back}{marks}{self._what_it_takes()}"

    def _what_it_takes(self) -> str:
        report = self.workbench.proposals.last_report
        if report is not None and not self.directly_box.isChecked():
            return f" It takes at most about as long as the last run ({report.seconds:.0f} s)."
        try:
            expected = self.workbench.expected(self.refine_form.parameters())
        except UserError:
            return ""
        return "" if expected is None else f" It takes {expected.price}."
