"""Layers as clips and masks; the only place of the plugin that makes Labels layers or writes their pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap

from ..core.clip import Clip, FrameSource
from ..core.errors import UserError
from ..core.events import FrameLabels
from ..core.labels import as_labels
from ..core.patches import LabelPatch

METADATA_KEY = "napari-appearrefine"
REFINED_SUFFIX = " refined"
MOTION_SUFFIX = " masks"
PROPOSAL_SUFFIX = " proposal"
_OUTLINE = 2
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
        What the labels are, kept in the layer's metadata.
    """
    state = like.as_layer_data_tuple()[1]
    options = {key: state[key] for key in _TRANSFORMS if key in state}
    names = like.metadata.get(METADATA_KEY, {}).get("frame_names")
    metadata = {METADATA_KEY: {"role": role, **({"frame_names": names} if names else {})}}
    if isinstance(like, Labels):
        # All in the constructor, because each setter would slice and draw the layer again.
        options |= {"colormap": like.colormap.model_copy(deep=True), "opacity": like.opacity}
    return Labels(data, name=name, metadata=metadata, **options)


def write_patches(layer: Labels, patches: Iterable[LabelPatch]) -> list[LabelPatch]:
    """Write patches into a Labels layer as one undo step.

    Parameters
    ----------
    layer : Labels
        The layer; its data is a writable array.
    patches : iterable of LabelPatch
        At most one for each frame.

    Returns
    -------
    list of LabelPatch
        What takes them back, with 16-bit indices where they fit.
    """
    inverses = []
    data = layer.data
    rows_dtype, columns_dtype = _index_dtype(data.shape[1]), _index_dtype(data.shape[2])
    with _sliced(layer), layer.block_history():
        for patch in patches:
            rows, columns = patch.rows.astype(rows_dtype), patch.columns.astype(columns_dtype)
            inverses.append(LabelPatch(patch.frame, rows, columns, data[patch.frame, rows, columns]))
            frames = np.full(len(patch), patch.frame, _index_dtype(data.shape[0]))
            layer.data_setitem((frames, rows, columns), patch.values.astype(data.dtype), refresh=False)
    layer.refresh(extent=False)
    return inverses


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
    overlay.data = marks


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

    The step grows with each frame at the place in the history where the run began. So the layer
    shows each frame at once, Ctrl-Z at any moment gives what was there before, strokes that a
    person makes meanwhile stay steps of their own, and nothing is left to do at the end.

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
        self._first_change: Any = None
        self._written: dict[int, bytes] = {}

    def write(self, frame: int, labels: np.ndarray) -> Written:
        """Write one frame, perhaps again; (Y, X) uint8 or uint16, ids that fit the layer's dtype.

        Raises
        ------
        UserError
            If an id does not fit the layer's dtype.
        """
        data = self.layer.data
        if data.shape != self._baseline.shape or self._was_undone():
            return Written.REFUSED
        if labels.size and labels.max() > np.iinfo(data.dtype).max:
            raise UserError(
                f"{self.layer.name} holds {data.dtype} values and cannot take the object {labels.max()}; "
                "remove or rename that layer and run again."
            )
        current = data[frame]
        last = self._written.get(frame) or _digest(self._baseline[frame])
        if _digest(current) != last:
            return Written.KEPT
        rows, columns = np.nonzero(current != labels)
        if rows.size:
            values = labels[rows, columns].astype(data.dtype)
            # 16-bit indices keep the history at 8 bytes a changed pixel instead of 26.
            indices = (
                np.full(rows.size, frame, _index_dtype(data.shape[0])),
                rows.astype(_index_dtype(data.shape[1])),
                columns.astype(_index_dtype(data.shape[2])),
            )
            with _sliced(self.layer), self.layer.block_history():
                self.layer.data_setitem(indices, values, refresh=self._is_shown(frame))
            self._join_step()
        self._written[frame] = _digest(data[frame])
        return Written.WRITTEN

    def _history(self) -> Any:
        # napari has no public way to add to an earlier undo step. Without this attribute (another
        # napari) each frame stays an undo step of its own.
        # A plugin's layer may be a proxy that warns at private attributes: look at the layer behind it.
        return getattr(getattr(self.layer, "__wrapped__", self.layer), "_undo_history", None)

    def _step(self) -> list[Any] | None:
        # Known by its first change, because a redo puts a new list into the history.
        return next((item for item in self._history() or () if item and item[0] is self._first_change), None)

    def _was_undone(self) -> bool:
        history = self._history()
        if history is None or self._first_change is None or self._step() is not None:
            return False
        pushed_out_by_later_strokes = len(history) == history.maxlen
        if pushed_out_by_later_strokes:
            self._first_change = None
        return not pushed_out_by_later_strokes

    def _join_step(self) -> None:
        history = self._history()
        if not history:
            return
        step = self._step()
        if step is None:
            self._first_change = history[-1][0]
        elif step is not history[-1]:
            step.extend(history.pop())


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
    frame is kept in their metadata.

    Parameters
    ----------
    add_layer : callable
        Adds a layer to the viewer.
    shape : tuple of int
        (T, Y, X).
    name : str
        Name of the layer with the masks.
    like : Layer
        Where to take the transform from.
    """

    def __init__(self, add_layer: Callable[[Layer], object], shape: tuple[int, ...], name: str, like: Layer) -> None:
        self._add_layer = add_layer
        self._shape = shape
        self._name = name
        self._like = like
        self._layers: dict[int, Labels] = {}
        self._order: dict[int, list[int]] = {}

    def write(self, event: FrameLabels) -> None:
        """Write the shapes of one frame."""
        self._order[event.frame] = list(event.front_to_back)
        for object_id in reversed(event.front_to_back):
            layer = self._layers.get(object_id) or self._make(object_id)
            layer.data[event.frame] = event.whole[object_id] * np.uint8(object_id)
            layer.refresh(extent=False)

    def _make(self, object_id: int) -> Labels:
        name = f"{self._name} whole {object_id}"
        layer = make_labels(np.zeros(self._shape, np.uint8), name, self._like, "whole")
        layer.metadata[METADATA_KEY]["front_to_back"] = self._order
        layer.contour = _OUTLINE
        self._add_layer(layer)
        self._layers[object_id] = layer
        return layer


@contextmanager
def _sliced(layer: Labels) -> Iterator[None]:
    # data_setitem also writes into the slice on the screen, and fails if that is a stale one: napari
    # does not slice hidden layers. Nothing is painted before the layer is hidden again.
    hidden = not layer.visible
    if hidden:
        layer.visible = True
    try:
        yield
    finally:
        if hidden:
            layer.visible = False


def colour_of(layer: Labels, object_id: int) -> tuple[int, int, int]:
    """Return an object's colour in a Labels layer: red, green, blue, 0..255."""
    red, green, blue = (round(255 * float(part)) for part in layer.colormap.map(object_id)[:3])
    return red, green, blue


def _digest(labels: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(labels).data, digest_size=16).digest()


def _index_dtype(length: int) -> type[np.uint16] | type[np.uint32]:
    return np.uint16 if length <= np.iinfo(np.uint16).max + 1 else np.uint32
