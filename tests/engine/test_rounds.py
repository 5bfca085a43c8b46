"""Rounds of correction: they end by themselves, each gives every frame, and what a person settled stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.events import FrameLabels, Progress
from napari_appearrefine.core.guidance import Guidance, MasksWithTruth
from napari_appearrefine.core.labels import label_dtype, object_areas
from napari_appearrefine.engine.interface import ClipInputs
from napari_appearrefine.engine.propagation import REACH
from napari_appearrefine.engine.reuse import RunStore
from napari_appearrefine.engine.rounds import KeptLabels, correct_in_rounds
from napari_appearrefine.engine.selection import nearest_exemplars

FRAMES, SIZE = 6, (40, 50)


@dataclass
class GrowingModel:
    """Grows each mask by a column a round until it reaches a limit."""

    limit: int
    spreads_exemplars: bool = True
    taught: list[dict] = field(default_factory=list)
    seen: list[np.ndarray] = field(default_factory=list)
    still: list[frozenset[int]] = field(default_factory=list)

    def confirmed(self, inputs, exemplars):
        return exemplars

    def correct(self, inputs, scores, exemplars) -> Iterator[FrameLabels]:
        self.taught.append(exemplars)
        self.still.append(inputs.still)
        self.seen.append(np.stack([inputs.labels(frame) for frame in range(len(inputs.clip))]))
        for frame in range(len(inputs.clip)):
            labels = inputs.labels(frame).copy()
            width = int((labels == 3).any(0).sum())
            if width < self.limit:
                labels[10:20, 5 : 6 + width] = 3
            yield FrameLabels(frame, labels.astype(label_dtype(inputs.object_ids)), {3: 0.5 + 0.05 * frame})


def run(model, masks, rounds, guidance=None, rough=None, exemplars=3):
    frames = len(masks)
    clip = Clip(np.zeros((frames, *SIZE, 3), np.uint8))
    rough = masks if rough is None else rough
    areas, reuse = object_areas(masks), RunStore().start(None, clip)
    inputs = ClipInputs(clip, masks, areas, reuse.prepare_features, reuse, "masks", guidance or Guidance())
    labels, given, outcome = {}, [], None
    before = replace(inputs, masks=rough, areas=object_areas(rough), guidance=inputs.guidance.without_settled())
    scores = np.full((frames, len(areas)), 0.4, np.float32)
    events = correct_in_rounds(model, inputs, before, scores, exemplars, rounds)
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            outcome = stop.value
            break
        if isinstance(event, FrameLabels):
            labels[event.frame] = event.labels
            given.append(event.frame)
        else:
            assert isinstance(event, Progress)
    assert given == [*range(frames)] * outcome.rounds
    return np.stack([labels[frame] for frame in range(frames)]), outcome


@pytest.fixture
def masks():
    masks = np.zeros((FRAMES, *SIZE), np.uint8)
    masks[:, 10:20, 5:8] = 3
    return masks


@pytest.mark.parametrize(
    ("rounds", "limit", "expected", "used"), [(1, 9, 4, 1), (3, 9, 6, 3), (4, 3, 3, 1), (4, 4, 4, 2)]
)
def test_rounds_build_on_each_other_and_end_by_themselves(masks, rounds, limit, expected, used):
    model = GrowingModel(limit)
    refined, outcome = run(model, masks, rounds)
    assert {int((plane == 3).any(0).sum()) for plane in refined} == {expected}
    assert outcome.rounds == used == len(model.taught)
    assert outcome.quality.shape == (FRAMES, 1)
    assert outcome.exemplars == model.taught[-1]


def test_later_rounds_learn_from_the_frames_that_were_surest(masks):
    model = GrowingModel(9)
    run(model, masks, 2)
    assert FRAMES - 1 in model.taught[1][3]


def test_a_frame_is_still_when_no_object_in_it_changed_however_small_it_is():
    masks = np.zeros((FRAMES, *SIZE), np.uint8)
    masks[:, 22:, :] = 5
    masks[:, 10:20, 5:8] = 3
    masks[[1, 4], 10:20, 5:9] = 3
    model = GrowingModel(4)
    refined, _ = run(model, masks, 3)
    assert model.still == [frozenset(), frozenset({1, 4})]
    assert np.array_equal(refined[0], masks[1])


def test_settled_pixels_stay_through_all_rounds(masks):
    guidance = Guidance(truth={3: frozenset({2})}, locked={3: frozenset({4})})
    refined, outcome = run(GrowingModel(9), masks, 3, guidance)
    for frame in (2, 4):
        assert np.array_equal(refined[frame], masks[frame])
    assert (refined[1] == 3).any(0).sum() == 6
    assert outcome.quality[2, 0] == 1


def test_what_a_person_drew_takes_part_in_the_last_round_alone(masks):
    drawn = masks.copy()
    drawn[2] = 0
    drawn[2, 30:35, 30:35] = 3
    guidance = Guidance(truth={3: frozenset({2})})
    model = GrowingModel(9)
    refined, outcome = run(model, MasksWithTruth(masks, drawn, guidance), 3, guidance, rough=masks)
    assert outcome.rounds == 3
    assert np.array_equal(refined[2], drawn[2])
    assert np.array_equal(model.seen[0], masks)
    assert [np.array_equal(seen[2], drawn[2]) for seen in model.seen] == [False, False, True]
    assert 2 in model.taught[-1][3]
    assert (refined[1] == 3).any(0).sum() == 6


def test_frames_that_truth_does_not_reach_stay_still_in_the_last_round(masks):
    model = GrowingModel(4)
    run(model, np.repeat(masks[:1], 80, axis=0), 3, Guidance(truth={3: frozenset({5})}), exemplars=10)
    assert len(model.still) == 3
    still, taught = model.still[-1], model.taught[-1][3]
    assert 5 in taught
    assert 5 in still
    still = still - {5}
    assert max(still) == 79
    assert min(still) > 5 + REACH
    assert all(5 not in nearest_exemplars(frame, taught, 3) for frame in still)
    assert any(5 in nearest_exemplars(frame, taught) for frame in still)


def test_a_frame_is_finished_when_all_its_objects_are_settled(masks):
    masks[:, 25:30, 30:40] = 7
    model = GrowingModel(9)
    run(model, masks, 1, Guidance(truth={3: frozenset({1, 2})}, locked={7: frozenset({2, 4})}))
    assert model.still == [frozenset({2})]


def test_an_object_without_a_rough_mask_gets_rounds_that_begin_with_what_was_drawn(masks):
    drawn = masks.astype(np.uint16)
    drawn[1, 30:35, 30:35] = 300
    guidance = Guidance(truth={300: frozenset({1})})
    model = GrowingModel(9)
    refined, outcome = run(model, MasksWithTruth(masks, drawn, guidance), 3, guidance, rough=masks)
    assert outcome.rounds == 5
    assert [sorted(taught) for taught in model.taught] == [[3], [3], [3, 300], [3, 300], [3, 300]]
    assert refined.dtype == np.uint16
    assert np.array_equal(refined[1] == 300, drawn[1] == 300)
    assert outcome.quality[1].tolist()[1] == 1


def test_kept_labels_are_what_was_put_in():
    rng = np.random.default_rng(0)
    kept = KeptLabels((2, 30, 40), np.dtype(np.uint16))
    planes = rng.integers(0, 400, (2, 30, 40)).astype(np.uint16)
    for frame in (1, 0):
        kept.put(FrameLabels(frame, planes[frame], {7: 0.5}))
    assert len(kept) == 2
    assert np.array_equal(np.stack([kept[0], kept[1]]), planes)
    assert kept.areas(7).tolist() == [np.count_nonzero(plane == 7) for plane in planes]
