"""A combo box of layers: a list in, a choice out."""

from __future__ import annotations

from collections.abc import Sequence

from napari.layers import Layer
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QWidget


class LayerCombo(QComboBox):
    """Chooses one of the layers it was given.

    Parameters
    ----------
    placeholder : str
        What is shown while no layer is chosen.
    optional : bool
        Whether a person may choose none, which is what is chosen at first.
    parent : QWidget, optional
        Parent widget.
    """

    layer_changed = Signal(object)
    """The layer that is chosen now, or None."""

    def __init__(self, placeholder: str, optional: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layers: list[Layer | None] = []
        self._placeholder = placeholder
        self._optional = optional
        self.setPlaceholderText(placeholder)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.currentIndexChanged.connect(self._on_index_changed)

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        index = self.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def choose(self, layer: Layer) -> None:
        """Choose a layer; one that is not in the list changes nothing."""
        if layer in self._layers:
            self.setCurrentIndex(self._layers.index(layer))

    def set_layers(self, layers: Sequence[Layer]) -> None:
        """Offer these layers; the choice stays if it can, else the first visible one is chosen."""
        chosen = self.layer
        self.blockSignals(True)
        self._layers = [None, *layers] if self._optional else list(layers)
        self.clear()
        self.addItems([self._placeholder if layer is None else layer.name for layer in self._layers])
        self.setCurrentIndex(self._index_to_choose(chosen))
        self.blockSignals(False)
        self.setEnabled(bool(self._layers))
        if self.layer != chosen:
            self.layer_changed.emit(self.layer)

    def _index_to_choose(self, chosen: Layer | None) -> int:
        if chosen is not None and chosen in self._layers:
            return self._layers.index(chosen)
        if self._optional:
            return 0
        return next((index for index, layer in enumerate(self._layers) if layer is not None and layer.visible), -1)

    def _on_index_changed(self, _index: int) -> None:
        self.layer_changed.emit(self.layer)
