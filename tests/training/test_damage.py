"""Damage to masks: seeded, within the frame, like in kind along a run, and quick enough for training."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_appearrefine.training.damage import FAULTS, KINDS, LASTING, damage_clip, damage_plane, damage_throughout


def _ellipse(shape=(120, 200), centre=(60, 90), radii=(25, 35)):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1


def _iou(a, b):
    return np.count_nonzero(a & b) / max(np.count_nonzero(a | b), 1)


def _clip(frames=60):
    clip = np.zeros((frames, 90, 160), np.uint8)
    for t in range(frames):
        clip[t][_ellipse((90, 160), (40, 30 + t), (15, 20))] = 1
        clip[t][_ellipse((90, 160), (60, 130 - t), (12, 12))] = 7
    return clip


@pytest.mark.parametrize("kind", FAULTS)
def test_same_seed_same_damage_and_input_untouched(kind):
    plane = _ellipse()
    before = plane.copy()
    first = damage_plane(plane, np.random.default_rng(3), kinds=(kind,))
    again = damage_plane(plane, np.random.default_rng(3), kinds=(kind,))
    other = damage_plane(plane, np.random.default_rng(4), kinds=(kind,))
    assert first.dtype == np.bool_
    assert first.shape == plane.shape
    assert np.array_equal(first, again)
    assert kind == "nothing" or not np.array_equal(first, other)
    assert np.array_equal(plane, before)
    assert not np.shares_memory(first, plane)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_loses_a_fair_part_of_the_mask_or_adds_to_it(kind):
    plane = _ellipse()
    ious = [_iou(plane, damage_plane(plane, np.random.default_rng(seed), kinds=(kind,))) for seed in range(30)]
    assert 0.0 <= np.mean(ious) < 0.9
    if kind in ("halo", "holes", "drag", "wobble"):
        assert np.mean(ious) > 0.3


def test_directions_of_the_kinds():
    plane = _ellipse()
    for seed in range(20):
        assert (damage_plane(plane, np.random.default_rng(seed), kinds=("halo",)) >= plane).all()
        assert (damage_plane(plane, np.random.default_rng(seed), kinds=("drag",)) >= plane).all()
        holed = damage_plane(plane, np.random.default_rng(seed), kinds=("holes",))
        assert (holed <= plane).all()
        assert holed.any()
        assert not damage_plane(plane, np.random.default_rng(seed), kinds=("nothing",)).any()


def test_strength_zero_leaves_holes_halo_and_wobble_next_to_nothing():
    plane = _ellipse()
    for kind in ("halo", "holes", "wobble"):
        for seed in range(5):
            assert _iou(plane, damage_plane(plane, np.random.default_rng(seed), 0.0, kinds=(kind,))) > 0.97


def test_stronger_damage_costs_more():
    plane = _ellipse()

    def mean_iou(strength):
        return np.mean([_iou(plane, damage_plane(plane, np.random.default_rng(s), strength)) for s in range(60)])

    assert mean_iou(0.3) > mean_iou(1.0) + 0.1


def test_wrong_object_takes_another_objects_mask():
    plane, other = _ellipse(), _ellipse(centre=(30, 170), radii=(15, 15))
    overlaps = [
        np.count_nonzero(damage_plane(plane, np.random.default_rng(s), 1.0, other, ("wrong",)) & other) / other.sum()
        for s in range(10)
    ]
    assert min(overlaps) == 1.0


@pytest.mark.parametrize("plane", [np.zeros((40, 60), bool), np.ones((40, 60), bool), np.eye(50, dtype=bool)])
@pytest.mark.parametrize("kind", KINDS)
def test_odd_planes(plane, kind):
    single = np.zeros_like(plane)
    single[0, -1] = True
    for seed in range(10):
        for case in (plane, single, plane[::-1], np.asfortranarray(plane)):
            assert damage_plane(case, np.random.default_rng(seed), 1.5, kinds=(kind,)).shape == case.shape


def test_clip_damages_the_share_in_runs():
    masks = _clip()
    damaged, frames = damage_clip(masks, np.random.default_rng(0))
    changed = np.flatnonzero((damaged != masks).any(axis=(1, 2)))
    assert len(frames) == 20
    assert set(changed) <= set(frames.tolist())
    assert len(changed) >= 18
    assert damaged.dtype == masks.dtype
    assert set(np.unique(damaged)) <= {0, 1, 7}
    assert (np.diff(frames) == 1).sum() >= 8  # runs, not single frames
    assert np.array_equal(damage_clip(masks, np.random.default_rng(0))[0], damaged)


def test_damage_stays_alike_along_a_run():
    still = np.zeros((40, 120, 200), np.uint8)
    still[:, _ellipse()] = 255
    damaged, frames = damage_clip(still, np.random.default_rng(1), 0.5)
    assert set(np.unique(damaged)) == {0, 255}
    within = [_iou(damaged[a] > 0, damaged[b] > 0) for a, b in itertools.pairwise(frames) if b == a + 1]
    across = [_iou(damaged[a] > 0, damaged[b] > 0) for a in frames for b in frames if b > a + 12]
    assert np.mean(within) > np.mean(across) + 0.1


@pytest.mark.parametrize(("frames", "share"), [(0, 1 / 3), (1, 1.0), (2, 0.5), (5, 1.0), (7, 0.0), (9, 0.9)])
def test_short_clips_and_extreme_shares(frames, share):
    masks = _clip(frames)
    damaged, bad = damage_clip(masks, np.random.default_rng(2), share)
    assert len(bad) == round(share * frames)
    assert len(set(bad.tolist())) == len(bad)
    assert damaged.shape == masks.shape


def test_frames_without_object_are_left_alone():
    masks = _clip(20)
    masks[5:] = 0
    damaged, bad = damage_clip(masks, np.random.default_rng(0), 1.0)
    assert bad.tolist() == [0, 1, 2, 3, 4]
    assert not damaged[5:].any()


def test_wrong_arguments():
    with pytest.raises(ValueError, match="unknown kinds"):
        damage_plane(_ellipse(), np.random.default_rng(0), kinds=("fire",))
    with pytest.raises(ValueError, match=r"\(Y, X\) bool"):
        damage_plane(_ellipse().astype(np.uint8), np.random.default_rng(0))
    with pytest.raises(ValueError, match="share_of_frames"):
        damage_clip(_clip(3), np.random.default_rng(0), 1.5)


def test_gaps_between_parts_are_filled_and_the_frame_is_no_part():
    plane = np.zeros((120, 200), np.bool_)
    plane[20:100, 60:70] = plane[20:100, 80:90] = plane[20:100, 190:] = True
    seen = [damage_plane(plane, np.random.default_rng(seed), 1.0, kinds=("filled",)) for seed in range(20)]
    assert all((filled >= plane).all() for filled in seen)
    assert sum(bool(filled[60, 75]) for filled in seen) > 10
    assert not any(filled[60, 140] or filled[5, 198] for filled in seen)


@pytest.mark.parametrize("kind", [kind for kind in LASTING if kind != "filled"])
def test_lasting_damage_lies_at_the_same_side_of_an_object_in_every_frame(kind):
    clip = _clip()[:20]
    before = clip.copy()
    damaged = damage_throughout(clip, np.random.default_rng(2), (kind,))
    assert np.array_equal(clip, before)
    assert np.array_equal(damaged, damage_throughout(clip, np.random.default_rng(2), (kind,)))
    assert {int(key) for key in np.unique(damaged)} <= {0, 1, 7}
    faults = [(damaged[frame] == 1) != (clip[frame] == 1) for frame in (2, 15)]
    assert all(fault.any() for fault in faults)
    # The object moves a pixel a frame to the right, and the fault with it.
    there = np.roll(faults[0], 13, axis=1)
    assert _iou(there, faults[1]) > 0.7
