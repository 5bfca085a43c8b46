"""Ids through crossings, rests and hiding; parts of one object; how many objects there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from motion_scene import SIZE, Disc, line, scene, truth

from napari_appearrefine.engine.foreground import Foreground
from napari_appearrefine.engine.regions import (
    PackedPlane,
    Patch,
    carry,
    components,
    divide_by_motion,
    neighbour_distances,
    share_out,
)
from napari_appearrefine.engine.temporal import Found, steady
from napari_appearrefine.engine.track_choice import choose_objects
from napari_appearrefine.engine.tracking import Tracker


def follow(discs: Sequence[Disc], frames: int, limit: int | None = None) -> tuple[Tracker, np.ndarray]:
    """Return the tracker and the (T, h, w) object ids."""
    tracker = Tracker()
    for _, probability, cues in scene(discs, frames):
        tracker.advance(probability, cues)
    chosen = choose_objects(tracker.tracks, tracker.neighbourhoods, tracker.absorptions, frames, limit)
    ids = np.zeros(len(tracker.tracks) + 1, int)
    ids[list(chosen)] = list(chosen.values())
    return tracker, np.stack([ids[plane] for plane in tracker.labels])


def identities(discs: Sequence[Disc], found: np.ndarray) -> list[list[int]]:
    """Return for each disc and frame the id that covers most of its visible part."""
    rows = []
    for index in range(1, len(discs) + 1):
        row = []
        for frame, labels in enumerate(found):
            visible = labels[truth(discs, frame) == index]
            row.append(int(np.bincount(visible).argmax()) if visible.size else -1)
        rows.append(row)
    return rows


def test_components_keep_what_is_sure_somewhere_and_not_tiny() -> None:
    probability = np.zeros((100, 200), np.float32)
    probability[10:20, 10:20] = 0.45
    probability[14, 14] = 0.9
    probability[40:50, 40:50] = 0.55
    probability[80:82, 80:82] = 1.0
    pieces, areas = components(probability)
    assert pieces.max() == 1
    assert areas[1] == 100
    assert (pieces[10:20, 10:20] == 1).all()


def test_patch_is_painted_and_read_only_inside_the_frame() -> None:
    plane = np.zeros((10, 12), np.int32)
    patch = Patch(-1, 9, np.ones((4, 5), bool))
    patch.paint(plane, 7)
    assert plane.sum() == 7 * 3 * 3
    assert (patch.values(plane) == 7).all()
    assert patch.moved(np.array([30, 0])).values(plane).size == 0
    assert np.array_equal(patch.centre, [11, 0.5])


def test_packed_planes_come_back_unchanged_and_writable() -> None:
    plane = np.random.default_rng(0).integers(0, 5, (40, 60)).astype(np.int32)
    packed = PackedPlane.pack(plane)
    back = packed.unpack()
    assert np.array_equal(back, plane)
    back[0, 0] = 9
    assert np.array_equal(packed.unpack(), plane)


def test_labels_are_carried_along_the_flow() -> None:
    labels = np.zeros((60, 80), np.int32)
    labels[20:30, 20:30] = 300
    carried = carry(labels, np.full((60, 80, 2), (-5, -3), np.float32))
    assert (carried[23:33, 25:35] == 300).all()
    assert (carried == 300).sum() == 100


def test_neighbours_are_as_far_apart_as_they_are() -> None:
    labels = np.zeros((50, 90), np.int32)
    labels[10:20, 10:20] = 4
    labels[10:20, 26:36] = 2
    labels[10:20, 80:90] = 9
    gaps = neighbour_distances(labels, 10)
    assert list(gaps) == [(2, 4)]
    assert gaps[2, 4] == pytest.approx(6, abs=1.5)


def test_a_shared_blob_is_divided_by_place_and_by_motion() -> None:
    blob = np.ones((20, 40), bool)
    left, right = Patch(0, 0, np.ones((20, 24), bool)), Patch(0, 16, np.ones((20, 24), bool))
    flow = np.zeros((20, 40, 2), np.float32)
    flow[:, :20], flow[:, 20:] = (2, 0), (-2, 0)
    owners = share_out(blob, [left, right], np.array([[2.0, 0], [-2.0, 0]]), flow)
    assert (owners[:, :18] == 1).mean() > 0.97
    assert (owners[:, 22:] == 2).mean() > 0.97


def test_a_piece_with_two_motions_is_divided_and_one_with_one_is_not() -> None:
    pieces = np.zeros((60, 100), np.int32)
    pieces[10:40, 10:70] = 1
    pieces[45:58, 10:40] = 2
    residual = np.zeros((60, 100, 2), np.float32)
    residual[10:40, 10:35], residual[10:40, 35:70] = (3, 1), (-2, 0)
    residual[45:58, 10:40, 0] = np.linspace(2, 5, 30)
    divided, areas = divide_by_motion(pieces, residual)
    assert areas[1:].tolist() == [25 * 30, 13 * 30, 35 * 30] or areas[1:].tolist() == [35 * 30, 13 * 30, 25 * 30]
    assert len(np.unique(divided[10:40, 10:35])) == len(np.unique(divided[10:40, 35:70])) == 1
    assert (divided[45:58, 10:40] == 2).all()


def test_what_moves_evenly_is_told_from_what_moves_in_parts() -> None:
    pieces = np.zeros((60, 100), np.int32)
    pieces[10:50, 10:90] = 1
    residual = np.zeros((60, 100, 2), np.float32)
    rng = np.random.default_rng(0)
    residual[10:50, 10:90] = rng.normal((3, 1), 0.1, (40, 80, 2))
    # Three parts of a running animal, so that no single direction holds two motions.
    for columns, motion in ((slice(50, 60), (-14, 0)), (slice(60, 75), (-8, 6)), (slice(75, 90), (-20, -5))):
        residual[10:50, columns] = rng.normal(motion, 1.5, (40, columns.stop - columns.start, 2))
    divided, areas = divide_by_motion(pieces, residual)
    assert len(areas) == 3
    assert len(np.unique(divided[10:50, 10:48])) == len(np.unique(divided[10:50, 52:90])) == 1
    assert divided[30, 20] != divided[30, 80]


def test_absurd_flow_takes_no_more_memory() -> None:
    pieces = np.zeros((60, 100), np.int32)
    pieces[10:50, 10:90] = 1
    residual = np.zeros((60, 100, 2), np.float32)
    residual[20, 20] = (9e8, -9e8)
    divided, _ = divide_by_motion(pieces, residual)
    np.testing.assert_array_equal(divided, pieces)


def test_objects_that_touch_from_the_start_are_told_apart() -> None:
    discs = [Disc(line((45, 40), (2, 0.3), 20), (14, 12)), Disc(line((66, 44), (-2, 0.1), 20), (12, 10))]
    _, found = follow(discs, 20)
    rows = identities(discs, found)
    assert rows[0][1] != rows[1][1]
    assert rows[0][-3] == rows[0][1]
    assert rows[1][-3] == rows[1][1]


def test_an_object_that_passes_behind_a_pole_stays_one() -> None:
    path = line((20, 45), (2.5, 0), 44)
    tracker = Tracker()
    for _, probability, cues in scene([Disc(path, (14, 10))], 44):
        probability[:, 70:80] = 0
        tracker.advance(probability, cues)
    chosen = choose_objects(tracker.tracks, tracker.neighbourhoods, tracker.absorptions, 44)
    assert set(chosen.values()) == {1}
    for track in tracker.tracks:
        if len(track.frames) > 5:
            assert track.id in chosen


def test_one_object_keeps_one_id() -> None:
    discs = [Disc(line((15, 30), (4, 1), 30))]
    tracker, found = follow(discs, 30)
    assert len(tracker.tracks) == 1
    assert identities(discs, found) == [[1] * 30]


@pytest.mark.parametrize("front", [0, 1])
def test_ids_survive_a_crossing(front: int) -> None:
    paths = [line((20, 44), (3, 0.2), 40), line((140, 52), (-3, -0.2), 40)]
    discs = [Disc(paths[1 - front], (10, 8)), Disc(paths[front], (10, 8))]
    _, found = follow(discs, 40)
    for row in identities(discs, found):
        assert row[2] > 0
        assert row[:14] == [row[2]] * 14
        assert row[-12:] == [row[2]] * 12


def test_crossing_objects_are_two_also_while_they_touch() -> None:
    discs = [Disc(line((20, 40), (3, 0), 40)), Disc(line((140, 52), (-3, 0), 40))]
    _, found = follow(discs, 40)
    for frame in range(40):
        assert set(np.unique(found[frame])) == {0, 1, 2}


def test_an_object_hidden_for_a_while_comes_back_under_its_id() -> None:
    path = line((15, 40), (3, 0), 40)
    hidden = [None if 18 <= t < 25 else place for t, place in enumerate(path)]
    discs = [Disc(hidden)]
    tracker, found = follow(discs, 40)
    row = identities(discs, found)[0]
    assert row[:17] == [1] * 17
    assert row[26:] == [1] * 14
    assert not tracker.tracks[0].rests


def test_an_object_at_rest_keeps_its_id_and_its_place() -> None:
    moving = line((20, 40), (3, 0), 15)
    path = moving + [moving[-1]] * 8 + line((65, 40), (3, 0), 15)
    discs = [Disc(path)]
    tracker, found = follow(discs, len(path))
    row = identities(discs, found)[0]
    assert row[3] == row[-3] == 1
    rests = dict(tracker.tracks[0].rests)
    resting = [frame for frame in range(len(path)) if not found[frame].any()]
    assert len(resting) >= 5
    assert set(rests) == set(resting)
    for frame in resting:
        assert np.abs(rests[frame].centre - path[frame]).max() < 2


def test_parts_that_move_together_are_one_object() -> None:
    body = line((30, 40), (3, 0), 30)
    wheel = [(x, y + 20) for x, y in body if x is not None]
    other = line((150, 80), (-3, -0.2), 30)
    discs = [Disc(body, (12, 9)), Disc(wheel, (9, 8)), Disc(other)]
    _, found = follow(discs, 30)
    rows = identities(discs, found)
    assert rows[0][5:-5] == rows[1][5:-5] == [1] * 20
    assert rows[2][3] == 2


def test_limit_keeps_the_most_prominent() -> None:
    discs = [Disc(line((20, 20), (3, 0), 30), (6, 6)), Disc(line((30, 65), (3, 0.2), 30), (14, 12))]
    _, found = follow(discs, 30, limit=1)
    rows = identities(discs, found)
    assert rows[0] == [0] * 30
    assert rows[1] == [1] * 30


@pytest.mark.parametrize(("probability", "frames", "objects"), [(0.9, 30, 2), (0.5, 30, 1), (0.9, 13, 1)])
def test_a_small_object_beside_a_large_one_must_be_sure_and_last(probability: float, frames: int, objects: int) -> None:
    large = Disc(line((40, 45), (2, 0), 30), (36, 30))
    small = Disc([place if t < frames else None for t, place in enumerate(line((152, 20), (-0.5, 2), 30))], (8, 7))
    tracker = Tracker()
    for labels, found, cues in scene([large, small], 30):
        inside = labels == 2
        found[inside] = probability
        found[tuple(np.argwhere(inside)[:1].T)] = 0.9
        tracker.advance(found, cues)
    chosen = choose_objects(tracker.tracks, tracker.neighbourhoods, tracker.absorptions, 30)
    assert len(tracker.tracks) == 2
    assert max(chosen.values()) == objects


def test_flashes_are_no_objects() -> None:
    flash = [(120.0 + t, 70.0) if t in (8, 9) else None for t in range(30)]
    discs = [Disc(line((20, 30), (3, 0), 30)), Disc(flash)]
    _, found = follow(discs, 30)
    assert found.max() == 1


def test_nothing_moving_gives_no_object() -> None:
    tracker, found = follow([Disc([(50, 50)] * 6)], 6)
    assert not tracker.tracks
    assert not found.any()
    assert found.shape == (6, *SIZE)


def test_steady_foreground_follows_the_motion_and_mends_single_frames() -> None:
    discs = [Disc(line((30, 40), (4, 1), 9), (12, 10))]
    frames = []
    for t, (_, probability, cues) in enumerate(scene(discs, 9)):
        missed = np.where(discs[0].inside(t), 0.0, probability) if t == 4 else probability
        frames.append(Found(Foreground(missed), cues))
    result = list(steady(iter(frames)))
    assert len(result) == 9
    assert all(found.cues is frame.cues for found, frame in zip(result, frames, strict=True))
    steadied = [found.foreground.probability for found in result]
    inside = discs[0].inside(4)
    assert steadied[4][inside].mean() > 0.5
    assert steadied[4][~inside].mean() < 0.1
    assert steadied[7][discs[0].inside(7)].mean() > 0.85


def test_steady_foreground_takes_nothing_from_where_the_flow_is_lost() -> None:
    frames = []
    for probability, cues in [(p, c) for _, p, c in scene([Disc(line((30, 40), (0.5, 0), 3))], 3)]:
        lost = dataclasses.replace(cues, inconsistency=np.full_like(cues.inconsistency, 20))
        frames.append(Found(Foreground(probability * (len(frames) == 1)), lost))
    probabilities = [found.foreground.probability for found in steady(iter(frames))]
    assert np.abs(probabilities[1] - frames[1].foreground.probability).max() < 0.03
    assert probabilities[0].max() < 0.03
