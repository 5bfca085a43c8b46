"""Hidden parts: what passes behind another keeps its shape, who is in front is told, neighbours hide nothing."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from motion_scene import SIZE, Disc, line, truth

from napari_appearrefine.engine.hidden_parts import Depth, hidden_parts
from napari_appearrefine.engine.regions import Patch, patches_of
from napari_appearrefine.engine.spool import Spool
from napari_appearrefine.engine.tracks import Track, motions_of_objects

FRAMES = 30


def depths(
    discs: Sequence[Disc], frames: int = FRAMES, tremble: float = 0.0, missing: Sequence[np.ndarray] = ()
) -> list[Depth]:
    """Return what is found from visible masks of discs, the later one in front, with motions that tremble.

    The masks are exact but for what is ``missing``, (h, w) bool of the first frames.
    """
    labels = Spool()
    for frame in range(frames):
        seen = truth(discs, frame)
        for lost in missing[frame : frame + 1]:
            seen[lost] = 0
        labels.append(seen)
    rng = np.random.default_rng(0)
    motions = np.array([[disc.motion(frame, 1) for disc in discs] for frame in range(frames)])
    return list(hidden_parts(labels, motions + rng.normal(0, tremble, motions.shape), range(1, len(discs) + 1)))


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


@pytest.mark.parametrize("tremble", [0.0, 0.3])
def test_what_passes_behind_another_keeps_its_shape(tremble: float) -> None:
    passing, standing = Disc(line((40, 48), (2.5, 0), FRAMES)), Disc([(80, 48)] * FRAMES, (14, 20))
    hidden_frames = 0
    for frame, depth in enumerate(depths([passing, standing], tremble=tremble)):
        labels = truth([passing, standing], frame)
        whole = depth.whole(labels)
        assert jaccard(whole[1], passing.inside(frame)) > (0.85 if tremble else 0.9)
        np.testing.assert_array_equal(whole[2], standing.inside(frame))
        if 1 in depth.hidden:
            hidden_frames += 1
            assert depth.front_to_back == (2, 1)
    assert hidden_frames >= 14


def test_a_hole_that_goes_behind_another_is_none_there() -> None:
    passing, standing = Disc(line((40, 48), (2.5, 0), FRAMES), (8, 8)), Disc([(80, 48)] * FRAMES, (16, 20))
    holes = [Disc(line((40, 48), (2.5, 0), FRAMES), (2, 2)).inside(frame) for frame in range(FRAMES)]
    depth = depths([passing, standing], missing=[hole & ~standing.inside(frame) for frame, hole in enumerate(holes)])
    assert (depth[16].hidden[1].on(SIZE) & holes[16]).sum() == holes[16].sum()


def test_what_begins_behind_another_is_known_from_later_frames() -> None:
    emerging, standing = Disc(line((72, 48), (2.5, 0), FRAMES)), Disc([(70, 48)] * FRAMES, (14, 20))
    first = depths([emerging, standing])[0]
    assert first.front_to_back == (2, 1)
    assert jaccard(first.whole(truth([emerging, standing], 0))[1], emerging.inside(0)) > 0.9


def test_what_is_hidden_altogether_is_still_told() -> None:
    passing, standing = Disc(line((40, 48), (2.5, 0), FRAMES), (6, 6)), Disc([(80, 48)] * FRAMES, (16, 20))
    depth = depths([passing, standing])[16]
    assert not (truth([passing, standing], 16) == 1).any()
    assert jaccard(depth.hidden[1].on(SIZE), passing.inside(16)) > 0.9


def test_neighbours_that_only_touch_hide_nothing() -> None:
    one, other = Disc(line((60, 40), (1, 0.5), FRAMES)), Disc(line((77.5, 40), (1, 0.5), FRAMES))
    for depth in depths([one, other], tremble=0.4):
        assert not depth.hidden


def test_masks_are_completed_at_the_size_of_the_video() -> None:
    passing, standing = Disc([(70, 48)] * 2), Disc([(80, 48)] * 2, (14, 20))
    hidden = patches_of((passing.inside(0) & standing.inside(0)).astype(np.uint8))
    labels = truth([passing, standing], 0).repeat(5, 0).repeat(5, 1).astype(np.uint8)
    whole = Depth(hidden, (2, 1), SIZE).whole(labels)
    assert jaccard(whole[1], passing.inside(0).repeat(5, 0).repeat(5, 1)) > 0.97
    assert not (whole[1] & (labels == 0)).any()


def test_an_object_moves_on_between_the_frames_that_show_it() -> None:
    tracks = []
    for track_id, (frames, motion) in enumerate(
        [([0, 1], (2.0, 0.0)), ([5, 6], (4.0, 1.0)), ([0], (9.0, 9.0))], start=1
    ):
        track = Track(track_id, Patch(0, 0, np.ones((2, 2), bool)), np.zeros(2))
        track.frames, track.areas, track.motions = frames, [4] * len(frames), [np.array(motion)] * len(frames)
        tracks.append(track)
    motions = motions_of_objects(tracks, {1: 7, 2: 7}, 8)
    np.testing.assert_allclose(motions[:, 0, 0], [2, 2, 2.5, 3, 3.5, 4, 4, 4])
    np.testing.assert_allclose(motions[:, 0, 1], [0, 0, 0.25, 0.5, 0.75, 1, 1, 1])


def test_a_clip_without_objects_in_some_frames() -> None:
    coming = Disc([None, None, (80, 48), (82, 48), None])
    found = depths([coming], 5)
    assert [depth.front_to_back for depth in found] == [(), (), (1,), (1,), ()]
    assert all(not depth.hidden for depth in found)
    assert found[2].whole(np.zeros(SIZE, np.uint8))[1].sum() == 0


def test_memory_follows_what_is_hidden_not_the_number_of_objects() -> None:
    size, objects, frames = (512, 640), 60, 3
    labels = Spool()
    for _ in range(frames):
        plane = np.zeros(size, np.uint8)
        for index in range(objects):
            top, left = 40 * (index // 10) + 20, 60 * (index % 10) + 20
            plane[top : top + 20, left : left + 20] = index + 1
        labels.append(plane)
    ids = range(1, objects + 1)
    list(hidden_parts(labels, np.zeros((frames, objects, 2)), ids))
    tracemalloc.start()
    try:
        for frame, depth in enumerate(hidden_parts(labels, np.zeros((frames, objects, 2)), ids)):
            whole = depth.whole(labels[frame])
            assert [int(shape.sum()) for shape in whole.values()] == [400] * objects
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A plane for each object would take 60 of them.
    assert peak < 25 * size[0] * size[1]
