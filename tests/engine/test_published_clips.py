"""Clips the released code cannot take: short, long, with other ids, with more than three objects, with empty masks."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from published_reference import filled, filled_model, inputs_of, recorded_clip

from napari_appearrefine.core.events import run_to_end
from napari_appearrefine.engine.checkpoints import OCLR
from napari_appearrefine.engine.networks.attention import OtherFramesAttention, SlotAttention
from napari_appearrefine.engine.networks.inputs import resized_planes
from napari_appearrefine.engine.oclr_masks import OclrModel, frame_groups, network_flow
from napari_appearrefine.engine.selection import select_exemplars
from napari_appearrefine.engine.windows import labels_from_probabilities, object_groups, windows


def refined(frames: np.ndarray, labels: np.ndarray, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Scores and refined labels of a clip."""
    model, inputs = filled_model(), inputs_of(frames, labels)
    scores = run_to_end(model.score(inputs))
    exemplars = select_exemplars(scores, inputs.areas, count)
    results = {result.frame: result.labels for result in model.correct(inputs, scores, exemplars)}
    assert list(results) == list(range(len(frames)))
    return scores, np.stack(list(results.values()))


@pytest.mark.parametrize("length", [1, 2, 8])
def test_short_clips(length):
    recorded = recorded_clip()
    scores, labels = refined(recorded["frames"][:length], recorded["labels"][:length])
    assert np.isfinite(scores).all()
    assert np.allclose(scores.sum(axis=0), 1, atol=1e-5)
    assert labels.shape == (length, 120, 160)
    # With these weights nearly half of all pixels exceed 0.5: nothing but background would mean NaN.
    assert all((frame > 0).mean() > 0.1 for frame in labels)


def test_one_exemplar_only_leaves_queries_of_its_frame_without_keys():
    recorded = recorded_clip()
    _, labels = refined(recorded["frames"][:2], recorded["labels"][:2], count=1)
    assert all((frame > 0).mean() > 0.1 for frame in labels)


def test_ids_are_kept_and_an_absent_object_never_appears():
    recorded = recorded_clip()
    frames, labels = recorded["frames"][:3], recorded["labels"][:3].astype(np.uint16)
    without_two = np.where(labels == 2, 0, labels)
    _, kept = refined(frames, without_two)
    assert set(np.unique(kept)) <= {0, 1, 3}
    renumbered = np.array([0, 700, 0, 65535], np.uint16)[without_two]
    _, large = refined(frames, renumbered)
    assert large.dtype == np.uint16
    assert set(np.unique(large)) <= {0, 700, 65535}


def test_an_object_without_a_pixel_at_network_size_is_survived():
    recorded = recorded_clip()
    labels = np.zeros((2, 1200, 1600), np.uint8)
    labels[0, 3, 3] = 1
    frames = np.repeat(np.repeat(recorded["frames"][:2], 10, axis=1), 10, axis=2)
    scores, result = refined(frames, labels)
    assert np.isfinite(scores).all()
    assert result.shape == labels.shape


def test_groups_of_objects():
    assert object_groups([1]) == [(1, None, None)]
    assert object_groups([1, 3]) == [(1, None, 3)]
    assert object_groups([2, 5]) == [(2, 5, None)]
    assert object_groups([1, 2, 3, 4]) == [(1, 2, 3), (4, None, None)]


def test_more_than_three_objects_change_nothing_for_the_first_three():
    """Ids 1 to 3 form a group of their own, so their probabilities are those of a clip without id 4."""
    recorded = recorded_clip()
    frames, labels = recorded["frames"][:2], recorded["labels"][:2]
    model, three = filled_model(), inputs_of(frames, labels)
    four = inputs_of(frames, np.where((labels == 0) & (np.arange(160) < 30), 4, labels))
    scores = run_to_end(model.score(four))
    assert scores.shape == (2, 4)
    assert np.allclose(scores[:, :3], run_to_end(model.score(three)), atol=1e-6)
    exemplars = select_exemplars(scores, four.areas, 10)
    (window,), groups = windows(2), object_groups([1, 2, 3, 4])
    memories = [model.memory(four, group, scores, exemplars) for group in groups]
    logits = [
        model.correct_window(four, window, group, memory).logits for group, memory in zip(groups, memories, strict=True)
    ]
    alone = model.memory(three, groups[0], scores[:, :3], exemplars)
    assert torch.allclose(logits[0], model.correct_window(three, window, groups[0], alone).logits, atol=1e-5)
    joined = labels_from_probabilities(torch.cat(logits, dim=1)[0].sigmoid().numpy(), groups, (120, 160))
    assert (next(iter(model.correct(four, scores, exemplars))).labels == joined).all()


