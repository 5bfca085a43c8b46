"""How far the selector's estimates can be believed: measured on held-out scenes whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import cv2
import numpy as np

from ..core.clip import Clip
from ..core.events import run_to_end
from ..core.labels import object_areas
from ..engine.builtin import BuiltinModel
from ..engine.calibration import Calibration
from ..engine.interface import ClipInputs
from ..engine.resources import Resources
from ..engine.reuse import Reuse, RunStore
from .batches import flow_plane, iou
from .damage import damage_clip
from .dataset import SceneSet

_SHARES = (0.15, 0.35, 0.6)
_SMALLEST = 60
_FEATURES = Resources(1 << 28)


def measure_calibration(
    model: BuiltinModel, scenes: SceneSet, rough: np.ndarray | None = None, seed: int = 0
) -> Iterator[tuple[int, Calibration | None]]:
    """Let a model judge damaged masks of scenes, and compare with their true quality.

    Parameters
    ----------
    model : BuiltinModel
        Judges; its present calibration plays no part.
    scenes : SceneSet
        Scenes that it was not trained on.
    rough : ndarray, optional
        (N, T, y / 2, x / 2) bool, what the motion network held to move in them; each object gets its part.
    seed : int
        Of the damage.

    Yields
    ------
    int, Calibration or None
        Scenes done; the calibration with the last one.
    """
    estimates: list[float] = []
    truths: list[float] = []
    for index in range(len(scenes)):
        rng = np.random.default_rng([seed, index])
        frames, truth = np.asarray(scenes.frames[index]), _of_fair_size(np.asarray(scenes.labels[index]))
        if truth.any():
            clip = Clip(_at_most(frames, scenes.frames.shape[2]), "scene")
            inputs = [damage_clip(truth, rng, share)[0] for share in _SHARES]
            if rough is not None:
                inputs.append(_from_motion(truth, rough[index]))
            with closing(RunStore(result_bytes=0).start(model, clip, _FEATURES)) as reuse:
                for masks in inputs:
                    for raw, true in _judged(model, clip, masks, truth, reuse):
                        estimates.append(raw)
                        truths.append(true)
        last = index + 1 == len(scenes)
        yield index + 1, Calibration.measured(np.array(estimates), np.array(truths)) if last else None


def _judged(
    model: BuiltinModel, clip: Clip, masks: np.ndarray, truth: np.ndarray, reuse: Reuse
) -> Iterator[tuple[float, float]]:
    areas = object_areas(masks)
    if not areas:
        return
    scores = run_to_end(model.raw_scores(ClipInputs(clip, masks, areas, reuse.prepare_features, reuse)))
    for frame in range(len(clip)):
        for slot, object_id in enumerate(areas):
            mask = masks[frame] == object_id
            if mask.any():
                yield float(scores[frame, slot]), iou(mask, truth[frame] == object_id)


def _of_fair_size(labels: np.ndarray) -> np.ndarray:
    ids, counts = np.unique(labels, return_counts=True)
    return np.where(np.isin(labels, ids[counts < _SMALLEST * len(labels)]), 0, labels)


def _from_motion(truth: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    masks = np.zeros_like(truth)
    for object_id in np.unique(truth)[1:]:
        for frame, plane in enumerate(foreground):
            masks[frame][flow_plane(plane, truth[frame], int(object_id))] = object_id
    return masks


def _at_most(frames: np.ndarray, rows: int) -> np.ndarray:
    if frames.shape[1] <= rows:
        return frames
    scale = rows / frames.shape[1]
    return np.stack([cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for frame in frames])
