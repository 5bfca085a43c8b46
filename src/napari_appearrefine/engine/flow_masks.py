"""Masks from motion: flow, the moving pixels, objects with ids through time, labels of the video's size."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial

import cv2
import numpy as np
import torch

from .. import __version__
from ..core.clip import Clip, check_clip, spread_frames
from ..core.errors import UserError
from ..core.events import Event, FrameLabels, Progress, Report
from ..core.labels import label_dtype
from ..core.parameters import FlowMaskParameters
from .boxes import box_around
from .clip_looks import ClipLooks, Shown
from .colour_edges import Edges, Picture, by_colour
from .device import pick_device, shared_threads
from .expectation import remember_flow_masks
from .flow import working_size
from .flow_sources import flow_between_from, flow_between_measured, flow_sequence, measured_flow
from .foreground import ForegroundModel, ThresholdForeground
from .hidden_parts import hidden_parts
from .merging import render_labels, render_planes
from .motion_cues import FlowBetween, MotionCues, iterate_motion_cues
from .object_masks import Plane, coverage_of_all
from .oclr_objects import PackedLayers, collect_planes
from .regions import Patch
from .side_by_side import side_by_side
from .spool import Spool
from .temporal import Found, steady
from .track_choice import ShownIds, choose_objects
from .track_looks import part_exchanged
from .tracking import Tracker
from .tracks import Track, motions_of_objects
from .whole_shapes import WholeShapes

_OUTLINE_BLUR = 0.7
_LEAST_SHOWN, _MARGIN = 0.3, 8
_SURE_INSIDE, _SURE_OUTSIDE = 0.6, 0.4
_TEACHING_FRAMES = 100


def flow_masks(
    clip: Clip,
    parameters: FlowMaskParameters | None = None,
    *,
    foreground: ForegroundModel | None = None,
) -> Iterator[Event]:
    """Compute masks of the objects that move by themselves.

    Parameters
    ----------
    clip : Clip
        The video, at least two frames.
    parameters : FlowMaskParameters, optional
        Settings; the built-in model by default.
    foreground : ForegroundModel, optional
        What finds moving pixels, instead of loading the built-in network.

    Yields
    ------
    Progress, FrameLabels, Report
        Progress while motion is measured, then the labels of each frame in order, and the report.
        Ids 1, 2, ... go to the objects in order of prominence.

    Raises
    ------
    UserError
        If the video has a single frame, nothing moves in it, a checkpoint or flow file is
        unusable, or the device is not there.
    """
    started = time.perf_counter()
    parameters = parameters or FlowMaskParameters()
    check_clip(clip)
    if len(clip) < 2:
        raise UserError(f"{clip.name} has only one frame, so there is no motion to see; import or paint masks instead.")
    device = pick_device(parameters.device)
    if parameters.model == "oclr":
        name, objects = "oclr", (yield from _oclr_masks(clip, parameters, device))
    else:
        model = foreground or load_foreground(device)
        name, objects = model.name, (yield from _tracked_masks(clip, parameters, model, device))
    seconds = time.perf_counter() - started
    remember_flow_masks(clip, parameters, seconds)
    yield Report(
        frames=len(clip),
        objects=objects,
        scores=[],
        exemplars={},
        seconds=round(seconds, 3),
        model=name,
        device=device.type,
        version=__version__,
    )


def load_foreground(device: torch.device) -> ForegroundModel:
    """Load the built-in motion network, or the threshold where its weights are not installed."""
    from .builtin_motion import load_motion_network

    try:
        network: ForegroundModel = load_motion_network(device)
    except FileNotFoundError:
        return ThresholdForeground()
    return network


def _tracked_masks(
    clip: Clip, parameters: FlowMaskParameters, model: ForegroundModel, device: torch.device
) -> Generator[Event, None, list[int]]:
    size = working_size(clip.size)
    given = _given_flow(clip, parameters, device, size)
    tracker = Tracker()
    yield Progress("Measuring motion", 0, len(clip))

    def prepare(seen: tuple[int, np.ndarray, MotionCues]) -> Callable[[], Found]:
        _, image, cues = seen
        return lambda: Found(model.foreground(image, cues), cues)

    with (
        shared_threads(device) as others,
        closing(iterate_motion_cues(clip, size=size, flow_between=given, workers=others)) as cues_of_frames,
        closing(side_by_side(cues_of_frames, prepare, device)) as found,
    ):
        for frame, (foreground, cues) in enumerate(steady(steady(found))):
            tracker.advance(foreground.probability, cues, foreground.features)
            yield Progress("Measuring motion", frame + 1, len(clip))
    tracks = part_exchanged(tracker.tracks, tracker.looks)
    chosen = choose_objects(
        tracks, tracker.neighbourhoods, tracker.absorptions, len(clip), parameters.objects, tracker.looks
    )
    if not chosen:
        raise _nothing_moves(clip)
    ids, rests = ShownIds(tracks, chosen), _rests(tracks, chosen)
    yield Progress("Writing masks", 0, len(clip))

    def shown(frame: int) -> Shown:
        return _shown(tracker, frame, ids, rests.get(frame, []))

    teaching = spread_frames(len(clip), _TEACHING_FRAMES)
    looks = ClipLooks.learn(map(shown, teaching), ids.objects) if tracker.features else None

    def draw(frame: int) -> Callable[[], np.ndarray]:
        image = clip.rgb(frame)
        return lambda: _frame_labels(shown(frame), looks, image)

    with closing(side_by_side(range(len(clip)), draw, device)) as drawn:
        if parameters.amodal:
            motions = motions_of_objects(tracks, chosen, len(clip))
            yield from _with_hidden_parts(drawn, motions, ids.objects, size)
        else:
            for frame, labels in enumerate(drawn):
                yield FrameLabels(frame, labels.astype(label_dtype(ids.objects)))
                yield Progress("Writing masks", frame + 1, len(clip))
    return ids.objects


def _with_hidden_parts(
    drawn: Iterable[np.ndarray], motions: np.ndarray, objects: Sequence[int], size: tuple[int, int]
) -> Iterator[Event]:
    """Complete each frame's labels by the whole shapes of the objects; what hides them later is asked as well."""
    seen, small = Spool(), Spool()
    for frame, labels in enumerate(drawn):
        seen.append(labels.astype(label_dtype(objects)))
        small.append(cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST))
        yield Progress("Drawing masks", frame + 1, len(motions))
    for frame, depth in enumerate(hidden_parts(small, motions, objects)):
        labels = seen[frame]
        yield FrameLabels(frame, labels, whole=depth.whole(labels), front_to_back=depth.front_to_back)
        yield Progress("Writing masks", frame + 1, len(motions))


