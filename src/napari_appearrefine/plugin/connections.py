"""Signals and who listens to them, connected and let go together."""

from __future__ import annotations

from typing import Any


class Connections:
    """Connects signals to slots for as long as it is wanted.

    Parameters
    ----------
    *pairs : tuple of signal and callable
        Signals of psygnal, napari or Qt, each with what listens to it.
    """

    def __init__(self, *pairs: tuple[Any, Any]) -> None:
        self._pairs = pairs
        for signal, slot in pairs:
            signal.connect(slot)

    def release(self) -> None:
        """Disconnect all of them; doing it again does nothing."""
        for signal, slot in self._pairs:
            signal.disconnect(slot)
        self._pairs = ()
