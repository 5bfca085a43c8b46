"""How layers and viewer look, as plain values that a session keeps, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap

_OF_MASKS = (
    "visible",
    "opacity",
    "blending",
    "contour",
    "selected_label",
    "show_selected_label",
    "brush_size",
    "contiguous",
    "preserve_labels",
    "n_edit_dimensions",
    "mode",
)
_OF_VIDEO = ("visible", "opacity", "blending", "gamma", "contrast_limits", "interpolation2d")
_OF_OTHERS = ("visible", "opacity", "blending", "contour", "gamma", "contrast_limits", "interpolation2d")
_OF_CAMERA = ("center", "zoom", "angles")
_OTHERS = -1
"""Stands for all ids that have no colour of their own."""


def view_of(viewer: Any, video: Image, masks: Labels) -> dict[str, Any]:
    """Return how a viewer shows a video, its masks and what else there is, JSON-ready.

    The colours of the masks are :func:`colours_of`.
    """
    others = [layer for layer in viewer.layers if layer not in (video, masks)]
    active = viewer.layers.selection.active
    of_video = _values(video, _OF_VIDEO)
    if not video.rgb:
        of_video["colormap"] = str(video.colormap.name)
    return {
        "masks": _values(masks, _OF_MASKS),
        "video": of_video,
        "camera": _values(_camera(viewer), _OF_CAMERA),
        "ndisplay": int(viewer.dims.ndisplay),
        "others": {str(layer.name): _values(layer, _OF_OTHERS) for layer in others},
        "order": [str(layer.name) for layer in viewer.layers],
        "active": None if active is None else str(active.name),
    }


def show_view(viewer: Any, video: Image, masks: Labels, view: Mapping[str, Any]) -> None:
    """Let a viewer show a video and its masks as :func:`view_of` told, and other layers that it has by these names."""
    viewer.dims.ndisplay = view["ndisplay"]
    _set_values(video, view["video"])
    _set_values(masks, view["masks"])
    _set_values(_camera(viewer), view["camera"])
    for name, values in view.get("others", {}).items():
        if name in viewer.layers:
            _set_values(viewer.layers[name], values)
    _put_in_order(viewer.layers, [name for name in view.get("order", []) if name in viewer.layers])
    if view.get("active") in viewer.layers:
        viewer.layers.selection.active = viewer.layers[view["active"]]


def _put_in_order(layers: Any, names: list[str]) -> None:
    """Let these layers lie in this order on the places that they have together."""
    places = sorted(layers.index(name) for name in names)
    for name, place in zip(names, places, strict=True):
        if layers.index(name) != place:
            layers.move(layers.index(name), place)


def colours_of(masks: Labels) -> dict[str, np.ndarray]:
    """Return the colours of a Labels layer as plain arrays.

    Returns
    -------
    dict of str to ndarray
        ``colours`` (n, 4) float32: red, green, blue, opacity, 0..1. With them either ``colour_ids`` (n,) int64,
        whose colours they are, -1 for all other ids; or ``colour_seed`` () float64, if napari spreads them over
        the ids.
    """
    colormap = masks.colormap
    if isinstance(colormap, DirectLabelColormap):
        known = {_OTHERS if key is None else int(key): colour for key, colour in colormap.color_dict.items()}
        return {"colour_ids": np.array(list(known), np.int64), "colours": np.array(list(known.values()), np.float32)}
    return {"colour_seed": np.array(colormap.seed, np.float64), "colours": np.asarray(colormap.colors, np.float32)}


def set_colours(masks: Labels, stored: Mapping[str, np.ndarray]) -> None:
    """Give a Labels layer the colours that :func:`colours_of` told."""
    colours = stored["colours"]
    if "colour_ids" in stored:
        ids = (None if key == _OTHERS else int(key) for key in stored["colour_ids"])
        masks.colormap = DirectLabelColormap(color_dict=dict(zip(ids, colours, strict=True)))
    else:
        masks.colormap = CyclicLabelColormap(
            colors=colours, seed=float(stored["colour_seed"]), background_value=0, interpolation="zero"
        )


def _camera(viewer: Any) -> Any:
    # The viewer's own name for it is deprecated since napari 0.9, which moved it into the scene.
    return getattr(viewer, "scene", viewer).camera


def _values(source: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: _plain(getattr(source, name)) for name in names if hasattr(source, name)}


def _set_values(target: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        # What another napari does not know, or not by this value, stays as it is.
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            setattr(target, name, value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, bool | int | float) else str(value)
