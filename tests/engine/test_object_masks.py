"""Boxes, planes in them, and guesses at missing masks: nothing is lost, and cost follows the objects."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_appearrefine.engine.absence import frames_of_guesses, gap_at, guess
from napari_appearrefine.engine.boxes import CELL, Box, box_around, whole
from napari_appearrefine.engine.calibration import Calibration
from napari_appearrefine.engine.merging import render_planes
from napari_appearrefine.engine.object_masks import Plane, coverage_of_all, object_planes
from napari_appearrefine.engine.object_memory import coarse_coverage


def disc(size, centre, radius):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 239), st.integers(0, 431), st.integers(1, 60), st.integers(1, 60), st.floats(0, 60), st.just(64))
def test_a_box_holds_its_pixels_in_whole_cells(top, left, height, width, margin, least):
    inside = np.zeros((240, 432), bool)
    inside[top : top + height, left : left + width] = True
    box = box_around(inside, margin, least)
    assert box is not None
    assert inside[box.at()].sum() == inside.sum()
    for start, end, length in ((box.top, box.bottom, 240), (box.left, box.right, 432)):
        assert start % CELL == 0
        assert end % CELL == 0 or end == length
        assert 0 <= start < end <= length
    assert box.top <= max(top - margin, 0)
    assert box.right >= min(left + width + margin, 432)


def test_no_pixel_no_box():
    assert box_around(np.zeros((64, 64), bool), 5) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(70, 300), st.integers(70, 300), st.integers(0, 2**31))
def test_coverage_is_what_averaging_the_whole_picture_gives(height, width, seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.uint16)
    for label in (1, 2, 5):
        labels[disc((height, width), rng.uniform((0, 0), (height, width)), rng.uniform(3, 30))] = label
    size = (64, 64)
    planes = object_planes(labels, [1, 2, 5, 9], size)
    assert planes[3] is None
    for label, plane in zip((1, 2, 5), planes, strict=False):
        mask = (labels == label).astype(np.float32)
        if plane is None:
            assert not mask.any()
            continue
        expected = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(plane.on(size) - expected).mean() < 0.015
    covered = cv2.resize((labels > 0).astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(coverage_of_all(planes, size) - covered).mean() < 0.02


def test_planes_survive_the_way_to_the_grid_and_back():
    size, grid = (480, 854), (240, 432)
    labels = np.zeros(size, np.uint16)
    labels[disc(size, (200, 300), 80)] = 7
    labels[disc(size, (470, 840), 60)] = 300
    planes = dict(zip((7, 300), object_planes(labels, [7, 300], grid), strict=True))
    back = render_planes(planes, grid, size)
    for label in (7, 300):
        overlap = np.count_nonzero((back == label) & (labels == label))
        assert overlap > 0.97 * np.count_nonzero((back == label) | (labels == label))


def test_coarse_coverage_is_the_mean_over_each_position():
    values = disc((240, 432), (100, 90), 37).astype(np.float32)
    plane = Plane(Box(61, 139, 50, 131), values[61:139, 50:131])
    coarse = coarse_coverage(plane, (30, 54), (240, 432)).reshape(30, 54)
    expected = values.reshape(30, 8, 54, 8).mean((1, 3))
    np.testing.assert_allclose(coarse, expected, atol=1e-6)
    assert not coarse_coverage(None, (30, 54), (240, 432)).any()


def test_a_missing_mask_is_guessed_on_the_way_between_its_neighbours():
    size = (64, 96)
    area = np.array([0, 0, 90, 0, 0, 90, 0, 0, 0, 0, 0, 0])
    assert gap_at(area, 2) is None
    gap = gap_at(area, 3)
    assert (gap.before, gap.after) == (2, 5)
    assert gap_at(area, 7).frames == [5]
    assert gap_at(area, 11) is None
    planes = {2: disc(size, (30, 20), 8), 5: disc(size, (30, 50), 8)}

    def plane_of(frame):
        return Plane(whole(size), planes[frame].astype(np.float32))

    found = guess(3, gap, plane_of, size).on(size)
    rows, columns = np.nonzero(found)
    assert abs(columns.mean() - 30) < 1
    assert abs(rows.mean() - 30) < 1
    assert frames_of_guesses([area, area], 3) == [2, 5]
    assert frames_of_guesses([area], 5) == []


def test_calibrated_estimates_are_true_on_the_mean_and_in_order():
    rng = np.random.default_rng(0)
    iou = rng.uniform(0, 1, 4000)
    raw = np.clip(0.3 + 0.5 * iou + rng.normal(0, 0.05, 4000), 0, 1)
    calibration = Calibration.measured(raw, iou)
    estimated, spread = calibration(raw)
    for low in (0.1, 0.4, 0.7):
        chosen = (estimated > low) & (estimated < low + 0.2)
        assert abs(estimated[chosen].mean() - iou[chosen].mean()) < 0.03
    assert 0.05 < spread.mean() < 0.2
    order = np.argsort(raw)
    assert (np.diff(estimated[order]) >= 0).all()
    assert [float(each[0]) for each in calibration(np.zeros(1))] == [0, 0]