def test_no_exemplar_at_all_is_survived():
    recorded = recorded_clip()
    inputs = inputs_of(recorded["frames"][:1], recorded["labels"][:1])
    found = filled_model().correct(inputs, np.ones((1, 3), np.float32), {1: [], 2: [], 3: [0]})
    assert [(result.labels > 0).mean() > 0.1 for result in found] == [True]
    found = filled_model().correct(inputs, np.ones((1, 3), np.float32), {1: [], 2: [], 3: []})
    assert [result.frame for result in found] == [0]


def test_the_higher_probability_wins_between_groups():
    probabilities = np.zeros((6, 128, 224), np.float32)
    probabilities[0, :64], probabilities[3, 32:96] = 0.7, 0.9
    probabilities[5, 90:] = 0.95  # an object that is not there
    groups = object_groups([10, 20, 30, 40, 50])
    labels = labels_from_probabilities(probabilities, groups, (128, 224))
    assert (labels[:32] == 10).all()
    assert (labels[32:90] == 40).all()
    assert (labels[90:] == 0).all()


def test_labels_at_full_size_never_overlap():
    planes = np.random.default_rng(0).integers(0, 4, (128, 224)) == np.arange(1, 4)[:, None, None]
    assert resized_planes(planes, (301, 401)).sum(axis=0).max() == 1


@pytest.mark.parametrize("length", [1, 6, 7, 8, 13, 14, 15])
def test_every_frame_is_final_in_one_window(length):
    parts = windows(length)
    assert [frame for window in parts for frame in window.final] == list(range(length))
    assert all(len(window.frames) == 7 and set(window.final) <= set(window.frames) for window in parts)
    assert parts[-1].frames[-1] == length - 1
    assert len(parts) == -(-length // 7)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_attention_to_other_frames_equals_the_published_mask(frames):
    torch.manual_seed(0)
    attention = OtherFramesAttention(64).requires_grad_(False)
    torch.nn.init.normal_(attention.in_proj_weight, std=0.2)
    torch.nn.init.normal_(attention.in_proj_bias, std=0.2)
    tokens = torch.randn(frames * 4, 64)
    frame_of = torch.arange(frames).repeat_interleave(4)
    queries = attention.queries(tokens)
    keys, values = attention.keys_and_values(tokens)
    scores = (queries @ keys.transpose(1, 2) / 8**0.5).masked_fill(frame_of[:, None] == frame_of, -1e9)
    expected = attention.join(scores.softmax(dim=-1) @ values)
    assert torch.allclose(run_to_end(attention.steps(tokens, frames)), expected, atol=1e-5)


def test_a_query_without_any_key_gives_numbers():
    attention = SlotAttention(64).requires_grad_(False)
    torch.nn.init.normal_(attention.in_proj_weight)
    torch.nn.init.zeros_(attention.in_proj_bias)
    tokens = torch.randn(4, 64)
    excluded = torch.zeros(6, 4, dtype=torch.bool)
    excluded[:, 1] = True
    found = attention.attend(tokens, *attention.keys_and_values(torch.randn(6, 64)), excluded)
    assert torch.isfinite(found).all()
    assert torch.allclose(found[1], attention.out_proj.bias)


def test_memory_of_attention_is_not_quadratic_in_frames():
    """5,600 tokens: the full matrix of 8 heads alone would take 1 GB."""
    program = """
import resource, sys, torch
from napari_appearrefine.core.events import run_to_end
from napari_appearrefine.engine.networks.attention import ClipTransformer
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
network = ClipTransformer(256, layers=1).requires_grad_(False)
for parameter in network.parameters():
    torch.nn.init.normal_(parameter, std=0.02)
assert run_to_end(network.steps(torch.randn(200, 256, 4, 7))).isfinite().all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    kilobytes = int(done.stdout) / (1024 if sys.platform == "darwin" else 1)
    assert kilobytes < 300_000


def test_oclr_groups():
    assert frame_groups(4) == [(range(4), range(4))]
    assert frame_groups(31) == [(range(30), range(1)), (range(1, 31), range(1, 31))]
    assert frame_groups(60) == [(range(30), range(30)), (range(30, 60), range(30, 60))]


def test_oclr_input_is_in_pixels_of_its_own_grid():
    flow = np.tile(np.array([10, -4], np.float32), (256, 112, 1))
    both = network_flow(flow, None)
    assert both.shape == (4, 128, 224)
    assert np.allclose(both[:, 5, 5], [20, -2, -20, 2])
    assert (network_flow(None, flow) == -network_flow(flow, None)[[0, 1, 2, 3]]).all()
    assert not network_flow(None, None).any()


def test_oclr_on_one_frame():
    model = OclrModel(filled(OCLR), torch.device("cpu"))
    ((frame, seen),) = model.frames([None], [None])
    assert frame == 0
    assert seen.modal.shape == (3, 128, 224)
    assert seen.modal.sum(axis=0).max() == 1
