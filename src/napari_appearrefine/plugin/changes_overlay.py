"""The layer that shows what a proposal would change in the frame that is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels

from ..core.proposal import ADDED, MOVED, REMOVED
from .layers import add_unselected, make_overlay, show_overlay

CHANGES_NAME = "changes"
# Okabe and Ito's blue, vermillion and yellow.
CHANGE_COLOURS: dict[int | None, str] = {None: "transparent", ADDED: "#56B4E9", REMOVED: "#D55E00", MOVED: "#F0E442"}


class ChangesOverlay:
    """Owns the layer while there is one.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where it is shown.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self.layer: Labels | None = None

    def open(self, masks: Labels) -> None:
        """Add the layer over some masks, if it is not there."""
        if self.layer is None:
            self.layer = make_overlay(CHANGES_NAME, masks, CHANGE_COLOURS)
            add_unselected(self._viewer, self.layer)

    def show(self, marks: np.ndarray) -> None:
        """Show marks of :func:`core.proposal.change_map`, (Y, X) uint8."""
        if self.layer is not None:
            show_overlay(self.layer, marks)

    def close(self) -> None:
        """Take the layer away."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
