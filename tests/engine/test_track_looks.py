"""What tracks look like: exchanged ids are cut apart, objects are found again, look-alikes are not mixed up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from motion_scene import SIZE, Disc, line, scene, truth

from napari_appearrefine.engine.regions import Patch
from napari_appearrefine.engine.track_choice import ShownIds, choose_objects
from napari_appearrefine.engine.track_looks import (
    Looks,
    came_apart,
    continues_as_other,
    found_again,
    look,
    part_exchanged,
)
from napari_appearrefine.engine.tracking import Tracker
from napari_appearrefine.engine.tracks import Neighbourhood, Track

CHANNELS = 12
RED, GREEN, BLUE = 3 * np.eye(CHANNELS)[:3]


@pytest.fixture
def looks() -> Looks:
    looks = Looks()
    rng = np.random.default_rng(0)
    for _ in range(10):
        looks.add(rng.normal(size=(CHANNELS, 12, 20)))
    return looks


def track(track_id: int, spans: Sequence[tuple[int, int, np.ndarray]], area: int = 100) -> Track:
    """Return a track that looks as told from the first to before the second frame of each span, and rests there."""
    made = Track(track_id, Patch(0, 0, np.ones((10, area // 10), bool)), np.zeros(2))
    rng = np.random.default_rng(track_id)
    for start, stop, colour in spans:
        for frame in range(start, stop):
            made.frames.append(frame)
            made.areas.append(area)
            made.centres.append(np.array([20.0, 20.0]))
            made.weights.append(0.9 * area)
            made.residuals.append(np.array([1.0, 0.0]))
            made.looks.append(colour + rng.normal(scale=0.3, size=CHANNELS))
    made.rests = [(frame, made.patch) for frame in (spans[0][0], spans[-1][1] - 1)]
    return made


def test_a_track_that_goes_on_as_another_object_is_cut_there(looks: Looks) -> None:
    tracks = [track(1, [(0, 20, RED), (20, 40, GREEN)]), track(2, [(0, 15, GREEN)])]
    parts = part_exchanged(tracks, looks)
    assert [(part.id, part.label, part.frames[0], part.frames[-1]) for part in parts] == [
        (1, 1, 0, 19),
        (2, 2, 0, 14),
        (3, 1, 20, 39),
    ]
    assert [[frame for frame, _ in part.rests] for part in parts] == [[0], [0, 14], [39]]
    assert list(found_again(parts, looks)) == [(2, 3)]
    chosen = choose_objects(parts, {}, [], 40, looks=looks)
    ids = ShownIds(parts, chosen)
    assert chosen[2] == chosen[3] != chosen[1]
    assert ids.at(10)[1] == chosen[1]
    assert ids.at(30)[1] == ids.at(10)[2] == chosen[2]
    assert ids.objects == [1, 2]


def test_the_earlier_part_may_be_the_exchanged_one(looks: Looks) -> None:
    tracks = [track(1, [(0, 20, RED), (20, 40, GREEN)]), track(2, [(26, 40, RED)])]
    assert [part.frames[0] for part in part_exchanged(tracks, looks)] == [0, 26, 20]


@pytest.mark.parametrize(
    ("other", "area"),
    [
        ([(0, 15, BLUE)], 100),  # looks like neither part
        ([(50, 65, GREEN)], 100),  # was never seen beside the first part
        ([(0, 40, GREEN)], 100),  # is still there beside the second part
        ([(0, 15, GREEN)], 1000),  # is far larger
    ],
)
def test_an_object_that_only_turns_is_not_cut(looks: Looks, other: list, area: int) -> None:
    tracks = [track(1, [(0, 20, RED), (20, 40, GREEN)]), track(2, other, area)]
    assert part_exchanged(tracks, looks) == tracks


def apart(areas: tuple[int, int, int], colour: np.ndarray = RED) -> list[Track]:
    """Return a red track whose area falls from the first to the second, and another one of the third from then on."""
    first = track(1, [(0, 20, RED), (20, 40, 0.8 * RED + 0.4 * BLUE)], areas[0])
    second = track(2, [(20, 40, colour)], areas[2])
    first.areas[20:] = [areas[1]] * 20
    return [first, second]


def beside(difference: float = 0.6) -> dict[tuple[int, int], Neighbourhood]:
    """Return that tracks 1 and 2 were near each other while both were there; their motions differ so much."""
    return {(1, 2): Neighbourhood(list(range(20, 40)), [difference] * 20, [1.0] * 20)}


def test_what_emerges_on_the_far_side_is_a_part_of_what_is_left_on_this_side(looks: Looks) -> None:
    tracks = apart((100, 30, 80))
    assert list(came_apart(tracks, looks, beside())) == [(1, 2)]
    assert choose_objects(tracks, beside(), [], 40, looks=looks) == {1: 1, 2: 1}


@pytest.mark.parametrize(
    ("areas", "colour", "difference"),
    [
        ((100, 100, 100), RED, 0.6),  # a look-alike: nothing is missing from the first
        ((100, 70, 100), RED, 0.6),  # together far larger than the first was
        ((100, 30, 80), GREEN, 0.6),  # looks like something else
        ((100, 30, 80), 0.8 * RED + 0.6 * GREEN, 0.6),  # is less like the whole than what is left
        ((100, 30, 80), RED, 1.5),  # moves another way
    ],
)
def test_two_things_side_by_side_stay_two(
    looks: Looks, areas: tuple[int, int, int], colour: np.ndarray, difference: float
) -> None:
    tracks = apart(areas, colour)
    assert list(came_apart(tracks, looks, beside(difference))) == []
    assert set(choose_objects(tracks, beside(difference), [], 40, looks=looks).values()) == {1, 2}
    assert list(came_apart(apart((100, 30, 80)), looks, {})) == []


def test_a_speck_beside_two_objects_does_not_make_them_one() -> None:
    tracks = [track(1, [(0, 40, RED)]), track(2, [(0, 40, GREEN)]), track(3, [(20, 22, BLUE)], area=10)]
    alike = Neighbourhood([20, 21], [0.1, 0.1], [1.0, 1.0])
    chosen = choose_objects(tracks, {(1, 3): alike, (2, 3): alike}, [(3, 2)], 40)
    assert chosen[1] != chosen[2] == chosen[3]


def test_tracks_without_looks_stay_as_they_are(looks: Looks) -> None:
    tracks = [track(1, [(0, 20, RED), (20, 40, GREEN)]), track(2, [(0, 15, GREEN)])]
    assert part_exchanged(tracks, Looks()) == tracks
    for each in tracks:
        each.looks = [None] * len(each.frames)
    assert part_exchanged(tracks, looks) == tracks
    assert list(found_again(tracks, looks)) == []


def test_what_is_back_after_a_long_while_is_the_same(looks: Looks) -> None:
    tracks = [track(1, [(0, 20, RED)]), track(2, [(60, 90, RED)]), track(3, [(60, 90, GREEN)])]
    assert list(found_again(tracks, looks)) == [(1, 2)]
    chosen = choose_objects(tracks, {}, [], 90, looks=looks)
    assert chosen[1] == chosen[2] != chosen[3]
    assert len(set(choose_objects(tracks, {}, [], 90).values())) == 3


def test_look_alikes_are_not_taken_for_each_other(looks: Looks) -> None:
    tracks = [track(1, [(0, 20, RED)]), track(2, [(0, 90, RED)]), track(3, [(60, 90, RED)])]
    assert list(found_again(tracks, looks)) == []


@pytest.mark.parametrize(("left", "one"), [(30, True), (100, False)])
def test_what_is_seen_on_both_sides_of_what_it_passes_behind_is_one(looks: Looks, left: int, one: bool) -> None:
    first, second = track(1, [(0, 30, RED)]), track(2, [(20, 50, RED)])
    first.areas[20:], second.areas[:10] = [left] * 10, [70] * 10
    assert list(found_again([first, second], looks)) == ([(1, 2)] if one else [])


def test_what_looks_otherwise_does_not_continue_a_track(looks: Looks) -> None:
    red, green, short = track(1, [(0, 20, RED)]), track(2, [(20, 40, GREEN)]), track(3, [(20, 22, GREEN)])
    assert continues_as_other(red, green, looks)
    assert not continues_as_other(red, short, looks)
    assert not continues_as_other(red, track(4, [(20, 40, RED)]), looks)
    assert len(set(choose_objects([red, green], {}, [], 40).values())) == 1
    assert len(set(choose_objects([red, green], {}, [], 40, looks=looks).values())) == 2


def test_the_look_of_a_region_is_its_mean_feature() -> None:
    features = np.zeros((2, 12, 20), np.float32)
    features[1, :, 10:] = 4
    mask = np.zeros(SIZE, bool)
    mask[16:48, 64:96] = True
    assert look(features, mask) == pytest.approx([0, 2])
    assert look(features, mask & (np.arange(SIZE[1]) == 70)) is None


def test_an_object_keeps_its_id_through_a_long_absence() -> None:
    away = 25
    path = [*line((20, 40), (3, 0), 15), *([None] * away), *line((140, 70), (-3, 0), 15)]
    discs = [Disc(path, (14, 12)), Disc(line((90, 20), (0.4, 0.5), len(path)), (13, 12))]
    rng = np.random.default_rng(1)
    background = rng.normal(size=(CHANNELS, 12, 20)).astype(np.float32)
    told: dict[bool, list[int]] = {}
    for with_looks in (False, True):
        tracker = Tracker()
        for frame, (_, probability, cues) in enumerate(scene(discs, len(path))):
            features = background.copy()
            for index, colour in ((1, RED), (2, GREEN)):
                coarse = (truth(discs, frame) == index).reshape(12, 8, 20, 8).mean((1, 3))
                features += coarse * (colour[:, None, None] - features)
            tracker.advance(probability, cues, features if with_looks else None)
        tracks = part_exchanged(tracker.tracks, tracker.looks)
        chosen = choose_objects(tracks, tracker.neighbourhoods, tracker.absorptions, len(path), looks=tracker.looks)
        ids = ShownIds(tracks, chosen)
        told[with_looks] = [
            int(np.bincount(ids.at(frame)[tracker.labels[frame]][truth(discs, frame) == 1]).argmax())
            for frame in (5, len(path) - 5)
        ]
    assert told[True][0] == told[True][1] > 0
    assert told[False][0] != told[False][1]
