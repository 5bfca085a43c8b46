"""Why a frame's mask is what it is, and where it is likely wrong - for one frame, without a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ..core.clip import Clip, FrameSource
from ..core.errors import UserError
from ..core.guidance import Guidance
from ..core.labels import check_masks, object_areas
from ..core.parameters import RefineParameters
from .interface import ClipInputs, RefinementModel
from .object_masks import Plane
from .refinement import load_model
from .resources import resources
from .reuse import RunStore


@dataclass(frozen=True)
class Explanation:
    """What a model thinks of the masks of one frame.

    Parameters
    ----------
    frame : int
        Index of the frame.
    masks : ndarray
        (Y, X) its labels.
    likely : dict of int to Plane or None
        Object id to the probability that a pixel of the frame belongs to it, above 0.5 where a round of correction
        would have it so; None if the model sees nothing of it.
    influence : dict of int to dict of int to float
        Object id to exemplar frame to its share of the evidence that speaks for the object in this
        frame; the shares of an object sum to 1.
    """

    frame: int
    masks: np.ndarray
    likely: dict[int, Plane | None]
    influence: dict[int, dict[int, float]]

    def too_much(self, object_id: int) -> np.ndarray:
        """Return the probability that a pixel of the mask of an object is not its own, (Y, X) float32; 0 elsewhere."""
        return np.where(self.masks == object_id, 1 - self._probability(object_id), np.float32(0))

    def too_little(self, object_id: int) -> np.ndarray:
        """Return the probability that a pixel outside of an object's mask belongs to it, (Y, X) float32; 0 inside."""
        return np.where(self.masks == object_id, np.float32(0), self._probability(object_id))

    def _probability(self, object_id: int) -> np.ndarray:
        plane, height, width = self.likely[object_id], *self.masks.shape
        return np.zeros(self.masks.shape, np.float32) if plane is None else plane.on((height, width))


def explain_frame(
    clip: Clip,
    masks: FrameSource,
    frame: int,
    exemplars: Mapping[int, Sequence[int]],
    scores: Sequence[Sequence[float]] | np.ndarray,
    parameters: RefineParameters | None = None,
    *,
    model: RefinementModel | None = None,
    masks_name: str = "masks",
    guidance: Guidance | None = None,
    store: RunStore | None = None,
    areas: Mapping[int, np.ndarray] | None = None,
) -> Explanation:
    """Explain one frame by the exemplars of the last run, as one round of correction would repair it now.

    Only the exemplars, the frame and what a person made true since are read. What is locked or true in the frame
    itself is explained like the rest, although a run would leave it as it is.

    Parameters
    ----------
    clip, masks, parameters, model, masks_name, guidance, store
        As of :func:`engine.refinement.refine`; with the store of that run this takes a fraction of a second.
    frame : int
        Index of the frame.
    areas : mapping of int to ndarray, optional
        Object id to (T,) areas of the masks, from :func:`core.labels.object_areas`; those of the last run of
        the store if not given, and counted, which reads all masks, if there is none.
    exemplars : mapping of int to sequence of int
        Object id to frames, from the run's report; the objects are those named here. What ``guidance`` says by now
        about exemplars counts as well.
    scores : (T, Q) floats
        From the run's report, columns in the order of ``exemplars``.

    Raises
    ------
    UserError
        If masks and clip do not belong together, or the model cannot tell.
    """
    parameters, guidance = parameters or RefineParameters(), guidance or Guidance()
    check_masks(masks, clip, masks_name)
    store = store or RunStore(result_bytes=0)
    model = model or store.model(parameters, load_model)
    if areas is None:
        areas = store.areas
    known = object_areas(masks, masks_name) if areas is None else areas
    nothing = np.zeros(len(clip), np.int64)
    areas = {object_id: known.get(object_id, nothing) for object_id in exemplars}
    model = model.fitted_to(clip.size, areas)
    explain = getattr(model, "explain", None)
    if explain is None:
        raise UserError(f"The model {model.name} does not tell where it expects faults; choose the built-in one.")
    with closing(store.start(model, clip, resources(parameters))) as reuse:
        inputs = ClipInputs(clip, masks, areas, reuse.prepare_features, reuse, masks_name, guidance)
        teaching = {
            key: sorted({*frames, *guidance.exemplars_of(key)} - guidance.banned.get(key, frozenset()))
            for key, frames in exemplars.items()
        }
        repair, influence = explain(inputs, frame, np.asarray(scores), teaching)
        likely = {object_id: repair.likely(object_id) for object_id in inputs.object_ids}
        return Explanation(frame, inputs.labels(frame), likely, influence)
