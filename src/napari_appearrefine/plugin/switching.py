"""How often the window gets the interpreter's lock while a worker is busy."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_INTERVAL = 0.001


class _BriskSwitching:
    """Lets the interpreter's lock go round every millisecond while something computes, not only every 5 ms.

    The window has to wait for it several times for each frame that it shows. It is the setting of the whole
    process, so it is given back when the last of the threads that compute is done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._computing = 0
        self._before = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._computing += 1
            if self._computing == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, _INTERVAL))
        try:
            yield
        finally:
            with self._lock:
                self._computing -= 1
                if not self._computing:
                    sys.setswitchinterval(self._before)


brisk_switching = _BriskSwitching()
