"""Find the good masks of a video by themselves, and repair the bad ones by appearance.

The public names below are loaded on first use, so that importing the package imports neither
torch nor napari.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .core.clip import Clip
    from .core.errors import UserError
    from .core.events import FrameLabels, Progress, Report
    from .core.guidance import Guidance
    from .core.parameters import FlowMaskParameters, RefineParameters
    from .engine.flow_masks import flow_masks
    from .engine.refinement import refine
    from .evaluation.davis import evaluate_folders as evaluate
    from .files.masks import open_masks
    from .files.video import open_video

_PUBLIC = {
    "Clip": ("core.clip", "Clip"),
    "FlowMaskParameters": ("core.parameters", "FlowMaskParameters"),
    "FrameLabels": ("core.events", "FrameLabels"),
    "Guidance": ("core.guidance", "Guidance"),
    "Progress": ("core.events", "Progress"),
    "RefineParameters": ("core.parameters", "RefineParameters"),
    "Report": ("core.events", "Report"),
    "UserError": ("core.errors", "UserError"),
    "evaluate": ("evaluation.davis", "evaluate_folders"),
    "flow_masks": ("engine.flow_masks", "flow_masks"),
    "open_masks": ("files.masks", "open_masks"),
    "open_video": ("files.video", "open_video"),
    "refine": ("engine.refinement", "refine"),
}

__all__ = [
    "Clip",
    "FlowMaskParameters",
    "FrameLabels",
    "Guidance",
    "Progress",
    "RefineParameters",
    "Report",
    "UserError",
    "__version__",
    "evaluate",
    "flow_masks",
    "open_masks",
    "open_video",
    "refine",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    value = getattr(import_module(f".{module}", __name__), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
