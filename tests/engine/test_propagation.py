"""Truth carried along the motion: it arrives where things went, whatever frames are asked for before."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.guidance import Guidance
from napari_appearrefine.core.labels import object_areas
from napari_appearrefine.engine.boxes import whole
from napari_appearrefine.engine.interface import ClipInputs
from napari_appearrefine.engine.object_masks import Plane
from napari_appearrefine.engine.propagation import REACH, TruthAlongMotion
from napari_appearrefine.engine.reuse import Reuse, RunStore
from napari_appearrefine.engine.trust import with_say

FRAMES, TRUE, SIZE, STEP = 40, 18, (96, 160), 2


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A view that moves over a textured plane by two pixels a frame, and the labels of a thing on it."""
    rng = np.random.default_rng(0)
    plane = cv2.GaussianBlur(rng.uniform(0, 255, (SIZE[0], SIZE[1] + STEP * FRAMES)).astype(np.float32), (0, 0), 2)
    plane = cv2.normalize(plane, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    thing = np.zeros(plane.shape, np.uint8)
    thing[30:60, 95:130] = 1
    views = [slice(STEP * frame, STEP * frame + SIZE[1]) for frame in range(FRAMES)]
    video, labels = (np.stack([each[:, view] for view in views]) for each in (plane, thing))
    return np.repeat(video[..., None], 3, axis=3), labels


def carried(
    scene: tuple[np.ndarray, np.ndarray], asked: list[int], threads: int
) -> tuple[dict[int, np.ndarray], list[int], Reuse]:
    """Return what truth has to say in the frames asked for, which images were read, and the run."""
    video, labels = scene
    clip, read = Clip(video), []
    reuse = RunStore().start(None, clip)
    guidance = Guidance(truth={1: frozenset({TRUE})})
    inputs = ClipInputs(clip, labels, object_areas(labels), reuse.prepare_features, reuse, guidance=guidance)

    def image_of(frame: int) -> np.ndarray:
        read.append(frame)
        return video[frame]

    truth = TruthAlongMotion(inputs, image_of, lambda frame, _: labels[frame].astype(np.float32), threads)
    return {frame: truth.say(frame)[0] for frame in asked}, read, reuse


def test_truth_arrives_where_things_went(scene):
    near = [frame for frame in range(TRUE - REACH, TRUE + REACH + 1) if frame != TRUE]
    say, _, reuse = carried(scene, near, 2)
    assert reuse.computed["flow"] == 2 * REACH
    for frame in near:
        assert say[frame].dtype == np.float32
        inside = scene[1][frame] == 1
        assert np.count_nonzero((say[frame] > 0) & inside) / np.count_nonzero((say[frame] > 0) | inside) > 0.9


@pytest.mark.parametrize("frame", [TRUE - REACH, TRUE - 3, TRUE + 1, TRUE + 6, TRUE + REACH])
def test_what_truth_says_does_not_depend_on_what_was_asked_before(scene, frame):
    near = [other for other in range(frame + 1) if 0 < abs(other - TRUE) <= REACH]
    one_by_one, _, _ = carried(scene, near, 2)
    at_once, read, _ = carried(scene, [frame], 1)
    assert np.array_equal(one_by_one[frame], at_once[frame])
    assert read[::2] == sorted(read[::2])


def test_frames_beyond_the_reach_hear_nothing(scene):
    with pytest.raises(KeyError):
        carried(scene, [TRUE + REACH + 1], 1)


def test_what_was_said_is_cut_to_where_the_object_may_be():
    size = (160, 224)
    values = np.zeros(size, np.float32)
    values[40:60, 50:80] = 0.9
    elsewhere = np.full(size, -1, np.float32)
    told = with_say(Plane(whole(size), values), elsewhere, size)
    assert told is not None
    assert told.box.shape < size
    assert told.on(size)[40:60, 50:80] == pytest.approx(1 / (1 + np.exp(1) / 9), abs=1e-4)
    assert (told.on(size) > 0.01).sum() == 20 * 30
    assert with_say(None, elsewhere, size) is None
    there = elsewhere.copy()
    there[100:120, 10:30] = 16
    found = with_say(None, there, size)
    assert found is not None
    assert np.array_equal(found.on(size) > 0.5, there > 0)
