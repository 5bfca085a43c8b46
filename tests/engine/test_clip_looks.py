"""Looks learnt from a clip's own masks: what is wrong in some frames is mended, look-alikes are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_appearrefine.engine.clip_looks import ClipLooks, Shown, _forward, _gradients

SIZE, STRIDE, CHANNELS, FRAMES = (128, 192), 8, 6, 12
LEFT, STEP, WIDTH = 8, 6, 64
GROUND, RED, GREEN = np.eye(CHANNELS)[:3]


def clip(looks: Sequence[np.ndarray], seed: int = 0) -> tuple[list[Shown], list[np.ndarray]]:
    """Return frames as motion shows them, rightly, and the truth: rectangles that go to the right, one an object."""
    rng = np.random.default_rng(seed)
    frames, truths = [], []
    for frame in range(FRAMES):
        labels = np.zeros(SIZE, np.int32)
        height = SIZE[0] // len(looks)
        for index in range(len(looks)):
            top, left = index * height + height // 4, LEFT + STEP * frame
            labels[top : top + height // 2, left : left + WIDTH] = index + 1
        colours = np.array([GROUND, *looks])[labels]
        features = colours.reshape(SIZE[0] // STRIDE, STRIDE, SIZE[1] // STRIDE, STRIDE, CHANNELS).mean((1, 3))
        features = (3 * features + rng.normal(scale=0.4, size=features.shape)).transpose(2, 0, 1)
        moving = np.zeros(features.shape[1:], np.float32)
        frames.append(
            Shown(labels, np.where(labels > 0, 0.95, 0.03).astype(np.float32), features.astype(np.float32), moving)
        )
        truths.append(labels)
    return frames, truths


def without(shown: Shown, missing: np.ndarray) -> Shown:
    labels, probability = shown.labels.copy(), shown.probability.copy()
    labels[missing], probability[missing] = 0, 0.1
    return replace(shown, labels=labels, probability=probability)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / max(np.count_nonzero(one | other), 1)


def test_what_motion_misses_in_some_frames_is_filled_and_what_it_adds_is_taken_away() -> None:
    frames, truths = clip([RED])
    truth = truths[5]
    missing = (truth > 0) & (np.arange(SIZE[1]) < LEFT + 5 * STEP + WIDTH // 2)
    halo = np.zeros(SIZE, bool)
    halo[40:88, LEFT + 5 * STEP + WIDTH :][:, :40] = True
    damaged = without(frames[5], missing)
    damaged.labels[halo], damaged.probability[halo] = 1, 0.7
    looks = ClipLooks.learn([*frames[:5], damaged, *frames[6:]], [1])
    mended = looks.applied(damaged)
    assert iou(damaged.labels > 0, truth > 0) < 0.5
    assert iou(mended.labels > 0, truth > 0) > 0.8
    assert mended.probability[missing].mean() > 0.6 > 0.4 > mended.probability[halo].mean()


def test_masks_that_are_right_stay_nearly_as_they_are_and_keep_their_outlines() -> None:
    frames, truths = clip([RED, GREEN])
    looks = ClipLooks.learn(frames, [1, 2])
    for shown, truth in zip(frames, truths, strict=True):
        found = looks.applied(shown)
        same = found.labels == shown.labels
        assert all(iou(found.labels == index, truth == index) > 0.9 for index in (1, 2))
        np.testing.assert_array_equal(found.probability[same], shown.probability[same])


def test_exchanged_ids_are_put_right_by_looks() -> None:
    frames, truths = clip([RED, GREEN])
    exchanged = replace(frames[5], labels=np.array([0, 2, 1], np.int32)[frames[5].labels])
    found = ClipLooks.learn([*frames[:5], exchanged, *frames[6:]], [1, 2]).applied(exchanged)
    assert all(iou(found.labels == index, truths[5] == index) > 0.75 for index in (1, 2))


def test_objects_that_look_the_same_keep_the_ids_of_the_tracker() -> None:
    frames, truths = clip([RED, RED])
    looks = ClipLooks.learn(frames, [1, 2])
    for shown, truth in zip(frames, truths, strict=True):
        found = looks.applied(shown).labels
        assert np.mean(found[truth > 0] == truth[truth > 0]) > 0.95


def test_what_looks_like_an_object_elsewhere_is_left_alone() -> None:
    frames, _ = clip([RED, RED])
    moving = [without(shown, shown.labels == 2) for shown in frames]
    looks = ClipLooks.learn([replace(shown, moving=np.ones_like(shown.moving)) for shown in moving], [1])
    for shown in moving:
        found = looks.applied(shown).labels > 0
        assert found[: SIZE[0] // 2].any()
        assert not found[SIZE[0] // 2 :].any()


def test_what_moves_but_is_not_shown_does_not_teach_that_it_is_background() -> None:
    frames, truths = clip([RED])
    starts = [LEFT + STEP * frame + WIDTH // 2 for frame in range(FRAMES)]
    inside = [(truth > 0) & (np.arange(SIZE[1]) >= start) for truth, start in zip(truths, starts, strict=True)]
    hollow = [without(shown, hole) for shown, hole in zip(frames, inside, strict=True)]
    cells = [hole.reshape(16, 8, 24, 8).mean((1, 3), dtype=np.float32) for hole in inside]
    told = [replace(shown, moving=moving) for shown, moving in zip(hollow, cells, strict=True)]
    filled = [
        np.mean([looks.applied(shown).labels[hole].mean() for shown, hole in zip(shown_frames, inside, strict=True)])
        for shown_frames, looks in ((hollow, ClipLooks.learn(hollow, [1])), (told, ClipLooks.learn(told, [1])))
    ]
    assert filled[0] < 0.3 < 0.7 < filled[1]


def test_of_many_objects_all_keep_their_ids_and_take_what_is_next_to_them() -> None:
    rng = np.random.default_rng(0)
    frames, truths = clip([RED + 0.01 * rng.normal(size=CHANNELS) for _ in range(9)])
    ids = np.array([0, 3, 5, 7, 9, 11, 13, 15, 17, 19], np.int32)
    frames = [replace(shown, labels=ids[shown.labels]) for shown in frames]
    looks = ClipLooks.learn(frames, [int(value) for value in ids[1:]])
    for shown, truth in zip(frames, truths, strict=True):
        found = looks.applied(shown).labels
        both = (found > 0) & (truth > 0)
        np.testing.assert_array_equal(found[both], ids[truth][both])
        assert set(np.unique(found)) <= set(ids)


def test_the_same_frames_teach_the_same() -> None:
    frames, _ = clip([RED, GREEN])
    one, other = (ClipLooks.learn(frames, [1, 2]).applied(frames[3]) for _ in range(2))
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.probability, other.probability)


@pytest.mark.parametrize("objects", [[1], [1, 2], list(range(1, 12))])
def test_a_frame_without_objects_shows_none(objects: list[int]) -> None:
    frames, _ = clip([RED, GREEN][: len(objects)])
    looks = ClipLooks.learn(frames, objects)
    nothing = without(frames[0], frames[0].labels > 0)
    assert not looks.applied(nothing).labels.any()


def test_gradients_are_those_of_the_weighted_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    features, weights = torch.randn(64, 5, generator=generator), torch.rand(64, generator=generator)
    shares = torch.rand(64, 3, generator=generator)
    layers = [torch.randn(shape, generator=generator).requires_grad_() for shape in ((5, 8), (8,), (8, 3), (3,))]
    entropy = torch.nn.functional.cross_entropy(_forward(features, layers), shares, reduction="none")
    expected = torch.autograd.grad((entropy * weights).mean(), layers)
    found = _gradients([features, shares, weights], [layer.detach() for layer in layers])
    torch.testing.assert_close(found, list(expected))
