"""Walkers of synthetic scenes: a foot that stands does not move over the ground, and nothing of the body is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_appearrefine.training import strides
from napari_appearrefine.training.paths import Path2D
from napari_appearrefine.training.sprites import Sprite
from napari_appearrefine.training.strides import feet_ahead, striding

FRAMES, SIZE = 40, (160, 320)


def straight(speed):
    """Return the path of what goes to the right at so many pixels a frame."""
    still = np.zeros(FRAMES)
    return Path2D(speed * np.arange(FRAMES), still, still, still + 1, np.ones(FRAMES, bool), SIZE)


@given(speed=st.floats(-3, 3), pan=st.floats(-3, 3), phase=st.floats(0, 2))
def test_a_foot_stands_on_the_ground_or_swings_ahead(speed, pan, phase):
    body, camera = straight(speed + pan), straight(pan)
    ahead = feet_ahead(body, camera, 20.0, phase)
    assert (np.abs(ahead) <= 10 + 1e-6).all()
    over_ground = np.diff(body.x - camera.x + ahead)
    stands, swings = np.abs(over_ground) < 1e-6, np.abs(over_ground - 2 * speed) < 1e-6
    turns = ~(stands | swings)
    assert not (turns[1:] & turns[:-1]).any(), "between two steps there is at most one frame of both"


@pytest.mark.parametrize("seed", range(6))
def test_a_walker_keeps_its_body_and_moves_its_legs(seed):
    rng = np.random.default_rng(seed)
    sprite = Sprite(np.full((60, 40, 3), (200, 60, 20), np.uint8), np.full((60, 40), 255, np.uint8))
    walk = striding(sprite, rng, straight(2.0), straight(0.0))
    pictures, covers = zip(*(walk(t) for t in range(FRAMES)), strict=True)
    covers = np.stack(covers) > 127
    assert {picture.shape[:2] for picture in pictures} == {covers.shape[1:]}
    # Two fifths from the top is above any hip; arms may hang beside it.
    assert (covers[:, :20].sum((1, 2)) >= 20 * 40).all()
    moving = covers.any(0) & ~covers.all(0)
    assert moving[40:].any()


def test_legs_rest_while_the_body_does(monkeypatch):
    monkeypatch.setattr(strides, "_WITH_ARMS", 0.0)
    sprite = Sprite(np.full((60, 40, 3), 90, np.uint8), np.full((60, 40), 255, np.uint8))
    for seed in range(6):
        walk = striding(sprite, np.random.default_rng(seed), straight(0.0), straight(0.0))
        first = walk(0)[1]
        assert all(np.array_equal(first, walk(t)[1]) for t in range(1, 4))
