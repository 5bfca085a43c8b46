"""The water of synthetic scenes: the land upside down below the shore, and ripples that move it."""

from __future__ import annotations

import numpy as np

from napari_appearrefine.training.shadows import Light, draw_light
from napari_appearrefine.training.water import Waves, flooded


def test_water_shows_the_land_above_it_upside_down():
    photo = np.full((100, 80, 3), 90, np.uint8)
    photo[20:30], photo[40:50] = (250, 40, 40), (40, 40, 250)
    for seed in range(8):
        out = flooded(photo, 50, np.random.default_rng(seed)).astype(float)
        assert np.array_equal(out[:50], photo[:50])
        red_over_blue = (out[..., 0] - out[..., 2]).mean(1)
        assert red_over_blue[52:58].mean() < red_over_blue[62:68].mean() < red_over_blue[72:78].mean()


def test_waves_come_and_go_around_where_the_picture_lies():
    waves = Waves(np.random.default_rng(3), (60, 80))
    shifts = np.stack([np.stack(waves.shift(t)) for t in range(40)])
    assert shifts.shape == (40, 2, 60, 80)
    assert np.abs(shifts.mean(0)).mean() < 0.3 * np.abs(shifts).mean()
    assert np.array_equal(shifts[5], np.stack(waves.shift(5)))


def test_a_ripple_moves_the_reflection_and_nothing_else():
    alpha = np.zeros((60, 80), np.float32)
    alpha[20:40, 30:40] = 1
    layer = np.full((60, 80, 3), 200, np.float32)
    light = Light(lean=0.0, fall=1.0, strength=0.8, softness=0.0, contact=0.0, reflects=True)
    ripple = np.full((60, 80), 4, np.float32), np.zeros((60, 80), np.float32)
    still, moved = (light.cast(np.zeros((60, 80, 3), np.float32), layer, alpha, r) for r in (None, ripple))
    assert np.array_equal(moved[:, :-4], still[:, 4:])


def test_on_water_the_light_always_reflects():
    lights = [draw_light(np.random.default_rng(seed), water=True) for seed in range(20)]
    assert all(light is not None and light.reflects for light in lights)
