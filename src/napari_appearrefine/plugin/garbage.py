"""Spares the window Python's searches for garbage among all that napari and torch have made: 0.1 to 0.2 s each."""

from __future__ import annotations

import gc
from functools import partial
from typing import Any

from .connections import Connections
from .layers import role_of

_SECONDS_AFTER_A_LAYER_WENT = 2
_SHORT_LIVED = ("proposal", "overlay")


class SetAside:
    """Sets aside what there is now, until :meth:`end`: collections of garbage look only through what is newer.

    napari asks for one whenever a layer goes, Python by itself now and then, while a person scrubs or paints.
    The layers of a person are among what is set aside, so their memory is given back when they go.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Whose layers may go.
    """

    def __init__(self, viewer: Any) -> None:
        self._removed = 0
        self._ended = False
        self._connections = Connections((viewer.layers.events.removed, self._on_layer_removed))
        gc.freeze()

    def end(self) -> None:
        """Let collections look through everything again."""
        self._ended = True
        self._connections.release()
        gc.unfreeze()

    def _on_layer_removed(self, event: Any) -> None:
        from qtpy.QtCore import QTimer

        if role_of(event.value) not in _SHORT_LIVED:
            gc.unfreeze()
            self._removed += 1
            # No timer of its own: when the application ends, Qt would delete that before the dock is told.
            QTimer.singleShot(1000 * _SECONDS_AFTER_A_LAYER_WENT, partial(self._begin_again, self._removed))

    def _begin_again(self, removed: int) -> None:
        if removed == self._removed and not self._ended:
            gc.collect()
            gc.freeze()
