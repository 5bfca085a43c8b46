"""J and F against the official evaluator's values, a plain dilation by a disk, and cases worked by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_appearrefine.evaluation.measures import (
    Boundary,
    boundary_map,
    boundary_radius,
    frame_measures,
    region_similarity,
)

GOLDEN = Path(__file__).parents[1] / "data" / "davis_measures.npz"


def _disk(radius):
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


def _seg2bmap(mask):
    padded = np.pad(mask, ((0, 1), (0, 1)))
    east, south, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    edge = (mask ^ east) | (mask ^ south) | (mask ^ diagonal)
    edge[-1, :] = (mask ^ east)[-1, :]
    edge[:, -1] = (mask ^ south)[:, -1]
    edge[-1, -1] = False
    return edge


def _plain_f(truth, prediction):
    """F with whole-frame dilations, as the definition reads."""
    disk = _disk(int(np.ceil(0.008 * np.hypot(*truth.shape))))
    a, b = _seg2bmap(truth), _seg2bmap(prediction)
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    near_a, near_b = (cv2.dilate(edge.astype(np.uint8), disk) > 0 for edge in (a, b))
    precision, recall = (b & near_a).sum() / b.sum(), (a & near_b).sum() / a.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _random_mask(rng, shape):
    grid = rng.standard_normal((int(rng.integers(2, 14)),) * 2)
    return cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC).reshape(shape) > rng.uniform(0, 2)


def test_equal_to_the_official_values():
    golden = np.load(GOLDEN)
    for frame in range(len(golden["truth"])):
        region, contour = frame_measures(golden["truth"][frame], [1, 2, 3], golden["prediction"][frame], [1, 2, 3])
        np.testing.assert_allclose(region, golden["J"][:, :, frame], rtol=0, atol=1e-9)
        np.testing.assert_allclose(contour, golden["F"][:, :, frame], rtol=0, atol=1e-9)


def f_measure(truth, prediction):
    return frame_measures(truth, [1], prediction, [1])[1][0, 0]


@pytest.mark.parametrize("shape", [(480, 854), (31, 57), (257, 133), (1, 9), (7, 1), (1, 1)])
def test_boundary_accuracy_equals_plain_dilation(shape):
    rng = np.random.default_rng(0)
    for _ in range(12):
        truth, prediction = _random_mask(rng, shape), _random_mask(rng, shape)
        assert f_measure(truth, prediction) == pytest.approx(_plain_f(truth, prediction), abs=1e-12)
        edge = boundary_map(truth)
        assert np.array_equal(edge, _seg2bmap(truth))
        reach = Boundary(truth, 6).reach
        assert np.array_equal(reach, cv2.dilate(edge.astype(np.uint8), _disk(6)) > 0)


def test_radius_is_rounded_up():
    assert boundary_radius((480, 854)) == 8  # 0.008 * 979.7 = 7.84
    assert boundary_radius((240, 427)) == 4
    assert boundary_radius((10, 10)) == 1


def test_empty_masks():
    empty, some = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    some[5:9, 5:9] = True
    assert region_similarity(empty, empty) == 1
    assert f_measure(empty, empty) == 1
    assert region_similarity(empty, some) == region_similarity(some, empty) == 0
    assert f_measure(empty, some) == f_measure(some, empty) == 0
    assert f_measure(some, np.ones_like(some)) == 0  # a full frame has no boundary


def test_region_similarity_by_hand():
    truth, prediction = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    truth[2:6, 2:6], prediction[4:8, 2:6] = True, True
    assert region_similarity(truth, prediction) == 8 / 24


def test_void_pixels_do_not_count():
    truth, prediction = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    truth[10:20, 10:20] = True
    prediction[10:20, 10:30] = True
    void = np.zeros((40, 40), bool)
    void[:, 20:] = True
    region, contour = (measure[0, 0] for measure in frame_measures(truth, [1], prediction, [1], void))
    assert region_similarity(truth, prediction) == 0.5
    assert region == 1
    assert contour == 1


def test_only_wanted_pairs_are_measured():
    truth = np.array([[1, 1, 2, 2]] * 4, np.uint8)
    region, contour = frame_measures(truth, [1, 2], truth, [1, 2, -1], pairs=[(0, 0), (1, 2)])
    assert region[0, 0] == contour[0, 0] == 1
    assert region[1, 2] == contour[1, 2] == 0
    assert np.isnan(region[0, 1:]).all()
    assert np.isnan(contour[1, :2]).all()
