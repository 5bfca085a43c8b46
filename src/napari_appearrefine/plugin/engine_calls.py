"""The engine as the workers call it: imported in their thread, without freezing the window."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.clip import Clip, FrameSource
from ..core.events import Event, Report, run_to_end
from ..core.guidance import Guidance
from ..core.parameters import FlowMaskParameters, RefineParameters

if TYPE_CHECKING:
    from ..engine.explanation import Explanation
    from ..engine.reuse import RunStore


class Refiner:
    """Refines with the engine, and keeps what it computed, so that the next run computes only what changed."""

    def __init__(self) -> None:
        self._store: RunStore | None = None

    def __call__(
        self, clip: Clip, masks: FrameSource, parameters: RefineParameters, masks_name: str, guidance: Guidance
    ) -> Iterator[Event]:
        """Refine; the engine is imported here, in the worker's thread."""
        load_engine()
        from ..engine.refinement import refine
        from ..engine.reuse import RunStore

        self._store = self._store or RunStore()
        yield from refine(clip, masks, parameters, masks_name=masks_name, guidance=guidance, store=self._store)

    def follow(self, clip: Clip, masks: FrameSource, object_ids: Sequence[int]) -> dict[int, np.ndarray]:
        """Measure how well objects can be followed from frame to frame, for the frame to fix next."""
        load_engine()
        from ..engine.followability import motion_links
        from ..engine.reuse import RunStore

        self._store = self._store or RunStore()
        return run_to_end(motion_links(clip, masks, object_ids, self._store))

    def explain(
        self,
        clip: Clip,
        masks: FrameSource,
        frame: int,
        report: Report,
        parameters: RefineParameters,
        guidance: Guidance,
    ) -> Explanation:
        """Explain the masks of one frame by the last run and the marks of now."""
        load_engine()
        from ..engine.explanation import explain_frame
        from ..engine.reuse import RunStore

        self._store = self._store or RunStore()
        return explain_frame(
            clip, masks, frame, report.exemplars, report.scores, parameters, guidance=guidance, store=self._store
        )


def flow_mask_events(clip: Clip, parameters: FlowMaskParameters) -> Iterator[Event]:
    """Compute masks from motion with the engine, which is imported here, in the worker's thread."""
    load_engine()
    from ..engine.flow_masks import flow_masks

    yield from flow_masks(clip, parameters)


def load_engine() -> None:
    """Import the engine in this thread, a worker's, and have it compute there without freezing the window.

    torch's threads are told to sleep, not spin, while they wait for each other: on a busy computer
    of two cores spinning made the built-in model seven times slower (70 s instead of 9 s) and
    starved the window. OpenMP reads this once, when torch is loaded; a person's own setting stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "torch" not in sys.modules:
        _load_torch_libraries()
    with _no_garbage_collection():
        from ..engine.device import leave_a_core_free
    leave_a_core_free()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    # The import makes so many objects that three full collections of 0.1 to 0.2 s fall into it, and
    # each stops the window as well.
    was_on, is_set_aside = gc.isenabled(), gc.get_freeze_count() > 0
    gc.disable()
    try:
        yield
    finally:
        # So all that is new counts as old: else the very next collection would look through all of it.
        gc.freeze()
        if not is_set_aside:
            gc.unfreeze()
        if was_on:
            gc.enable()


def _load_torch_libraries() -> None:
    """Load torch's shared libraries without the interpreter's lock.

    ``import torch`` holds it meanwhile, and so does ``ctypes.CDLL(path)``: 0.3 s with a warm disk
    cache, 0.8 s with a cold one. A call of the C library's own dlopen does not, and a library that is
    loaded already costs the import next to nothing.
    """
    suffix = {"linux": "so", "darwin": "dylib"}.get(sys.platform)
    spec = find_spec("torch")
    if suffix is None or spec is None:
        return
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    for folder in spec.submodule_search_locations or []:
        # In the order and with the flags of torch's own loader; a library that is not there is no error.
        for name, mode in (("torch_global_deps", os.RTLD_GLOBAL), ("torch_cpu", os.RTLD_LOCAL)):
            path = Path(folder) / "lib" / f"lib{name}.{suffix}"
            dlopen(os.fsencode(path), mode | os.RTLD_NOW)
