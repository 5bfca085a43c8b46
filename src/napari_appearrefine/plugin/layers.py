"""Layers as clips and masks; the only place of the plugin that makes Labels layers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap, label_colormap

from ..core.clip import Clip, FrameSource
from ..core.errors import UserError
from ..core.events import FrameLabels
from ..core.labels import as_labels, label_dtype
from ..core.patches import difference
from .undo_step import UndoStep

METADATA_KEY = "napari-appearrefine"
REFINED_SUFFIX = " refined"
MOTION_SUFFIX = " masks"
PROPOSAL_SUFFIX = " proposal"
_OUTLINE = 2
# napari's own colours, shuffled so that the first ones are none of those in which changes and likely errors are
# shown, for people with colour blindness either: its usual second one is their blue.
_COLOURS, _SEED = 49, 0.81
_TRANSFORMS = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


class Written(Enum):
    """What became of a frame that was given to a :class:`FrameWriter`."""

    WRITTEN = "written"
    KEPT = "kept as a person left it"
    REFUSED = "not written: the run was undone or the layer has other data now"


def clip_of(layer: Image) -> Clip:
    """Return the video that an Image layer shows; nothing is read.

    Raises
    ------
    UserError
        If the layer is no plain time series of grey or colour frames.
    """
    if layer.multiscale:
        raise UserError(f"{layer.name} is a pyramid of resolutions; choose a layer with one resolution.")
    if layer.data.ndim != (4 if layer.rgb else 3):
        shape = tuple(int(length) for length in layer.data.shape)
        raise UserError(
            f"{layer.name} has the shape {shape}; a video must be (time, height, width) or (time, height, width, 3): "
            "choose another layer."
        )
    return Clip(layer.data, layer.name, layer.metadata.get(METADATA_KEY, {}).get("frame_names"))


def masks_of(layer: Layer) -> FrameSource:
    """Return the frames of a layer that holds masks, as they are.

    Raises
    ------
    UserError
        If the layer is a pyramid of resolutions.
    """
    if layer.multiscale:
        raise UserError(f"{layer.name} is a pyramid of resolutions; choose a Labels layer with one resolution.")
    source: FrameSource = layer.data
    return source


def empty_labels(source: FrameSource) -> np.ndarray:
    """Allocate writable labels for masks: (T, Y, X) uint8 if the masks are 8-bit or boolean, else uint16."""
    shape = tuple(int(length) for length in source.shape)
    return np.zeros(shape, np.uint8 if np.dtype(source.dtype).itemsize == 1 else np.uint16)


def load_labels(source: FrameSource, name: str) -> np.ndarray:
    """Read all frames of masks into an array that a Labels layer can edit.

    Returns
    -------
    ndarray
        (T, Y, X) uint8, or uint16 if an id is above 255.

    Raises
    ------
    UserError
        If a value is negative or above 65535, or a file cannot be read.
    """
    shape = tuple(int(length) for length in source.shape)
    labels = np.zeros(shape, np.uint8)
    for index in range(shape[0]):
        frame = as_labels(source[index], name, index)
        if labels.dtype == np.uint8 and frame.size and frame.max() > np.iinfo(np.uint8).max:
            labels = labels.astype(np.uint16)
        labels[index] = frame
    return labels


def is_refined(layer: Labels) -> bool:
    """Whether a Labels layer is the result of a refinement, of this or an earlier session."""
    role = layer.metadata.get(METADATA_KEY, {}).get("role")
    return role == "refined" or str(layer.name).endswith(REFINED_SUFFIX)


def can_hold(layer: Layer, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether labels of a shape and dtype can be written into a layer so that it stays editable."""
    return bool(
        is_writable(layer)
        and layer.data.shape == shape
        and layer.data.dtype in (np.uint8, np.uint16)
        and layer.data.dtype.itemsize >= np.dtype(dtype).itemsize
    )


