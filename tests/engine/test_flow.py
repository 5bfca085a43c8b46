"""Flow, the camera's motion and the cues of a clip, on pictures whose motion is known."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.engine.camera import camera_flow, fit_camera
from napari_appearrefine.engine.flow import (
    flow_pair,
    inconsistency,
    resize_flow,
    texture,
    warp,
    working_size,
)
from napari_appearrefine.engine.motion_cues import iterate_motion_cues


def noise_picture(size: tuple[int, int], seed: int = 0, smoothness: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((*size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), smoothness)
    return np.clip(128 + smooth * (50 / smooth.std()), 0, 255).astype(np.uint8)


def panning(
    frames: int, step: tuple[int, int], size: tuple[int, int] = (96, 128), smoothness: float = 2.0
) -> np.ndarray:
    """The picture's content moves by ``step`` = (x, y) pixels a frame."""
    reach = [abs(s) * frames for s in step]
    wide = noise_picture((size[0] + reach[1], size[1] + reach[0]), smoothness=smoothness)
    starts = [(reach[1] - step[1] * t if step[1] > 0 else -step[1] * t) for t in range(frames)]
    lefts = [(reach[0] - step[0] * t if step[0] > 0 else -step[0] * t) for t in range(frames)]
    return np.stack([wide[y : y + size[0], x : x + size[1]] for y, x in zip(starts, lefts, strict=True)])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 854), (240, 432)),
        ((1080, 1920), (240, 432)),
        ((854, 480), (432, 240)),
        ((128, 224), (128, 224)),
        ((100, 130), (96, 128)),
        ((20, 30), (64, 64)),
    ],
)
def test_working_size_keeps_the_aspect_and_does_not_enlarge(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert working_size(size) == expected


@pytest.mark.parametrize("step", [(3, -2), (-5, 1), (0, 4)])
def test_flow_finds_a_shift(step: tuple[int, int]) -> None:
    first, second = panning(2, step)
    flow = flow_pair(first, second)
    assert flow.shape == (96, 128, 2)
    assert flow.dtype == np.float32
    assert np.abs(flow[12:-12, 12:-12] - step).max() < 0.3


def test_flow_of_grey_and_colour_agree_and_do_not_change_with_what_was_measured_before() -> None:
    first, second = panning(2, (2, 1))
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (first, second)]
    flow = flow_pair(first, second)
    flow_pair(second, first)
    assert np.array_equal(flow_pair(*grey), flow)


def test_warp_brings_the_second_frame_onto_the_first() -> None:
    first, second = panning(2, (4, 3))
    back = warp(second, flow_pair(first, second))
    inner = (slice(10, -10), slice(10, -10))
    assert np.abs(back[inner].astype(float) - first[inner]).mean() < 3
    assert np.abs(second[inner].astype(float) - first[inner]).mean() > 20


def test_inconsistency_is_small_where_the_flow_holds_and_large_where_it_leaves_the_frame() -> None:
    first, second = panning(2, (12, 0), smoothness=5)
    missed = inconsistency(flow_pair(first, second), flow_pair(second, first))
    assert np.median(missed[20:-20, 20:-20]) < 0.1
    assert missed[:, -3:].min() > 5
    assert missed.max() <= 20


def test_resized_flow_is_in_pixels_of_the_new_grid() -> None:
    flow = np.full((40, 60, 2), (6.0, -4.0), np.float32)
    smaller = resize_flow(flow, (20, 15))
    assert smaller.shape == (20, 15, 2)
    assert np.allclose(smaller, (1.5, -2.0))


def test_texture_tells_corners_from_edges_and_flat_regions() -> None:
    image = np.full((80, 120), 100, np.uint8)
    image[:, 40:] = 160
    image[:, 80:] = noise_picture((80, 40))[..., 0]
    structure = texture(image)
    assert structure[40, 20] == pytest.approx(0, abs=1e-3)
    assert structure[40, 40] < 0.5
    assert structure[20:-20, 95:-15].min() > 3


