"""The refinement of a whole clip: score every mask, choose exemplars, correct every frame."""

from __future__ import annotations

import time
from collections.abc import Iterator

from .. import __version__
from ..core.clip import Clip, FrameSource
from ..core.errors import UserError
from ..core.events import Event, Progress, Report
from ..core.labels import check_masks, object_areas
from ..core.parameters import RefineParameters
from .device import pick_device
from .interface import ClipInputs, FeatureCache, RefinementModel
from .selection import select_exemplars


def load_model(parameters: RefineParameters) -> RefinementModel:
    """Load the model that the parameters name.

    Raises
    ------
    UserError
        If a checkpoint is missing or is not what it should be, or the device is not there.
    """
    device = pick_device(parameters.device)
    if parameters.model == "published":
        from .published import PublishedModel

        return PublishedModel.load(parameters, device)
    from .builtin import BuiltinModel

    return BuiltinModel.load(device)


def refine(
    clip: Clip,
    masks: FrameSource,
    parameters: RefineParameters | None = None,
    *,
    model: RefinementModel | None = None,
    masks_name: str = "masks",
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

    Yields
    ------
    Progress, FrameLabels, Report
        Progress of each stage, the labels of each frame once, and the report at the end. Closing
        the generator cancels; what was yielded stays valid.

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
    model = (model or load_model(parameters)).fitted_to(clip.size, areas)
    cache = FeatureCache(lambda frame: model.features(clip.rgb(frame)), _bytes_of)
    inputs = ClipInputs(clip, masks, areas, cache, masks_name)

    scores = yield from model.score(inputs)
    exemplars = select_exemplars(scores, areas, parameters.exemplars, model.spreads_exemplars)
    yield Progress("Correcting frames", 0, len(clip))
    for done, result in enumerate(model.correct(inputs, scores, exemplars), start=1):
        yield result
        yield Progress("Correcting frames", done, len(clip))
    yield Report(
        frames=len(clip),
        objects=list(areas),
        scores=[[round(float(score), 6) for score in row] for row in scores],
        exemplars=exemplars,
        seconds=round(time.perf_counter() - started, 3),
        model=model.name,
        device=pick_device(parameters.device).type,
        version=__version__,
    )


def _bytes_of(features: object) -> int:
    if isinstance(features, dict):
        return sum(_bytes_of(value) for value in features.values())
    if isinstance(features, list | tuple):
        return sum(_bytes_of(value) for value in features)
    return int(getattr(features, "nbytes", 0))
