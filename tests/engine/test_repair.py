"""From drawings to labels: the picture corrects outlines that nobody vouches for, and leaves good masks alone."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from napari_appearrefine.engine.boxes import whole
from napari_appearrefine.engine.colour_edges import Picture
from napari_appearrefine.engine.object_masks import Plane, object_planes
from napari_appearrefine.engine.repair import Repair, repaired, share_of_picture

GRID, SIZE = (96, 128), (192, 256)


def disc(radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.hypot(rows - 95.5, columns - 127.5) < radius


def frame_of(inside: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(scale=6, size=(*SIZE, 3))
    return np.clip(np.where(inside[..., None], (90, 60, 40), (120, 140, 150)) + noise, 0, 255).astype(np.uint8)


def drawn_as(mask: np.ndarray, blur: float = 1.5) -> Plane:
    small = cv2.resize(mask.astype(np.float32), GRID[::-1], interpolation=cv2.INTER_AREA)
    return Plane(whole(GRID), cv2.GaussianBlur(0.001 + 0.998 * small, (0, 0), blur))


def repair(given: np.ndarray, drawing: Plane | None, frame: np.ndarray) -> Repair:
    labels = (7 * given).astype(np.uint16)
    return repaired(Picture.of(frame, GRID), labels, [7], object_planes(labels, [7], GRID), [drawing])


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def test_the_better_a_mask_was_the_less_the_picture_decides() -> None:
    shares = [share_of_picture(estimate) for estimate in np.linspace(0, 1, 41)]
    assert shares[:33] == [1.0] * 33
    assert all(later <= earlier for earlier, later in pairwise(shares))
    assert shares[-1] < 0.05


def test_an_outline_that_is_drawn_a_little_off_goes_to_the_edge() -> None:
    truth, wide = disc(50), disc(54)
    halo = disc(66)
    result = repair(halo, drawn_as(wide), frame_of(truth))
    assert set(np.unique(result.labels)) == {0, 7}
    assert iou(result.labels == 7, truth) > 0.97
    assert 0 < result.expected[0] <= 1
    likely = result.likely(7)
    assert likely is not None
    assert np.array_equal(likely.on(SIZE) > 0.5, result.labels == 7)
    assert ((likely.values > 0) & (likely.values < 1)).any()


def test_a_mask_that_its_drawing_agrees_with_stays_to_the_pixel() -> None:
    given = disc(50)
    result = repair(given, drawn_as(given, 0.5), frame_of(disc(53)))
    assert np.array_equal(result.labels == 7, given)
    likely = result.likely(7)
    assert likely is not None
    assert np.array_equal(likely.on(SIZE) > 0.5, given)


def test_an_object_that_was_not_found_has_no_pixel() -> None:
    result = repair(disc(50), None, frame_of(disc(50)))
    assert not result.labels.any()
    assert result.expected.tolist() == [0.0]
    assert result.likely(7) is None