def _oclr_masks(clip: Clip, parameters: FlowMaskParameters, device: torch.device) -> Generator[Event, None, list[int]]:
    from .checkpoints import OCLR
    from .oclr_masks import OclrModel
    from .weights_store import stored_weights

    checkpoint = parameters.checkpoint or stored_weights(OCLR)
    if checkpoint is None:
        raise UserError(
            f"--model oclr needs OCLR's checkpoint: download it from {OCLR.source}, then name its file with "
            "--checkpoint, or keep it for good with napari-appearrefine weights add oclr FILE."
        )
    model = OclrModel.load(checkpoint, device)
    source = parameters.flow_root or measured_flow(clip, parameters.flow, device)
    to_next, to_previous = (flow_sequence(clip, gap, source) for gap in (1, -1))
    yield Progress("Measuring motion", 0, len(clip))
    packed = yield from collect_planes(model.frames(to_next, to_previous), len(clip), parameters.objects)
    objects: set[int] = set()
    yield Progress("Writing masks", 0, len(clip))
    for frame, layers in enumerate(packed):
        labels = layers.labels.unpack()
        present = [int(object_id) for object_id in np.unique(labels) if object_id]
        objects |= set(present)
        planes = {object_id: (labels == object_id).astype(np.float32) for object_id in present}
        rendered = render_labels(planes, clip.size)
        if parameters.amodal:
            whole = WholeShapes(list(layers.whole), partial(_whole_shape, layers, clip.size))
            yield FrameLabels(frame, rendered, whole=whole, front_to_back=layers.front_to_back)
        else:
            yield FrameLabels(frame, rendered)
        yield Progress("Writing masks", frame + 1, len(clip))
    if not objects:
        raise _nothing_moves(clip)
    return sorted(objects)


def _given_flow(
    clip: Clip, parameters: FlowMaskParameters, device: torch.device, size: tuple[int, int]
) -> FlowBetween | None:
    if parameters.flow_root is not None:
        return flow_between_from(parameters.flow_root, clip, size)
    if parameters.flow == "dis":
        return None  # measured by the cues themselves, at their own size
    return flow_between_measured(measured_flow(clip, parameters.flow, device), size)


def _whole_shape(layers: PackedLayers, size: tuple[int, int], object_id: int) -> np.ndarray:
    return render_labels({1: layers.whole[object_id].unpack().astype(np.float32)}, size).astype(bool)


def _nothing_moves(clip: Clip) -> UserError:
    return UserError(f"Nothing moves by itself in {clip.name}; import or paint masks instead of computing them.")


def _rests(tracks: Sequence[Track], chosen: Mapping[int, int]) -> dict[int, list[tuple[int, Patch]]]:
    rests: dict[int, list[tuple[int, Patch]]] = {}
    for track in tracks:
        if track.id in chosen:
            for frame, patch in track.rests:
                rests.setdefault(frame, []).append((chosen[track.id], patch))
    return rests


def _shown(tracker: Tracker, frame: int, ids: ShownIds, rests: Sequence[tuple[int, Patch]]) -> Shown:
    labels = ids.at(frame)[tracker.labels[frame]]
    for object_id, patch in rests:
        patch.paint(labels, object_id, only_where=0)
    probability = tracker.probabilities[frame].astype(np.float32) / 255
    if not tracker.features:
        return Shown(labels, probability, np.zeros((0, 1, 1), np.float32), np.zeros((1, 1), np.float32))
    return Shown(labels, probability, tracker.features[frame], tracker.moving[frame][0])


def _frame_labels(shown: Shown, looks: ClipLooks | None, image: np.ndarray) -> np.ndarray:
    if looks is not None:
        shown = looks.applied(shown)
    labels = shown.labels
    planes = {}
    for object_id in np.unique(labels[labels > 0]):
        inside = labels == object_id
        plane = np.where(
            inside, np.maximum(shown.probability, _SURE_INSIDE), np.minimum(shown.probability, _SURE_OUTSIDE)
        )
        plane[(labels > 0) & ~inside] = 0
        plane = cv2.GaussianBlur(plane, (0, 0), _OUTLINE_BLUR)
        box = box_around(plane > _LEAST_SHOWN, _MARGIN)
        if box is not None:
            planes[int(object_id)] = Plane(box, plane[box.at()])
    grid, size = labels.shape, (image.shape[0], image.shape[1])
    picture, covered = Picture.of(image, grid), coverage_of_all(list(planes.values()), grid)
    coloured = {key: by_colour(plane, picture, covered) for key, plane in planes.items()}
    edges = Edges(picture, dict.fromkeys(coloured, 1.0))
    return render_planes(coloured, grid, size, edges)
