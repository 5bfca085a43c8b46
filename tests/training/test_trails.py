"""Dust and spray of synthetic scenes: behind the object, staying where it was thrown up, told to the training."""

from __future__ import annotations

import numpy as np
import pytest

from napari_appearrefine.training.paths import Path2D
from napari_appearrefine.training.trails import Trail

FRAMES, SIZE = 14, (120, 240)


@pytest.fixture
def trail():
    """Return the trail of an object that goes to the right before a resting camera."""
    still = np.zeros(FRAMES)
    here = np.ones(FRAMES, bool)
    path = Path2D(np.linspace(-40, 60, FRAMES), still, still, still + 1, here, SIZE)
    camera = Path2D(still, still, still, still + 1, here, SIZE)
    return Trail(np.random.default_rng(5), path, camera, (30.0, 30.0)), path


def test_clouds_show_where_it_says_and_behind_the_object(trail):
    trail, path = trail
    for t in (6, 10):
        image = np.zeros((*SIZE, 3), np.float32)
        where = trail.draw(image, t)
        assert where.any()
        assert (image[where] > 0).all()
        assert image[~where].max() < image[where].max()
        assert np.nonzero(where)[1].mean() < SIZE[1] / 2 + path.x[t] - 10


def test_a_trail_is_the_same_whenever_it_is_drawn(trail):
    trail, _ = trail
    first, again = np.zeros((*SIZE, 3), np.float32), np.zeros((*SIZE, 3), np.float32)
    trail.draw(first, 8)
    trail.draw(np.zeros_like(first), 2)
    trail.draw(again, 8)
    assert np.array_equal(first, again)