def make_labels(data: np.ndarray, name: str, like: Layer, role: str) -> Labels:
    """Make an editable Labels layer that lies where another layer lies and has its colours.

    Parameters
    ----------
    data : ndarray
        (T, Y, X) uint8 or uint16; the layer takes it over.
    name : str
        Name of the layer.
    like : Layer
        Where to take the transform from; and the colours, if it is a Labels layer.
    role : {"refined", "motion", "proposal", "whole"}
        What the labels are, kept in the layer's metadata. A proposal is accepted or rejected, not painted on.
    """
    state = like.as_layer_data_tuple()[1]
    options = {key: state[key] for key in _TRANSFORMS if key in state}
    names = like.metadata.get(METADATA_KEY, {}).get("frame_names")
    metadata = {METADATA_KEY: {"role": role, **({"frame_names": names} if names else {})}}
    if isinstance(like, Labels):
        # All in the constructor, because each setter would slice and draw the layer again.
        options |= {"colormap": like.colormap.model_copy(deep=True), "opacity": like.opacity}
    elif role == "motion":
        options |= {"colormap": distinct_colours()}
    layer = Labels(data, name=name, metadata=metadata, **options)
    layer.editable = role != "proposal"
    return layer


def distinct_colours() -> CyclicLabelColormap:
    """Return colours for masks, the first ones of which are none of those in which changes are shown."""
    return label_colormap(_COLOURS, _SEED, background_value=0)


def make_overlay(name: str, like: Layer, colours: dict[int | None, str]) -> Labels:
    """Make a layer for marks on the frame that is shown, whichever that is.

    Parameters
    ----------
    name : str
        Name of the layer.
    like : Layer
        A (T, Y, X) layer, to take the place and the size of its frames from.
    colours : dict of int or None to str
        Value of a mark to its colour; None stands for all other values.

    Returns
    -------
    Labels
        Of one frame, (Y, X) uint8, which a person cannot paint on.
    """
    height, width = (int(length) for length in like.data.shape[1:3])
    overlay = Labels(
        np.zeros((height, width), np.uint8),
        name=name,
        scale=like.scale[1:3],
        translate=like.translate[1:3],
        colormap=DirectLabelColormap(color_dict=colours),
        opacity=0.8,
        metadata={METADATA_KEY: {"role": "overlay"}},
    )
    overlay.editable = False
    return overlay


def show_overlay(overlay: Labels, marks: np.ndarray) -> None:
    """Show other marks, (Y, X) uint8."""
    if not np.array_equal(overlay.data, marks):
        # Not by setting the data, after which napari looks at everything anew with each step through a video.
        overlay.data[:] = marks
        overlay.refresh(extent=False, thumbnail=False)


def role_of(layer: Layer) -> str | None:
    """Return what the plugin made a layer for: refined, motion, proposal, overlay; None for others."""
    role: str | None = layer.metadata.get(METADATA_KEY, {}).get("role")
    return role


def is_writable(layer: Layer) -> bool:
    """Whether frames of a layer can be written so that they stay editable."""
    return bool(
        isinstance(layer, Labels)
        and not layer.multiscale
        and isinstance(layer.data, np.ndarray)
        and layer.data.ndim == 3
        and layer.data.flags.writeable
        and layer.editable
    )


class FrameWriter:
    """Writes the frames of one run into a Labels layer, as one undo step, while a person may edit it.

    Parameters
    ----------
    layer : Labels
        The layer; its data is a writable array.
    baseline : ndarray
        (T, Y, X) content of the layer when the run began. A frame that differs from it, or from what was
        written into it last, was changed by a person since and is left alone.
    is_shown : callable
        Tells whether a frame is on the screen now; only such frames are drawn.
    """

    def __init__(self, layer: Labels, baseline: np.ndarray, is_shown: Callable[[int], bool]) -> None:
        self.layer = layer
        self._baseline = baseline
        self._is_shown = is_shown
        self._step = UndoStep(layer)
        self._written: dict[int, bytes] = {}

    def write(self, frame: int, labels: np.ndarray) -> Written:
        """Write one frame, perhaps again; (Y, X) uint8 or uint16, ids that fit the layer's dtype.

        Raises
        ------
        UserError
            If an id does not fit the layer's dtype.
        """
        data = self.layer.data
        if data.shape != self._baseline.shape or self._step.was_undone():
            return Written.REFUSED
        if labels.size and labels.max() > np.iinfo(data.dtype).max:
            raise UserError(
                f"{self.layer.name} holds {data.dtype} values and cannot take the object {labels.max()}; "
                "remove or rename that layer and run again."
            )
        current, last = data[frame], self._written.get(frame)
        as_it_was = np.array_equal(current, self._baseline[frame]) if last is None else _digest(current) == last
        if not as_it_was:
            return Written.KEPT
        patch = difference(frame, current, labels)
        if len(patch):
            self._step.write([patch], refresh=self._is_shown(frame))
        self._written[frame] = _digest(data[frame])
        return Written.WRITTEN


