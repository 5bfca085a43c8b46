"""A person's marks in a run: what is settled comes out bit for bit, and what is kept from earlier runs is right."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from whole_runs import refine_all

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.events import FrameLabels, Progress, run_to_end
from napari_appearrefine.core.guidance import Guidance, MasksWithTruth
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine.builtin import BuiltinModel
from napari_appearrefine.engine.digests import digest
from napari_appearrefine.engine.explanation import explain_frame
from napari_appearrefine.engine.followability import motion_links
from napari_appearrefine.engine.interface import ClipInputs
from napari_appearrefine.engine.refinement import refine
from napari_appearrefine.engine.resources import Resources
from napari_appearrefine.engine.reuse import RunStore
from napari_appearrefine.engine.selection import select_exemplars
from napari_appearrefine.files.samples import open_sample
from napari_appearrefine.training.damage import damage_clip

FRAMES = 3
labels = arrays(np.uint8, (FRAMES, 4, 5), elements=st.integers(0, 3))
marks = st.dictionaries(st.integers(1, 4), st.sets(st.integers(0, FRAMES - 1)))


class WilfulModel:
    """Gives back labels of its own, whatever the masks are."""

    name = "wilful"
    spreads_exemplars = True
    most_rounds = 1

    def __init__(self, wanted: np.ndarray) -> None:
        self.wanted = wanted

    def fitted_to(self, size, areas):
        return self

    def features(self, image: np.ndarray) -> np.ndarray:
        return image

    def score(self, inputs: ClipInputs) -> Generator[Progress, None, np.ndarray]:
        yield Progress("Scoring masks", 1, 1)
        return np.tile(np.linspace(0.2, 0.6, len(inputs.clip), dtype=np.float32)[:, None], (1, len(inputs.areas)))

    def confirmed(self, inputs, exemplars):
        return exemplars

    def correct(
        self, inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> Iterator[FrameLabels]:
        for frame in range(len(inputs.clip)):
            yield FrameLabels(frame, self.wanted[frame], dict.fromkeys(inputs.object_ids, 0.5))


@settings(max_examples=60, deadline=None)
@given(labels, labels, marks, marks)
def test_no_model_changes_what_is_true_or_locked(masks, wanted, truth, locked):
    if not masks.any():
        masks[0, 0, 0] = 1
    guidance = Guidance(truth=truth, locked=locked)
    clip = Clip(np.zeros(masks.shape, np.uint8))
    refined, report = refine_all(clip, masks, model=WilfulModel(wanted), guidance=guidance)
    for mark in (truth, locked):
        for object_id, frames in mark.items():
            for frame in frames:
                assert np.array_equal(refined[frame] == object_id, masks[frame] == object_id)
    free = [frame for frame in range(FRAMES) if not guidance.settled(frame)]
    assert np.array_equal(refined[free], wanted[free])
    assert report.details["guidance"] == guidance.to_json()


def test_an_object_that_only_a_person_drew_is_refined_too():
    rough = np.zeros((3, 4, 5), np.uint8)
    rough[:, 0] = 1
    drawn = rough.copy()
    drawn[1, 2:] = 2
    guidance = Guidance(truth={2: {1}})
    clip = Clip(np.zeros(rough.shape, np.uint8))
    masks = MasksWithTruth(rough, drawn, guidance)
    refined, report = refine_all(clip, masks, model=WilfulModel(rough), guidance=guidance)
    assert report.objects == [1, 2]
    assert report.exemplars[2] == [1]
    assert np.array_equal(refined[1] == 2, drawn[1] == 2)
    nothing = MasksWithTruth(np.zeros_like(rough), drawn, Guidance(truth={2: {1}}))
    _, report = refine_all(clip, nothing, model=WilfulModel(rough), guidance=guidance)
    assert report.objects == [2]
    assert report.scores == [[0.0], [0.0], [0.0]]


def test_the_report_tells_marks_exemplars_and_quality():
    masks = np.ones((4, 4, 4), np.uint8)
    guidance = Guidance(pinned={1: {0}}, banned={1: {3}}, truth={1: {1}})
    clip = Clip(np.zeros(masks.shape, np.uint8))
    parameters = RefineParameters(exemplars=3)
    _, report = refine_all(clip, masks, parameters, model=WilfulModel(masks), guidance=guidance)
    assert report.exemplars == {1: [0, 1, 2]}
    assert report.quality == [[0.5], [1.0], [0.5], [0.5]]
    assert report.input_quality[1] == [1.0]
    assert report.scores[1] == [max(score for (score,) in report.scores)]


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        (Guidance(truth={1: {9}}), "Frame 9 is true for object 1"),
        (Guidance(locked={1: {7}}), "Frame 7 is locked for object 1"),
        (Guidance(banned={1: set(range(4))}), "All frames with object 1 are banned"),
    ],
)
def test_marks_that_cannot_be_followed_are_refused(guidance, message):
    masks = np.ones((4, 4, 4), np.uint8)
    events = refine(Clip(np.zeros(masks.shape)), masks, model=WilfulModel(masks), guidance=guidance)
    with pytest.raises(UserError, match=message):
        list(events)


def test_selection_follows_pins_and_bans():
    scores = np.linspace(1, 0, 20)[:, None]
    areas = {5: np.full(20, 9)}
    assert select_exemplars(scores, areas, 3, guidance=Guidance(banned={5: {0, 1}})) == {5: [2, 3, 4]}
    pinned = select_exemplars(scores, areas, 3, spread=True, guidance=Guidance(pinned={5: {2, 19}}))
    assert {2, 19} <= set(pinned[5])
    (chosen,) = set(pinned[5]) - {2, 19}
    assert abs(chosen - 2) >= 20 / 6
    more = select_exemplars(scores, areas, 2, guidance=Guidance(truth={5: {4, 9, 14}}))
    assert more == {5: [0, 1, 4, 9, 14]}


def test_a_true_frame_leaves_exemplars_far_from_it_as_they_were():
    rng = np.random.default_rng(0)
    areas = {1: np.full(80, 9)}
    for _ in range(20):
        scores = rng.random((80, 1))
        before = set(select_exemplars(scores, areas, 8, spread=True)[1])
        after = set(select_exemplars(scores, areas, 8, spread=True, guidance=Guidance(truth={1: {40}}))[1])
        assert 40 in after
        assert all(abs(frame - 40) < 80 / 16 for frame in before ^ after)


@pytest.fixture(scope="module")
def model() -> BuiltinModel:
    return BuiltinModel.load(torch.device("cpu"))


@pytest.fixture(scope="module")
def fish() -> tuple[Clip, np.ndarray, np.ndarray]:
    """Eight frames of the sample at a third of its size, the truth, and masks with faults."""
    video, masks = open_sample("crossing")
    clip = Clip(np.stack([video.raw(frame)[::3, ::3] for frame in range(8)]), "fish")
    truth = np.stack([np.asarray(masks[frame])[::3, ::3] for frame in range(8)])
    rough, _ = damage_clip(truth, np.random.default_rng(3), share_of_frames=0.6)
    return clip, truth, rough


def corrected(truth: np.ndarray, rough: np.ndarray, frames: set[int]) -> tuple[MasksWithTruth, Guidance]:
    guidance = Guidance(truth={1: frames, 2: frames})
    return MasksWithTruth(rough, truth, guidance), guidance


def test_a_run_after_an_edit_is_that_of_a_full_run(model, fish):
    clip, truth, rough = fish
    parameters = RefineParameters(exemplars=6, rounds=1)
    store = RunStore()
    first, _ = refine_all(clip, rough, parameters, model=model, store=store)
    assert store.computed == {"features": 8, "score": 8, "correction": 8}
    again, _ = refine_all(clip, rough, parameters, model=model, store=store)
    assert not store.computed
    assert np.array_equal(again, first)

    masks, guidance = corrected(truth, rough, {6})
    second, report = refine_all(clip, masks, parameters, model=model, guidance=guidance, store=store)
    assert store.computed["features"] == store.computed["score"] == 0
    fresh, expected = refine_all(clip, masks, parameters, model=model, guidance=guidance)
    assert np.array_equal(second, fresh)
    assert (report.scores, report.exemplars, report.quality) == (expected.scores, expected.exemplars, expected.quality)
    assert np.array_equal(second[6], truth[6])


def test_a_restart_computes_nothing_of_a_run_that_was_made(fish, cache_folder):
    clip, _, rough = fish
    parameters = RefineParameters(exemplars=6, rounds=2)
    first, report = refine_all(clip, rough, parameters)
    store = RunStore()
    again, repeated = refine_all(clip, rough, parameters, store=store)
    assert np.array_equal(again, first)
    assert (repeated.scores, repeated.quality) == (report.scores, report.quality)
    assert not store.computed
    changed = rough.copy()
    changed[:, :10] = 0
    refine_all(clip, changed, replace(parameters, rounds=1), store=store)
    assert store.computed["correction"] == 8
    without, _ = refine_all(clip, rough, replace(parameters, cache=False))
    assert np.array_equal(without, first)
    assert len(list(cache_folder.glob("features/*"))) == 8


def test_an_interrupted_run_goes_on_where_it_stopped(fish):
    clip, _, rough = fish
    parameters = RefineParameters(exemplars=6, rounds=1)
    events = refine(clip, rough, parameters)
    while not isinstance(event := next(events), FrameLabels) or event.frame < 3:
        pass
    events.close()
    store = RunStore()
    refine_all(clip, rough, parameters, store=store)
    assert store.computed["score"] == 0
    assert store.reused["correction"] >= 4


def test_rounds_before_the_last_know_nothing_of_an_edit(model, fish):
    clip, truth, rough = fish
    store = RunStore()
    _, first = refine_all(clip, rough, model=model, store=store)
    assert first.details["rounds"] == 3
    for frames in ({6}, {2, 6}):
        masks, guidance = corrected(truth, rough, frames)
        second, report = refine_all(clip, masks, model=model, guidance=guidance, store=store)
        assert store.computed["correction"] <= len(clip)
        assert store.reused["correction"] < len(clip)
        assert store.computed["features"] == store.computed["score"] == 0
        fresh, expected = refine_all(clip, masks, model=model, guidance=guidance)
        assert np.array_equal(second, fresh)
        assert (report.exemplars, report.quality) == (expected.exemplars, expected.quality)
        assert all(np.array_equal(second[frame], truth[frame]) for frame in frames)


def test_frames_far_from_an_edit_are_not_computed_again(model):
    """Forty small frames that all differ; what is far from the edited one keeps its exemplars and its flow."""
    rng = np.random.default_rng(0)
    video = rng.integers(0, 60, (40, 64, 64, 3)).astype(np.uint8)
    masks = np.zeros((40, 64, 64), np.uint8)
    masks[:, 16:48, 16:48] = 1
    video[masks == 1] += 180
    drawn = masks.copy()
    drawn[2, 16:18, 16:18] = 0
    guidance = Guidance(truth={1: {2}})
    store, parameters = RunStore(), RefineParameters(rounds=1)
    clip = Clip(video)
    refine_all(clip, masks, parameters, model=model, store=store)
    edited = MasksWithTruth(masks, drawn, guidance)
    refine_all(clip, edited, parameters, model=model, guidance=guidance, store=store)
    assert store.reused["score"] == 40
    assert 0 < store.reused["correction"] < 40 - 16


def test_one_true_frame_overrules_a_fault_that_all_masks_share(model, fish):
    """Every mask of a fish takes the same patch of background along; nothing but a person can tell."""
    clip, truth, _ = fish
    rough = truth.copy()
    for frame, labels in enumerate(truth):
        rows, columns = np.nonzero(labels == 1)
        beside = np.zeros(labels.shape, bool)
        beside[rows.min() : rows.max() + 1, max(columns.min() - 16, 0) : columns.min() + 4] = True
        rough[frame][beside & (labels == 0)] = 1
    masks, guidance = corrected(truth, rough, {3})
    _, without = refine_all(clip, rough, model=model)
    refined, report = refine_all(clip, masks, model=model, guidance=guidance)
    assert len(without.exemplars[1]) > 2
    assert len(report.exemplars[1]) < len(without.exemplars[1])

    def excess(result: np.ndarray) -> int:
        return np.count_nonzero((result == 1) & (truth != 1))

    assert excess(refined) < 0.2 * excess(rough)


def test_true_masks_reach_the_frames_around_them(model, fish):
    clip, truth, rough = fish
    masks, guidance = corrected(truth, rough, {4})
    without, _ = refine_all(clip, rough, model=model)
    refined, report = refine_all(clip, masks, model=model, guidance=guidance)
    near = [2, 3, 5, 6]

    def region(result: np.ndarray) -> float:
        pairs = [(result[near] == object_id, truth[near] == object_id) for object_id in (1, 2)]
        return float(np.mean([np.count_nonzero(a & b) / np.count_nonzero(a | b) for a, b in pairs]))

    assert 1 - region(refined) < 0.8 * (1 - region(without))
    quality = np.array(report.quality)
    assert quality[4].tolist() == [1.0, 1.0]
    assert ((quality > 0) & (quality <= 1)).all()


def test_one_frame_is_explained_without_a_run(model, fish):
    clip, _, rough = fish
    holed = rough.copy()
    _, report = refine_all(clip, rough, model=model)
    frame = 5
    holed[frame] = np.where(rough[frame] == 1, 0, rough[frame])
    holed[frame, :14, :14] = 1
    told = explain_frame(clip, holed, frame, report.exemplars, report.scores, model=model)
    assert told.too_much(1)[:14, :14].mean() > 0.5
    assert not told.too_much(1)[14:, 14:].any()
    assert not told.too_little(1)[:14, :14].any()
    for object_id, exemplars in report.exemplars.items():
        shares = told.influence[object_id]
        assert set(shares) <= set(exemplars) - {frame}
        assert sum(shares.values()) == pytest.approx(1, abs=0.01)


def test_likely_errors_are_what_a_run_changes(model, fish):
    clip, truth, rough = fish
    masks, guidance = corrected(truth, rough, {6})
    parameters, taken, added = RefineParameters(rounds=1), 0, 0
    for source, marks in ((rough, Guidance()), (masks, guidance)):
        refined, report = refine_all(clip, source, parameters, model=model, guidance=marks)
        for frame in (0, 2, 3, 5):
            told = explain_frame(
                clip, source, frame, report.exemplars, report.scores, parameters, model=model, guidance=marks
            )
            for object_id in report.objects:
                before, after = source[frame] == object_id, refined[frame] == object_id
                assert np.array_equal(told.too_much(object_id) > 0.5, before & ~after)
                assert np.array_equal(told.too_little(object_id) > 0.5, after & ~before)
                taken += np.count_nonzero(before & ~after)
                added += np.count_nonzero(after & ~before)
    assert min(taken, added) > 50


def test_a_frame_drawn_since_the_run_explains_its_neighbours(model, fish):
    clip, truth, rough = fish
    parameters = RefineParameters(rounds=1)
    _, report = refine_all(clip, rough, parameters, model=model)
    masks, guidance = corrected(truth, rough, {4})
    told = explain_frame(clip, masks, 5, report.exemplars, report.scores, parameters, model=model, guidance=guidance)
    assert 4 in told.influence[1]
    banned = replace(guidance, banned={1: {4}})
    told = explain_frame(clip, masks, 5, report.exemplars, report.scores, parameters, model=model, guidance=banned)
    assert 4 not in told.influence[1]


def test_links_are_weak_where_an_object_jumps(fish):
    clip, truth, _ = fish
    order = [0, 1, 2, 7, 6, 5]
    jumpy = Clip(np.stack([clip.raw(frame) for frame in order]))
    store = RunStore()
    steps = motion_links(jumpy, truth[order], [1, 2, 9], store)
    progress: list[Progress] = []
    links = run_to_end(steps, progress.append)
    assert [each.done for each in progress] == [1, 2, 3, 4, 5, 6]
    for object_id in (1, 2):
        assert links[object_id].shape == (5,)
        assert links[object_id][2] < links[object_id][[0, 1, 3, 4]].min()
    assert links[9].tolist() == [0.5] * 5
    again = motion_links(jumpy, truth[order], [1], store)
    assert len(list(again)) == 6


def test_a_model_that_cannot_explain_says_so():
    masks = np.ones((2, 4, 4), np.uint8)
    with pytest.raises(UserError, match="wilful does not tell"):
        explain_frame(Clip(np.zeros(masks.shape)), masks, 0, {1: [0]}, [[1.0]], model=WilfulModel(masks))


def test_digests_tell_apart_what_is_not_the_same():
    one, two = np.zeros(4, np.uint8), np.zeros((2, 2), np.uint8)
    parts = [
        [one, two],
        [one],
        [two],
        [one.astype(np.int8)],
        [one, [two]],
        [b"a", "b"],
        ["a", b"b"],
        [1, 2],
        [12],
        [1.0],
    ]
    assert len({digest(part) for part in parts}) == len(parts)
    assert digest([one, {"a": 1}]) == digest([one.copy(), {"a": 1}])


def test_masks_are_known_again_whatever_type_holds_them():
    masks = np.zeros((3, 4, 5), np.uint8)
    masks[1, 2, 2:4] = (1, 200)
    clip = Clip(np.zeros(masks.shape, np.uint8))
    reuse = RunStore().start(None, clip)
    large = masks.astype(np.int64)
    large[1, 2, 3] = 456
    of_bytes, of_words, of_others = (
        [ClipInputs(clip, each, {}, reuse.prepare_features, reuse).label_digest(frame) for frame in range(3)]
        for each in (masks, masks.astype(np.uint16), large)
    )
    assert of_bytes == of_words
    assert of_bytes[0] == of_bytes[2] == of_others[0]
    assert len({of_bytes[0], of_bytes[1], of_others[1]}) == 3


def test_masks_of_one_object_are_told_apart_by_every_pixel_and_by_their_shape():
    place = np.arange(20)
    one_pixel = (place[:, None] == place).astype(np.uint8)
    masks = np.concatenate([one_pixel, np.zeros((1, 20), np.uint8)])
    shapes = (4, 5), (5, 4)
    found = [
        ClipInputs(Clip(frames), frames, {}, reuse.prepare_features, reuse).label_digest(frame)
        for frames in (masks.reshape(21, *shape) for shape in shapes)
        for reuse in (RunStore().start(None, Clip(frames)),)
        for frame in range(21)
    ]
    assert len(set(found)) == 42


def test_a_store_keeps_within_its_limit():
    masks = np.zeros((4, 4, 4), np.uint8)
    clip = Clip(np.arange(64, dtype=np.uint8).reshape(masks.shape))
    reuse = RunStore().start(WilfulModel(masks), clip, Resources(150))
    assert 150 / 4 < reuse.features(0).nbytes < 150 / 2
    for frame in (1, 2, 3, 3, 0):
        reuse.features(frame)
    # The newest, and the one that comes first when a run begins again; those between have left.
    assert reuse.reused["features"] == 2
    assert reuse.computed["features"] == 4


def test_what_an_earlier_run_left_makes_room():
    masks = np.zeros((4, 4, 4), np.uint8)
    store, model = RunStore(), WilfulModel(masks)
    for start in (0, 100):
        clip = Clip(np.arange(start, start + 64, dtype=np.uint8).reshape(masks.shape))
        reuse = store.start(model, clip, Resources(150))
        for frame in (0, 1, 0, 1):
            reuse.features(frame)
        assert reuse.reused["features"] == 2


def test_frames_are_not_read_to_be_known_again_by_nobody():
    masks = np.zeros((4, 4, 4), np.uint8)
    clip = Clip(np.zeros(masks.shape, np.uint8))
    clip.raw = None  # type: ignore[assignment,method-assign]
    reuse = RunStore(result_bytes=0).start(WilfulModel(masks), clip)
    assert reuse.image_digest(0) != reuse.image_digest(1)
    assert reuse.find("score", [reuse.image_digest(0)]).arrays is None


def test_another_model_shares_nothing():
    masks = np.ones((2, 4, 4), np.uint8)
    clip, store = Clip(np.zeros(masks.shape, np.uint8)), RunStore()
    for _ in range(2):
        reuse = store.start(WilfulModel(masks), clip, Resources(1 << 20))
        reuse.features(0)
        assert reuse.computed["features"] == 1
