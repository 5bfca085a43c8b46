"""What is known of masks that are not the chosen ones just now, for when they are chosen again."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels

from ..core.review import ReviewTable
from .connections import Connections
from .edit_tracker import EditTracker


@dataclass(frozen=True)
class KeptReview:
    """The review of one layer.

    Parameters
    ----------
    data : ndarray
        (T, Y, X), the layer's own array, by which to tell that it has no other now.
    table : ReviewTable
        Marks of its objects.
    committed : ndarray
        (T, Y, X) the masks as they would be if nobody had painted.
    painted : dict of str to ndarray
        From :meth:`EditTracker.painted_cells`.
    """

    data: np.ndarray
    table: ReviewTable
    committed: np.ndarray
    painted: dict[str, np.ndarray]


class KeptReviews:
    """Keeps the review of each layer as long as the layer is there.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where the layers are.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._kept: dict[Hashable, KeptReview] = {}
        self._connections = Connections((viewer.layers.events.removed, self._on_layer_removed))

    def shut_down(self) -> None:
        """Let go of the viewer."""
        self._connections.release()

    @property
    def hold_work(self) -> bool:
        """Whether a person edited or locked any of these masks."""
        return any(kept.table.settled_frames for kept in self._kept.values())

    def keep(self, tracker: EditTracker) -> None:
        """Keep what a tracker knows of its layer, unless that is gone."""
        layer = tracker.layer
        if layer in self._viewer.layers:
            known = KeptReview(layer.data, tracker.table, tracker.committed, tracker.painted_cells())
            self._kept[layer.unique_id] = known

    def of(self, layer: Labels) -> KeptReview | None:
        """Return what was kept of a layer; None if that is nothing, or the layer has other data now."""
        kept = self._kept.get(layer.unique_id)
        return kept if kept is not None and kept.data is layer.data else None

    def forget(self, layer: Labels) -> None:
        """Keep nothing of a layer, because a run wrote its masks anew."""
        self._kept.pop(layer.unique_id, None)

    def _on_layer_removed(self, event: Any) -> None:
        self._kept.pop(event.value.unique_id, None)