def scene_flow(size: tuple[int, int] = (240, 432), share: float = 0.4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A planar camera motion with noise, and an object covering ``share`` of the picture about its centre."""
    background = camera_flow(np.array([3.0, 1.5, -0.8, -2.0, 0.7, 1.0, 0.6, -0.4]), size)
    noise = 0.1 * np.random.default_rng(1).standard_normal((*size, 2)).astype(np.float32)
    inside = np.zeros(size, bool)
    sides = [round(side * share**0.5) for side in size]
    top, left = ((size[axis] - sides[axis]) // 2 for axis in (0, 1))
    inside[top : top + sides[0], left : left + sides[1]] = True
    moving = np.where(inside[..., None], np.float32((-4.0, 2.5)), np.float32(0))
    return background + noise + moving, background, inside


def test_camera_moves_as_a_plane_does() -> None:
    a = np.array([3.0, 1.5, -0.8, -2.0, 0.7, 1.0, 0.6, -0.4])
    flow = camera_flow(a, (48, 64))
    for row, column in ((0, 0), (10, 60), (47, 31)):
        x, y = (column - 31.5) / 32, (row - 23.5) / 32
        bend = a[6] * x + a[7] * y
        expected = a[0] + a[1] * x + a[2] * y + bend * x, a[3] + a[4] * x + a[5] * y + bend * y
        assert flow[row, column] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_camera_is_found_behind_objects(share: float) -> None:
    flow, background, inside = scene_flow(share=share)
    parameters, scale = fit_camera(flow)
    camera = camera_flow(parameters, flow.shape[:2])
    assert np.abs(camera - background).max() < 0.15
    assert 0.05 < scale < 0.2
    if share:
        residual = np.linalg.norm((flow - camera)[inside], axis=-1)
        assert np.median(residual) == pytest.approx(np.hypot(4, 2.5), abs=0.2)


def test_camera_ignores_flow_that_is_not_valid() -> None:
    flow, background, _ = scene_flow(share=0.1)
    wrong = np.zeros(flow.shape[:2], bool)
    wrong[:, :260] = True
    flow[wrong] = 0
    parameters, _ = fit_camera(flow, ~wrong)
    assert np.abs(camera_flow(parameters, flow.shape[:2]) - background)[~wrong].max() < 0.2


def test_camera_is_the_same_every_time_and_survives_flow_without_any_valid_point() -> None:
    flow, _, _ = scene_flow()
    assert np.array_equal(fit_camera(flow)[0], fit_camera(flow)[0])
    parameters, scale = fit_camera(np.zeros((64, 64, 2), np.float32), np.zeros((64, 64), bool))
    assert scale == pytest.approx(0.05)
    assert not camera_flow(parameters, (64, 64)).any()


class CountingFrames:
    """Frames that count how often each is read."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames
        self.shape = frames.shape
        self.dtype = frames.dtype
        self.reads = [0] * len(frames)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        self.reads[index] += 1
        return self.frames[index]


def test_cues_read_each_frame_once_and_measure_each_flow_once() -> None:
    source = CountingFrames(panning(12, (2, -1)))
    pairs: list[tuple[int, int]] = []

    def note(frame: int, other: int) -> None:
        pairs.append((frame, other))

    found = list(iterate_motion_cues(Clip(source), flow_between=note))
    assert source.reads == [1] * 12
    assert len(pairs) == len(set(pairs)) == 2 * (11 + 8)
    assert [frame for frame, _, _ in found] == list(range(12))
    _, image, cues = found[5]
    assert image.shape == (96, 128, 3)
    assert cues.gaps == (1, -1, 4, -4)
    assert np.median(cues.flow[2, 20:-20, 20:-20], axis=(0, 1)) == pytest.approx((8, -4), abs=0.1)
    assert np.abs(cues.residual[:, 25:-25, 25:-25]).max() < 0.5


def test_missing_neighbours_are_the_other_flow_negated() -> None:
    frames = panning(6, (2, -1))
    found = {frame: cues for frame, _, cues in iterate_motion_cues(Clip(frames))}
    assert np.array_equal(found[0].flow[1], -found[0].flow[0])
    assert np.array_equal(found[5].flow[2], -found[5].flow[3])
    # Frame 3 of 6 has a neighbour at -3 at most on the one side and 2 on the other: 4 exists nowhere.
    assert np.median(found[3].flow[2, 20:-20, 20:-20], axis=(0, 1)) == pytest.approx((8, -4), abs=0.5)


def test_two_frames_are_enough() -> None:
    found = list(iterate_motion_cues(Clip(panning(2, (3, 0)))))
    assert len(found) == 2
    for _, _, cues in found:
        assert np.median(cues.flow[2, 20:-20, 20:-20, 0]) == pytest.approx(12, abs=0.5)


def test_given_flow_is_used_instead_of_measuring() -> None:
    given = np.full((96, 128, 2), 7, np.float32)
    for _, _, cues in iterate_motion_cues(Clip(panning(3, (0, 0))), (1, -1), flow_between=lambda frame, other: given):
        assert np.abs(np.abs(cues.flow) - 7).max() == 0


def test_cues_do_not_depend_on_the_number_of_threads() -> None:
    clip = Clip(panning(7, (2, 1)))
    one, three = (list(iterate_motion_cues(clip, workers=workers)) for workers in (1, 3))
    assert [frame for frame, _, _ in three] == list(range(7))
    for (_, image, cues), (_, other_image, other) in zip(one, three, strict=True):
        assert np.array_equal(image, other_image)
        assert np.array_equal(cues.flow, other.flow)
        assert np.array_equal(cues.residual, other.residual)


def test_a_damaged_frame_ends_the_cues_and_leaves_no_thread() -> None:
    class Damaged:
        shape, dtype = (20, 64, 64), np.dtype(np.uint8)

        def __len__(self) -> int:
            return 20

        def __getitem__(self, frame: int) -> np.ndarray:
            if frame == 12:
                raise OSError("frame 12 is damaged")
            return np.zeros((64, 64), np.uint8)

    before = threading.active_count()
    with pytest.raises(OSError, match="frame 12 is damaged"):
        list(iterate_motion_cues(Clip(Damaged())))
    assert threading.active_count() == before


def test_a_single_frame_has_no_motion() -> None:
    with pytest.raises(ValueError, match="two frames"):
        next(iterate_motion_cues(Clip(panning(1, (0, 0)))))
