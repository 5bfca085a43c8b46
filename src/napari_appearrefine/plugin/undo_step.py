"""Pixels written into a Labels layer as one undo step, however many writes it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Labels

from ..core.patches import LabelPatch


class UndoStep:
    """Pixels that are written bit by bit, as one undo step, while a person may edit the layer.

    The step grows at the place in the history where it began. So Ctrl-Z at any moment gives what was there
    before, strokes that a person makes meanwhile stay steps of their own, and nothing is left to do at the end.

    Parameters
    ----------
    layer : Labels
        The layer; its data is a writable array.
    """

    def __init__(self, layer: Labels) -> None:
        self._layer = layer
        self._first_change: Any = None

    def begin(self) -> None:
        """Take the place in the history now, before there are pixels; perhaps there will be none, only marks."""
        history = self._history()
        if history is not None:
            no_pixels = tuple(np.zeros(0, np.uint16) for _ in self._layer.data.shape)
            nothing = np.zeros(0, self._layer.data.dtype)
            self._first_change = (no_pixels, nothing, nothing)
            history.append([self._first_change])
            self._undone_history().clear()

    def write(self, patches: Iterable[LabelPatch], refresh: bool = False) -> list[LabelPatch]:
        """Write patches, at most one for each frame.

        Parameters
        ----------
        patches : iterable of LabelPatch
            What to write.
        refresh : bool
            Whether to draw it at once, because its frame is on the screen.

        Returns
        -------
        list of LabelPatch
            What takes them back, with 16-bit indices where they fit.
        """
        inverses = []
        layer, data = self._layer, self._layer.data
        dtypes = [_index_dtype(length) for length in data.shape]
        last = self._last()
        with _sliced(layer), _no_part_of_a_stroke(layer), layer.block_history():
            for patch in patches:
                # 16-bit indices keep the history at 8 bytes a changed pixel instead of 26.
                rows, columns = patch.rows.astype(dtypes[1]), patch.columns.astype(dtypes[2])
                inverses.append(LabelPatch(patch.frame, rows, columns, data[patch.frame, rows, columns]))
                frames = np.full(len(patch), patch.frame, dtypes[0])
                layer.data_setitem((frames, rows, columns), patch.values.astype(data.dtype), refresh=refresh)
        if self._last() is not last:
            self._join()
        return inverses

    def was_undone(self) -> bool:
        """Whether a person took the step back."""
        history = self._history()
        if history is None or self._first_change is None or self._item() is not None:
            return False
        pushed_out_by_later_strokes = len(history) == history.maxlen
        if pushed_out_by_later_strokes:
            self._first_change = None
        return not pushed_out_by_later_strokes

    def can_be_undone(self) -> bool:
        """Whether the step is among those that Ctrl-Z takes back."""
        return self._first_change is not None and self._item() is not None

    def can_be_redone(self) -> bool:
        """Whether a person took the step back and can make it again."""
        # An undo turns a step around.
        items = (item for item in self._undone_history() if item)
        return self._first_change is not None and any(item[-1] is self._first_change for item in items)

    def withdraw(self) -> None:
        """Leave the history if there are only marks, of which nobody will be told any more."""
        only_marks = self._first_change is not None and not len(self._first_change[1])
        for history in (self._history(), self._undone_history()):
            if only_marks and history:
                kept = [item for item in history if len(item) > 1 or item[0] is not self._first_change]
                history.clear()
                history.extend(kept)

    def _undone_history(self) -> Any:
        return getattr(_behind_proxy(self._layer), "_redo_history", ())

    def _history(self) -> Any:
        # napari has no public way to add to an earlier undo step. Without this attribute (another
        # napari) what is written at once stays an undo step of its own.
        return getattr(_behind_proxy(self._layer), "_undo_history", None)

    def _item(self) -> list[Any] | None:
        # Known by its first change, because a redo puts a new list into the history.
        return next((item for item in self._history() or () if item and item[0] is self._first_change), None)

    def _last(self) -> list[Any] | None:
        history = self._history()
        return history[-1] if history else None

    def _join(self) -> None:
        history, item = self._history(), self._item()
        if item is None:
            self._first_change = history[-1][0]
        elif item is not history[-1]:
            item.extend(history.pop())


def forbid_painting(layer: Labels) -> None:
    """Make a layer not editable, and keep its undo history, which napari would empty."""
    target = _behind_proxy(layer)
    kept = {name: getattr(target, name) for name in ("_undo_history", "_redo_history") if hasattr(target, name)}
    layer.editable = False
    for name, history in kept.items():
        setattr(target, name, history)


def _behind_proxy(layer: Labels) -> Any:
    # A plugin's layer may be a proxy that warns at private attributes.
    return getattr(layer, "__wrapped__", layer)


@contextmanager
def _no_part_of_a_stroke(layer: Labels) -> Iterator[None]:
    # napari gathers the changes of a drag of the brush until the button is released; what is written
    # meanwhile would be undone together with the first half of the stroke.
    target = _behind_proxy(layer)
    stroke, target._staged_history = getattr(target, "_staged_history", []), []
    try:
        yield
    finally:
        target._staged_history = stroke


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


def _index_dtype(length: int) -> type[np.uint16] | type[np.uint32]:
    return np.uint16 if length <= np.iinfo(np.uint16).max + 1 else np.uint32
