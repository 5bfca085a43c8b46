"""Shadows of synthetic scenes: they darken the ground beside an object, and training is told where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_appearrefine.training.shadows import Light, draw_light

SHADOW = Light(lean=0.5, fall=0.3, strength=0.5, softness=0.0, contact=0.4, reflects=False)


@pytest.fixture
def standing():
    """Return a grey picture, a red object's layer and its opacity."""
    alpha = np.zeros((60, 80), np.float32)
    alpha[20:40, 30:40] = 1
    layer = np.broadcast_to(np.array([200, 0, 0], np.float32), (60, 80, 3)).copy()
    return np.full((60, 80, 3), 120, np.float32), layer, alpha


def test_a_shadow_darkens_where_it_says(standing):
    image, layer, alpha = standing
    where = SHADOW.cast(image, layer, alpha)
    assert where[42:45, 33:45].any()
    assert (image[where] < 110).all()
    assert (image[~where] > 100).all()
    assert not where[:15].any()
    assert (image[:15] == 120).all()


def test_a_reflection_is_the_object_upside_down(standing):
    image, layer, alpha = standing
    layer[20:30] = (0, 0, 200)
    where = replace(SHADOW, lean=0.0, fall=1.0, contact=0.0, reflects=True).cast(image, layer, alpha)
    assert not where[:38].any()
    assert image[45, 35, 0] > 140 > image[45, 35, 2]
    assert image[55, 35, 2] > 140 > image[55, 35, 0]


def test_an_object_that_leaves_the_picture_below_throws_nothing(standing):
    image, layer, alpha = standing
    alpha[40:] = alpha[30]
    assert not SHADOW.cast(image, layer, alpha).any()
    assert (image == 120).all()


def test_some_scenes_have_light_some_water_and_some_neither():
    lights = [draw_light(np.random.default_rng(seed)) for seed in range(60)]
    assert any(light is None for light in lights)
    assert any(light is not None and light.reflects for light in lights)
    assert any(light is not None and light.contact > 0 for light in lights)
