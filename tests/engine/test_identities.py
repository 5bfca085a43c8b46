"""Masks that carry another object's id go back to the object that they look like."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_appearrefine import FrameLabels, refine
from napari_appearrefine.core.clip import Clip
from napari_appearrefine.engine.identities import reassigned
from napari_appearrefine.engine.networks.matching import Memory, match, match_by_frame
from napari_appearrefine.engine.object_masks import Plane

SIZE = (64, 96)
GRID = (8, 12)


def plane(rows, columns):
    values = np.zeros(SIZE, np.float32)
    values[slice(*rows), slice(*columns)] = 1
    return Plane.around(values)


def likeness(high, low=0.05, elsewhere=0.2):
    """Return 0.9 in one half of the picture (0 left, 1 right), ``low`` in the other."""
    values = np.full(GRID, low, np.float32)
    values[:, 6 * high : 6 * high + 6] = 0.9
    return values


LEFT, RIGHT = plane((16, 48), (8, 40)), plane((16, 48), (56, 88))


def same(one, other):
    return one is not None and other is not None and np.array_equal(one.on(SIZE), other.on(SIZE))


def test_exchanged_masks_are_exchanged_back():
    first, second = reassigned([RIGHT, LEFT], {0: likeness(0), 1: likeness(1)}, SIZE)
    assert same(first, LEFT)
    assert same(second, RIGHT)


def test_right_masks_stay():
    planes = [LEFT, RIGHT]
    assert reassigned(planes, {0: likeness(0), 1: likeness(1)}, SIZE) == planes


def test_look_alikes_stay():
    planes = [RIGHT, LEFT]
    assert reassigned(planes, {0: likeness(0, 0.85), 1: likeness(1, 0.85)}, SIZE) == planes


def test_a_part_goes_to_an_object_that_has_no_mask():
    both = plane((16, 48), (8, 88))
    first, second = reassigned([both, None], {0: likeness(0), 1: likeness(1)}, SIZE)
    assert same(first, plane((16, 48), (8, 48)))
    assert same(second, plane((16, 48), (48, 88)))


def test_a_piece_that_is_mostly_moved_goes_as_a_whole():
    first = likeness(0)
    first[:, 6:9] = 0.05
    second = 0.95 - first
    piece = plane((16, 48), (32, 80))
    assert reassigned([piece, None], {0: first, 1: second}, SIZE)[0] is None
    assert same(reassigned([piece, None], {0: first, 1: second}, SIZE)[1], piece)


def test_small_parts_stay():
    large = plane((0, 64), (0, 50))
    assert reassigned([large, RIGHT], {0: likeness(0), 1: likeness(1)}, SIZE)[0] is large


@pytest.mark.parametrize("known", [{}, {0: likeness(0)}])
def test_without_a_memory_of_two_objects_nothing_moves(known):
    planes = [RIGHT, LEFT]
    assert reassigned(planes, known, SIZE) == planes


def test_votes_count_frames_not_likeness():
    keys = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.3], [0.9, 0.3], [0.0, 1.0]]), dim=1)
    inside = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    frames = torch.tensor([0, 1, 2, 2])
    memory = Memory(keys, inside, 1 - inside, frames)
    query = keys[:1]
    maps, votes = match_by_frame(query, memory)
    np.testing.assert_allclose(maps, match(query, memory.keys, memory.inside, memory.outside), atol=1e-5)
    # The best match, in frame 0, is outside; the frames that show the object have it there.
    assert float(maps[0, 3, 0]) < 0.5
    assert float(votes[0]) > 0.5


def test_ids_exchanged_in_some_frames_come_back():
    clip, truth = two_textured_objects(12)
    rough = truth.copy()
    for frame in (3, 4, 8):
        rough[frame] = np.where(truth[frame] > 0, 3 - truth[frame], 0)
    refined = {event.frame: event.labels for event in refine(clip, rough) if isinstance(event, FrameLabels)}
    for frame in (3, 4, 8):
        right = np.count_nonzero((refined[frame] == truth[frame]) & (truth[frame] > 0))
        assert right > 0.8 * np.count_nonzero(truth[frame])


def two_textured_objects(count):
    """Render a striped disc and a dotted square that pass each other at a distance."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:160, :240]
    ground = rng.normal(110, 12, (160, 240, 1)) + np.array([0, 8, -10])
    frames, truth = [], np.zeros((count, 160, 240), np.uint8)
    for t in range(count):
        image = ground.copy()
        x, y = 50 + 9 * t, 185 - 9 * t
        disc = np.hypot(rows - 45, columns - x) < 26
        square = (abs(rows - 112) < 24) & (abs(columns - y) < 24)
        image[disc] = np.where((rows // 6 % 2 > 0)[..., None], [230, 60, 40], [250, 210, 60])[disc]
        dots = ((rows // 5 + (columns - y) // 5) % 2 > 0)[..., None]
        image[square] = np.where(dots, [30, 70, 200], [20, 30, 60])[square]
        frames.append(np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8))
        truth[t][disc], truth[t][square] = 1, 2
    return Clip(np.stack(frames), "two objects"), truth
