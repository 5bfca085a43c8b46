"""Everything that computes: flow, features, scores, exemplars, corrected masks. Knows torch, not napari or Qt."""

import ctypes
import os
import sys
from contextlib import suppress

_M_ARENA_MAX = -8

# torch's threads otherwise spin while they wait for each other: on a computer that has anything else to
# do, the window of napari included, this made refinement up to ten times slower. Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# glibc otherwise gives every thread a heap of its own, where what another one freed cannot be used again: a refinement
# took 100 to 180 MB more, and 2 to 5 % of its time to get memory from the system and give it back.
if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
