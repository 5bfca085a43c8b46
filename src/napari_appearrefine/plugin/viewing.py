"""Which frame of a (T, Y, X) layer a viewer shows."""

from __future__ import annotations

from typing import Any

from napari.layers import Layer


def is_shown(viewer: Any, layer: Layer, frame: int) -> bool:
    """Whether a frame of a layer is what a viewer displays now; in 3D all frames are."""
    if viewer.dims.ndisplay > 2:
        return True
    first_axis = viewer.dims.ndim - layer.ndim
    point = viewer.dims.point[first_axis:]
    return bool(layer.visible) and round(float(layer.world_to_data(point)[0])) == frame


def frame_shown(viewer: Any, layer: Layer) -> int:
    """Return the frame of a (T, Y, X) layer that a viewer displays now, the nearest one if there is none."""
    point = viewer.dims.point[viewer.dims.ndim - layer.ndim :]
    frame = round(float(layer.world_to_data(point)[0]))
    return min(max(frame, 0), int(layer.data.shape[0]) - 1)


def show_frame(viewer: Any, layer: Layer, frame: int) -> None:
    """Go to a frame of a (T, Y, X) layer."""
    first_axis = viewer.dims.ndim - layer.ndim
    point = layer.world_to_data(viewer.dims.point[first_axis:])
    viewer.dims.set_point(first_axis, layer.data_to_world((frame, *point[1:]))[0])