class ProposalWriter:
    """Writes the frames of one run into a layer of its own, which nobody edits: no history is kept.

    Parameters
    ----------
    layer : Labels
        The layer; its data is a writable array.
    is_shown : callable
        Tells whether a frame is on the screen now; only such frames are drawn.
    """

    def __init__(self, layer: Labels, is_shown: Callable[[int], bool]) -> None:
        self.layer = layer
        self._is_shown = is_shown

    def write(self, frame: int, labels: np.ndarray) -> Written:
        """Write one frame; (Y, X) uint8 or uint16."""
        self.layer.data[frame] = labels
        if self._is_shown(frame):
            self.layer.refresh(extent=False)
        return Written.WRITTEN


class WholeShapeLayers:
    """Shows the whole shapes of objects, hidden parts included: one Labels layer an object, drawn as outlines.

    The layers lie in the order of depth of the first frame, the frontmost on top; the order of each
    frame is kept in their metadata. Those of an earlier run go.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where the layers are added.
    masks : Labels
        The layer with what is seen of the objects, to take the name, the colours and the transform from.
    """

    def __init__(self, viewer: Any, masks: Labels) -> None:
        self._viewer = viewer
        self._masks = masks
        self._layers: dict[int, Labels] = {}
        self._order: dict[int, list[int]] = {}
        for layer in list(viewer.layers):
            # By no part of a name: that may be how other masks' layers begin.
            if layer.metadata.get(METADATA_KEY, {}).get("whole_of") == masks.name:
                viewer.layers.remove(layer)

    def write(self, event: FrameLabels) -> None:
        """Write the shapes of one frame."""
        self._order[event.frame] = list(event.front_to_back)
        for object_id in reversed(event.front_to_back):
            layer = self._layers.get(object_id) or self._make(object_id)
            # Not all of the frame: memory that is only ever 0 is none.
            np.putmask(layer.data[event.frame], event.whole[object_id], object_id)
            layer.refresh(extent=False)

    def _make(self, object_id: int) -> Labels:
        shapes = np.zeros(self._masks.data.shape, label_dtype([object_id]))
        layer = make_labels(shapes, f"{self._masks.name} whole {object_id}", self._masks, "whole")
        layer.metadata[METADATA_KEY] |= {"whole_of": self._masks.name, "front_to_back": self._order}
        layer.contour, layer.opacity = _OUTLINE, 1.0
        add_unselected(self._viewer, layer)
        self._layers[object_id] = layer
        return layer


def add_unselected(viewer: Any, layer: Layer) -> None:
    """Add a layer, and let the person go on with the one that was active."""
    active = viewer.layers.selection.active
    viewer.add_layer(layer)
    viewer.layers.selection.active = active


def rgba_of(layer: Labels, object_id: int) -> np.ndarray:
    """Return an object's colour in a Labels layer, also while another one is shown alone, (4,) float in 0..1."""
    colormap = layer.colormap
    if colormap.use_selection:
        colormap = colormap.model_copy(update={"use_selection": False})
    return np.asarray(colormap.map(object_id), float)


def colour_of(layer: Labels, object_id: int) -> tuple[int, int, int]:
    """Return an object's colour in a Labels layer: red, green, blue, 0..255."""
    red, green, blue = (round(255 * float(part)) for part in rgba_of(layer, object_id)[:3])
    return red, green, blue


def _digest(labels: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(labels).data, digest_size=16).digest()
