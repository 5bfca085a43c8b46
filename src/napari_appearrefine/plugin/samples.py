"""The sample clips as layers, for File > Open Sample."""

from __future__ import annotations

from typing import Any

from ..files.samples import open_sample
from .reader import LayerTuple, labels_layer, video_layer


def open_crossing() -> list[LayerTuple]:
    """Open the colour clip with two objects that cross, and its exact masks, hidden."""
    return _layers_of("crossing")


def open_cells() -> list[LayerTuple]:
    """Open the 16-bit microscope-like clip with moving cells, and its exact masks, hidden."""
    return _layers_of("cells")


def _layers_of(name: str) -> list[LayerTuple]:
    clip, truth = open_sample(name)
    data, options, kind = labels_layer(truth, f"{name} truth", clip.frame_names)
    hidden: dict[str, Any] = {**options, "visible": False}
    return [video_layer(clip), (data, hidden, kind)]
