"""Objects that grow from a box or a click."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from napari_appearrefine.core.errors import UserError
from napari_appearrefine.engine.growing import grow_from_box, grow_from_click


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A reddish blob on a greenish textured ground."""
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal((70, 110, 60), 12, (120, 160, 3)), 0, 255).astype(np.uint8)
    blob = np.zeros((120, 160), np.uint8)
    cv2.ellipse(blob, (80, 60), (30, 18), 25, 0, 360, 1, -1)
    image[blob > 0] = np.clip(rng.normal((180, 70, 60), 12, (int(blob.sum()), 3)), 0, 255)
    return image, blob > 0


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def test_box(scene):
    image, blob = scene
    rows, columns = np.nonzero(blob)
    box = (rows.min() - 5, columns.min() - 6, rows.max() + 6, columns.max() + 5)
    assert overlap(grow_from_box(image, box), blob) > 0.9


def test_click_in_frames_of_any_size(scene):
    image, blob = scene
    assert overlap(grow_from_click(image, 60, 80), blob) > 0.85
    large = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    grown = grow_from_click(large, 240, 320)
    assert overlap(grown, cv2.resize(blob.astype(np.uint8), None, fx=4, fy=4) > 0) > 0.85


def test_click_on_an_object_that_fills_much_of_the_frame():
    rows, columns = np.ogrid[:240, :400]
    beast = ((rows - 120) / 95) ** 2 + ((columns - 200) / 152) ** 2 <= 1
    fur = np.where((columns // 14 % 2 == 0)[..., None], (150, 110, 70), (90, 60, 40))
    noise = np.random.default_rng(0).normal(0, 14, (240, 400, 3))
    image = np.clip(np.where(beast[..., None], fur, (70, 110, 60)) + noise, 0, 255).astype(np.uint8)
    assert overlap(grow_from_click(image, 120, 200), beast) > 0.9


def test_pixels_of_others_are_not_taken(scene):
    image, blob = scene
    taken = blob.copy()
    taken[:, :80] = False
    grown = grow_from_click(image, 60, 70, taken)
    assert not (grown & taken).any()
    assert overlap(grown, blob & ~taken) > 0.7
    with pytest.raises(UserError, match="another object"):
        grow_from_click(image, 60, 90, taken)


def test_what_cannot_be_used_is_refused(scene):
    image, _ = scene
    with pytest.raises(UserError, match="4 x 4"):
        grow_from_box(image, (10, 10, 12, 40))
    with pytest.raises(UserError, match="outside"):
        grow_from_click(image, -1, 3)


def test_an_even_image_gives_something_inside_the_box():
    grown = grow_from_box(np.full((50, 60, 3), 90, np.uint8), (10, 10, 30, 40))
    assert grown.any()
    assert not grown[:10].any()
    assert not grown[30:].any()
