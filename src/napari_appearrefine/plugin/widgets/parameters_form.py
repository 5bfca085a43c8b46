"""A form for a dataclass of settings, made from what the fields say about themselves."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any, Generic, TypeVar

from magicgui.widgets import CheckBox, ComboBox, FileEdit, SpinBox
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFormLayout, QLabel, QWidget

ParametersT = TypeVar("ParametersT")


class ParametersForm(QWidget, Generic[ParametersT]):
    """Shows settings and gives them back.

    A field's metadata decide: ``choices`` make a combo box, ``minimum`` and ``maximum`` a spin box, a
    yes or no a check box, anything else is a path; ``help`` is the tooltip; ``only_for`` names the
    value of the field ``of`` (``model`` if not given) without which the field is hidden;
    ``in_form`` False leaves a field out, its value kept.

    Parameters
    ----------
    parameters : dataclass instance
        The settings to begin with.
    left_out : set of str
        Names of fields that are shown elsewhere; they keep their values.
    parent : QWidget, optional
        Parent widget.
    """

    changed = Signal()

    def __init__(
        self, parameters: ParametersT, left_out: frozenset[str] = frozenset(), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._parameters = parameters
        self._fields = [
            setting
            for setting in fields(parameters)  # type: ignore[arg-type]
            if setting.name not in left_out and setting.metadata.get("in_form", True)
        ]
        self._inputs: dict[str, Any] = {}
        self._labels: dict[str, QLabel] = {}
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for setting in self._fields:
            widget = _input_for(setting, getattr(parameters, setting.name))
            label = QLabel(_title_of(setting.name))
            for part in (label, widget.native):
                part.setToolTip(setting.metadata["help"])
            layout.addRow(label, widget.native)
            self._inputs[setting.name], self._labels[setting.name] = widget, label
            widget.changed.connect(self._on_changed)
        self._show_what_applies()

    def input(self, name: str) -> Any:
        """Return the input of one field."""
        return self._inputs[name]

    def show_parameters(self, parameters: ParametersT) -> None:
        """Show other settings; fields that are not shown keep their values."""
        for setting in self._fields:
            self._inputs[setting.name].value = getattr(parameters, setting.name)

    def parameters(self, **others: Any) -> ParametersT:
        """Return the settings as they are now; ``others`` are values of fields shown elsewhere.

        Raises
        ------
        UserError
            If a value is outside its limits.
        """
        values = {setting.name: getattr(self._parameters, setting.name) for setting in fields(self._parameters)}  # type: ignore[arg-type]
        for setting in self._fields:
            applies = self._applies(setting)
            values[setting.name] = self._inputs[setting.name].value if applies else setting.default
        return type(self._parameters)(**(values | others))

    def _applies(self, setting: Field[Any]) -> bool:
        wanted = setting.metadata.get("only_for")
        return wanted is None or self._inputs[_ruler_of(setting)].value == wanted

    def _on_changed(self, _value: Any) -> None:
        self._show_what_applies()
        self.changed.emit()

    def _show_what_applies(self) -> None:
        for setting in self._fields:
            applies = self._applies(setting)
            self._labels[setting.name].setVisible(applies)
            self._inputs[setting.name].native.setVisible(applies)


def _ruler_of(setting: Field[Any]) -> str:
    """Return the field on which it depends whether a field applies."""
    return str(setting.metadata.get("of", "model"))


def _input_for(setting: Field[Any], value: Any) -> Any:
    if "choices" in setting.metadata:
        return ComboBox(value=value, choices=setting.metadata["choices"])
    if "minimum" in setting.metadata:
        return SpinBox(value=value, min=setting.metadata["minimum"], max=setting.metadata["maximum"])
    if isinstance(value, bool):
        return CheckBox(value=value)
    return FileEdit(value=value, mode="d" if setting.metadata.get("folder") else "r", nullable=True)  # type: ignore[arg-type]


def _title_of(name: str) -> str:
    return name.replace("_", " ").replace("dino", "DINO ").capitalize().replace("Dino", "DINO").replace("Sam", "SAM")
