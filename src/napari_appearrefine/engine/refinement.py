"""The refinement of a whole clip: score every mask, choose exemplars, correct every frame."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..core.clip import Clip, FrameSource
from ..core.errors import UserError
from ..core.events import Event, Progress, Report
from ..core.guidance import Guidance, MasksWithTruth
from ..core.labels import check_masks, object_areas
from ..core.parameters import RefineParameters
from .device import pick_device
from .expectation import remember_refinement
from .interface import ClipInputs, RefinementModel
from .resources import resources
from .retreat import RetreatingModel
from .reuse import RunStore
from .rounds import Outcome, correct_in_rounds
from .selection import with_true_scores

if TYPE_CHECKING:
    import torch

    from .builtin import BuiltinModel
    from .published import PublishedModel


def load_model(parameters: RefineParameters) -> RefinementModel:
    """Load the model that the parameters name.

    Raises
    ------
    UserError
        If a checkpoint is missing or is not what it should be, or the device is not there.
    """
    device = pick_device(parameters.device)
    model = _loaded(parameters, device)
    if device.type == "cpu":
        return model
    return RetreatingModel(model, lambda: _loaded(parameters, pick_device("cpu")))


def _loaded(parameters: RefineParameters, device: torch.device) -> RefinementModel:
    if parameters.model == "published":
        from .published import PublishedModel

        judge: BuiltinModel | PublishedModel = PublishedModel.load(parameters, device)
    else:
        from .builtin import BuiltinModel

        judge = BuiltinModel.load(device)
    return with_other_repair(judge, parameters, device)


def with_other_repair(
    judge: BuiltinModel | PublishedModel, parameters: RefineParameters, device: torch.device
) -> RefinementModel:
    """Return the model with the corrector and the edges that the parameters name: itself if they are its own.

    Raises
    ------
    UserError
        If a checkpoint or a package that they need is missing, or not what it should be.
    """
    model: RefinementModel = judge
    if parameters.corrector == "propagate":
        from .label_propagation import propagation_model

        model = propagation_model(judge, parameters, device)
    if parameters.edges == "sam":
        from .sam_edges import SamEdges, SamEdgesModel

        model = SamEdgesModel(model, SamEdges.load(parameters.sam_checkpoint, device))
    return model


def refine(
    clip: Clip,
    masks: FrameSource,
    parameters: RefineParameters | None = None,
    *,
    model: RefinementModel | None = None,
    masks_name: str = "masks",
    guidance: Guidance | None = None,
    store: RunStore | None = None,
) -> Iterator[Event]:
    """Refine the masks of a clip.

    Parameters
    ----------
    clip : Clip
        The video.
    masks : FrameSource
        (T, Y, X) label maps, 0 for background; any integer dtype.
    parameters : RefineParameters, optional
        Settings; the built-in model by default.
    model : RefinementModel, optional
        A loaded model to use again instead of loading one.
    masks_name : str
        What to call the masks in messages.
    guidance : Guidance, optional
        What a person decided: exemplars pinned and banned, masks that are true, masks that are locked.
        The pixels of an object in a frame where it is true or locked come out exactly as they went in.
    store : RunStore, optional
        Keeps the model, features and results for the next run of this process, which then computes only
        what depends on what changed. The result is the same with and without.

    Yields
    ------
    Progress, FrameLabels, Report
        Progress of each stage, the labels of each frame, and the report at the end. A frame comes once a
        round of the correction; the last one counts. Closing the generator cancels; what was yielded stays valid.

    Raises
    ------
    UserError
        If masks and clip do not belong together, no mask holds an object, or a checkpoint is unusable.
    """
    started = time.perf_counter()
    parameters = parameters or RefineParameters()
    check_masks(masks, clip, masks_name)
    yield Progress("Reading masks", 0, 1)
    areas = object_areas(masks, masks_name)
    if not areas:
        raise UserError(f"{masks_name} holds no object in any frame; paint or import at least one mask first.")
    # Results in memory are for the next run.
    store = store or RunStore(result_bytes=0)
    available = resources(parameters)
    model = model or store.model(parameters, load_model)
    # Rough masks decide about the grid and the scores where they are known: so a person's edits leave both valid.
    judged = masks.rough if isinstance(masks, MasksWithTruth) else masks
    judged_areas = areas if judged is masks else object_areas(judged, masks_name)
    model = model.fitted_to(clip.size, judged_areas or areas)
    store.areas = judged_areas or areas
    with closing(store.start(model, clip, available)) as reuse:
        store.computed, store.reused = reuse.computed, reuse.reused
        guidance = _checked(guidance or Guidance(), len(clip))
        inputs = ClipInputs(clip, masks, areas, reuse.prepare_features, reuse, masks_name, guidance)
        rough_areas = {object_id: area for object_id, area in judged_areas.items() if object_id in areas}
        rough = replace(inputs, masks=judged, areas=rough_areas, guidance=guidance.without_settled())
        scores = yield from _scores(model, inputs, rough)
        rounds = min(parameters.rounds, model.most_rounds)
        outcome = yield from correct_in_rounds(model, inputs, rough, scores, parameters.exemplars, rounds)
    scores = with_true_scores(scores, inputs.object_ids, guidance)
    known = not np.isnan(outcome.quality).all()
    seconds = time.perf_counter() - started
    if model.name.startswith(parameters.model) and not (reuse.reused["score"] or reuse.reused["correction"]):
        remember_refinement(clip, len(areas), replace(parameters, rounds=outcome.rounds), seconds)
    yield Report(
        frames=len(clip),
        objects=list(areas),
        scores=_rounded(scores),
        exemplars=outcome.exemplars,
        seconds=round(seconds, 3),
        model=model.name,
        device=pick_device(parameters.device).type,
        version=__version__,
        quality=_rounded(outcome.quality) if known else [],
        input_quality=_rounded(_in_hindsight(scores, outcome)) if known else [],
        details={
            "guidance": guidance.to_json(),
            "rounds": outcome.rounds,
            **_uncertainty(model, scores),
            **({"notices": notices} if (notices := getattr(model, "notices", None)) else {}),
        },
    )


def _rounded(values: np.ndarray) -> list[list[float]]:
    return [[round(float(value), 6) for value in row] for row in values]


def _in_hindsight(scores: np.ndarray, outcome: Outcome) -> np.ndarray:
    """Estimate the IoU of each input mask from what came of it, (T, Q); as it was scored where nothing did."""
    return np.where(np.isnan(outcome.quality), scores, outcome.agreement * outcome.quality)


def _uncertainty(model: RefinementModel, scores: np.ndarray) -> dict[str, list[list[float]]]:
    """Return how unsure the scores are, (frames, objects), if the model can tell."""
    measure = getattr(model, "uncertainty", None)
    if measure is None:
        return {}
    return {"uncertainty": [[round(float(spread), 4) for spread in row] for row in measure(scores)]}


def _checked(guidance: Guidance, frames: int) -> Guidance:
    for mark in fields(guidance):
        title = "true" if mark.name == "truth" else mark.name
        for object_id, marked in getattr(guidance, mark.name).items():
            outside = [frame for frame in marked if not 0 <= frame < frames]
            if outside:
                raise UserError(
                    f"Frame {outside[0]} is {title} for object {object_id}, but the video ends at frame {frames - 1}; "
                    "remove that mark."
                )
    return guidance


def _scores(model: RefinementModel, inputs: ClipInputs, rough: ClipInputs) -> Generator[Progress, None, np.ndarray]:
    """Judge the rough masks, which may be others than those that are refined; an object that is not in them gets 0."""
    scores = np.zeros((len(inputs.clip), len(inputs.areas)), np.float32)
    if rough.areas:
        slots = [inputs.object_ids.index(object_id) for object_id in rough.areas]
        scores[:, slots] = yield from model.score(rough)
    return scores
