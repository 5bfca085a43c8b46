"""Masks carried along: who gets which labels, from where, and what a damaged clip gains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from published_reference import filled
from safetensors.torch import save_file

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.events import FrameLabels, Progress, Report
from napari_appearrefine.core.labels import object_areas
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine.checkpoints import DINO8
from napari_appearrefine.engine.interface import ClipInputs
from napari_appearrefine.engine.label_propagation import NEIGHBOURHOOD, PropagationModel, Tokens
from napari_appearrefine.engine.refinement import refine
from napari_appearrefine.engine.reuse import RunStore
from napari_appearrefine.files.samples import open_sample

ROWS, COLUMNS, CELL = 10, 30, 4


class Unasked:
    """A judge that nobody asks."""

    name = "unasked"
    spreads_exemplars = True
    most_rounds = 1

    def features(self, image: np.ndarray) -> Any:
        return None


def colour_tokens(image: np.ndarray, _base: Any) -> Tokens:
    """Three numbers a cell: those of its colour."""
    cells = cv2.resize(image, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
    return Tokens(torch.nn.functional.normalize(torch.from_numpy(cells), dim=1), (ROWS, COLUMNS))


def cells(frames: int) -> np.ndarray:
    """(T, Y, X, 3) uint8 of green ground, as large cells."""
    video = np.zeros((frames, ROWS, COLUMNS, 3), np.uint8)
    video[..., 1] = 200
    return video


def grown(planes: np.ndarray) -> np.ndarray:
    return planes.repeat(CELL, axis=1).repeat(CELL, axis=2)


def carried(video: np.ndarray, masks: np.ndarray, exemplars: dict[int, list[int]]) -> np.ndarray:
    """Labels of every frame, one pixel a cell."""
    model = PropagationModel(Unasked(), colour_tokens)
    clip = Clip(grown(video))
    reuse = RunStore().start(model, clip)
    inputs = ClipInputs(clip, grown(masks), object_areas(masks), reuse.prepare_features, reuse)
    events = list(model.correct(inputs, np.zeros((len(video), len(exemplars))), exemplars))
    progress = [event for event in events if isinstance(event, Progress)]
    frames = [event for event in events if isinstance(event, FrameLabels)]
    assert events == [*progress, *frames]
    assert [event.frame for event in frames] == list(range(len(video)))
    return np.stack([event.labels[CELL // 2 :: CELL, CELL // 2 :: CELL] for event in frames])


def test_a_mask_follows_its_object_forwards_and_backwards() -> None:
    video, truth = cells(12), np.zeros((12, ROWS, COLUMNS), np.uint8)
    for frame in range(12):
        truth[frame, 3:7, 2 + frame : 7 + frame] = 7
        video[frame][truth[frame] == 7] = (200, 0, 0)
    only_one = truth.copy()
    only_one[np.arange(12) != 5] = 0
    np.testing.assert_array_equal(carried(video, only_one, {7: [5]}), truth)


def test_objects_keep_to_their_own_exemplars() -> None:
    video, truth = cells(4), np.zeros((4, ROWS, COLUMNS), np.uint8)
    truth[:, 1:4, 2:8], truth[:, 6:9, 12:18] = 1, 2
    video[truth == 1], video[truth == 2] = (200, 0, 0), (0, 0, 200)
    damaged = truth.copy()
    damaged[0][truth[0] == 2] = 0
    damaged[3][truth[3] == 1] = 0
    np.testing.assert_array_equal(carried(video, damaged, {1: [0], 2: [3]}), truth)


def test_in_its_exemplars_an_object_keeps_every_pixel() -> None:
    video = cells(2)
    masks = np.zeros((2, ROWS * CELL, COLUMNS * CELL), np.uint8)
    masks[0, 5, 7] = masks[0, 9:30, 33:50] = 1
    clip = Clip(grown(video))
    model = PropagationModel(Unasked(), colour_tokens)
    reuse = RunStore().start(model, clip)
    inputs = ClipInputs(clip, masks, object_areas(masks), reuse.prepare_features, reuse)
    events = model.correct(inputs, np.zeros((2, 1)), {1: [0]})
    frames: Iterator[FrameLabels] = (event for event in events if isinstance(event, FrameLabels))
    np.testing.assert_array_equal(next(frames).labels, masks[0])


@pytest.mark.parametrize(("jump", "found"), [(NEIGHBOURHOOD, True), (NEIGHBOURHOOD + 1, False)])
def test_likeness_is_looked_for_in_the_neighbourhood_alone(jump: int, found: bool) -> None:
    video, masks = cells(2), np.zeros((2, ROWS, COLUMNS), np.uint8)
    masks[0, 4, 3] = 1
    video[0, 4, 3] = video[1, 4, 3 + jump] = (200, 0, 0)
    # Of five likenesses four are ground, but they are so unlike that they have no say.
    assert carried(video, masks, {1: [0]})[1, 4, 3 + jump] == int(found)


def test_what_was_hidden_for_longer_than_the_past_comes_back_from_its_exemplar() -> None:
    video, truth = cells(14), np.zeros((14, ROWS, COLUMNS), np.uint8)
    truth[0, 3:7, 5:10] = truth[12:, 3:7, 8:13] = 1
    video[truth == 1] = (200, 0, 0)
    only_first = truth * (np.arange(14) == 0)[:, None, None].astype(np.uint8)
    np.testing.assert_array_equal(carried(video, only_first, {1: [0]}), truth)


@pytest.mark.parametrize("features", ["builtin", "dino"])
def test_a_damaged_clip_is_repaired(features: str, tmp_path) -> None:
    whole, masks = open_sample("crossing")
    clip, truth = whole.part(range(3)), np.stack([masks[frame] for frame in range(3)])
    damaged = truth.copy()
    damaged[1] = np.where(truth[1] == truth.max(), 0, truth[1])
    dino8 = None
    if features == "dino":
        dino8 = tmp_path / "dino8.safetensors"
        save_file(filled(DINO8).state_dict(), dino8)
    parameters = RefineParameters(corrector="propagate", device="cpu", exemplars=2, dino8=dino8)
    events = list(refine(clip, damaged, parameters))
    report = events[-1]
    assert isinstance(report, Report)
    assert report.model == "builtin, propagated"
    labels = np.stack([event.labels for event in events if isinstance(event, FrameLabels)])
    lost = truth == truth.max()
    overlap = (labels[1] == truth.max())[lost[1]].mean()
    # DINO's weights are noise here: it runs, and finds what hardly moved; the built-in features find it well.
    assert overlap > (0.8 if features == "builtin" else 0.3)
