"""Parts of a large object are joined through what moves between them, two objects that move alike are not."""

from __future__ import annotations

import dataclasses

import numpy as np
from motion_scene import SIZE, Disc, line, scene

from napari_appearrefine.engine.bridges import moving_between
from napari_appearrefine.engine.track_choice import choose_objects
from napari_appearrefine.engine.tracking import Tracker

FRAMES = 14


def objects_found(discs: list[Disc], seen: slice | None) -> int:
    """Return how many objects are found where the foreground lacks some columns of what moves."""
    tracker = Tracker()
    for frame, (_, probability, cues) in enumerate(scene(discs, FRAMES)):
        shown = probability.copy()
        if seen is not None:
            shown[:, seen.start + 2 * frame : seen.stop + 2 * frame] = 0.02
        tracker.advance(shown, cues)
    return len(set(choose_objects(tracker.tracks, tracker.neighbourhoods, tracker.absorptions, FRAMES).values()))


def test_an_object_found_in_two_parts_is_one() -> None:
    bus = Disc(line((60, 48), (2, 0), FRAMES), (50, 14))
    assert objects_found([bus], slice(35, 85)) == 1


def test_two_objects_that_move_alike_stay_two() -> None:
    cars = [Disc(line((x, 48), (2, 0), FRAMES), (14, 14)) for x in (22, 98)]
    assert objects_found(cars, None) == 2


def test_what_lies_between_must_move_both_ways_clearly_and_alike() -> None:
    _, _, cues = next(scene([Disc(line((80, 48), (4, 0), 2), (60, 20))], 2))
    ends = np.array([[[40, 48], [120, 48]], [[40, 48], [120, 10]], [[5, 5], [150, 5]]])
    assert moving_between(ends, cues).tolist() == [True, False, False]
    one_way = cues.residual.copy()
    one_way[1] = 0
    assert not moving_between(ends, dataclasses.replace(cues, residual=one_way)).any()
    rows = np.arange(SIZE[0])[:, None, None] * np.ones((1, SIZE[1], 1))
    turning = np.where(np.arange(SIZE[1])[None, :, None] < 80, cues.residual, -cues.residual) + 0 * rows
    assert not moving_between(ends, dataclasses.replace(cues, residual=turning.astype(np.float32))).any()
    assert not moving_between(ends, dataclasses.replace(cues, scale=np.full(2, 2.0))).any()
