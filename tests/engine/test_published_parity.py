"""The published networks against what the released code gave for the same weights and inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from published_reference import (
    deterministic_weights,
    filled,
    filled_model,
    inputs_of,
    recorded_clip,
    recorded_flow,
)

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.events import FrameLabels, Progress, Report, run_to_end
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine import selector_inputs
from napari_appearrefine.engine.checkpoints import CORRECTOR, DINO8, DINO16, OCLR, SELECTOR
from napari_appearrefine.engine.interface import ClipInputs
from napari_appearrefine.engine.networks.inputs import normalised, resized_planes
from napari_appearrefine.engine.networks.oclr import modal_masks
from napari_appearrefine.engine.oclr_masks import OclrModel
from napari_appearrefine.engine.published_selection import gather_inputs
from napari_appearrefine.engine.refinement import refine
from napari_appearrefine.engine.reuse import RunStore
from napari_appearrefine.engine.selection import select_exemplars
from napari_appearrefine.engine.weights_store import WeightsStore, weights_named
from napari_appearrefine.engine.windows import object_groups, windows

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    return recorded_clip()


@pytest.fixture(scope="module")
def inputs(recorded: dict[str, np.ndarray]) -> ClipInputs:
    return inputs_of(recorded["frames"], recorded["labels"])


@pytest.fixture(scope="module")
def masks(recorded: dict[str, np.ndarray], inputs: ClipInputs) -> np.ndarray:
    """(T, 3, 128, 224) bool."""
    return np.stack([resized_planes(inputs.planes(frame)) for frame in range(len(recorded["frames"]))])


def worst(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


def test_input_is_resized_as_released(recorded, inputs, masks):
    rgb = np.stack([normalised(inputs.features(frame)["image"]) for frame in range(12)])
    assert worst(rgb[:, :, ::16, ::16], recorded["rgb_sample"]) < 1e-6
    assert (np.packbits(masks) == recorded["masks_in"]).all()


@pytest.mark.parametrize(("name", "step"), [("dino8", 32), ("dino16", 8)])
def test_features(recorded, inputs, name, step):
    features = np.stack([inputs.features(frame)[name] for frame in range(12)])
    assert worst(features[:, ::step, ::24], recorded[f"{name}_sample"]) < TOLERANCE


def test_error_map(recorded, inputs, masks):
    model = filled_model()
    gathered = run_to_end(gather_inputs(inputs, model.device))
    for place in range(3):
        assert all((gathered.mask(frame, place) == masks[frame, place]).all() for frame in range(12))
        results = [result for result in model.selection.error_maps(gathered, place, range(12)) if result is not None]
        assert [frames for frames, _ in results] == [range(8), range(8, 12)]
        maps = torch.cat([part for _, part in results]).numpy()
        assert worst(maps[:, :, ::8, ::8], recorded["error_map_sample"][:, place]) < TOLERANCE


def test_scores_of_a_clip_that_is_seen_in_parts(inputs, monkeypatch):
    monkeypatch.setattr(selector_inputs, "MOST_TOGETHER", 5)
    # Scores of its own, not those that another test finds again.
    inputs = replace(inputs, reuse=RunStore().start(filled_model(), inputs.clip))
    progress: list[Progress] = []
    scores = run_to_end(filled_model().score(inputs), progress.append)
    assert scores.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert progress[-1].done == progress[-1].total
    done = {each.done for each in progress if each.stage == "Scoring masks"}
    assert done == set(range(progress[-1].total + 1))


def test_scores_and_exemplars(recorded, inputs):
    scores = run_to_end(filled_model().score(inputs))
    assert scores.dtype == np.float32
    assert worst(scores, recorded["scores"]) < TOLERANCE
    exemplars = select_exemplars(scores, inputs.areas, 10)
    assert list(exemplars.values()) == recorded["exemplars"].tolist()


def test_corrected_probabilities_and_semantic_map(recorded, inputs):
    model = filled_model()
    exemplars = dict(zip((1, 2, 3), recorded["exemplars"].tolist(), strict=True))
    (group,) = object_groups(inputs.object_ids)
    memory = model.memory(inputs, group, recorded["scores"], exemplars)
    probabilities = np.zeros((12, 3, 128, 224), np.float32)
    semantic = np.zeros((12, 128, 224), np.uint8)
    for window in windows(12):
        corrected = model.correct_window(inputs, window, group, memory)
        probabilities[list(window.final)] = corrected.logits.sigmoid().numpy()
        spread = model.corrector.semantic_probabilities(corrected.queries, (128, 224))
        semantic[list(window.frames)] = spread.argmax(dim=1).numpy()
    assert worst(probabilities[:, :, ::4, ::4], recorded["probs_sample"]) < TOLERANCE
    labels = np.where(probabilities.max(axis=1) > 0.5, probabilities.argmax(axis=1) + 1, 0)
    assert (labels == recorded["refined_128x224"]).mean() > 0.9999
    # About ten pixels are ties that round-off decides.
    assert (semantic != recorded["semantic_128x224"]).sum() < 40


def test_refinement_finds_stored_checkpoints(recorded, weights_folder, tmp_path):
    store = WeightsStore()
    for network, name in ((SELECTOR, "selector"), (CORRECTOR, "corrector"), (DINO8, "dino8"), (DINO16, "dino16")):
        weights = deterministic_weights(network)
        plain = network in (DINO8, DINO16)
        torch.save(weights if plain else {"model_state_dict": weights, "iteration": 7}, tmp_path / "released.pth")
        store.add(weights_named(name), tmp_path / "released.pth")
    frames, labels = recorded["frames"][:2], recorded["labels"][:2]
    events = list(refine(Clip(frames), labels, RefineParameters(model="published", device="cpu")))
    refined = {event.frame: event.labels for event in events if isinstance(event, FrameLabels)}
    report = events[-1]
    assert isinstance(report, Report)
    assert report.model == "published"
    inputs = inputs_of(frames, labels)
    expected = filled_model().correct(inputs, np.array(report.scores, np.float32), report.exemplars)
    assert {result.frame: (result.labels == refined[result.frame]).mean() > 0.9999 for result in expected} == {
        0: True,
        1: True,
    }
    progress = [event for event in events if isinstance(event, Progress) and event.stage == "Scoring masks"]
    assert [event.done for event in progress] == sorted(event.done for event in progress)
    assert progress[-1].done == progress[-1].total


def test_oclr():
    recorded = recorded_flow()
    flow = recorded["flow"].astype(np.float32).transpose(0, 1, 3, 4, 2)
    model = OclrModel(filled(OCLR), torch.device("cpu"))
    layers = model.layers(list(flow[:, 0]), list(flow[:, 1]), range(6))
    assert worst(layers.amodal[:, :, ::4, ::4].numpy(), recorded["amodal_sample"]) < TOLERANCE
    assert worst(layers.order.numpy(), recorded["order"][0]) < TOLERANCE
    modal = np.unpackbits(recorded["modal"]).reshape(6, 3, 128, 224).astype(bool)
    assert (modal_masks(layers).numpy() == modal).mean() > 0.9999
    found = list(model.frames(list(flow[:, 0]), list(flow[:, 1])))
    assert [frame for frame, _ in found] == list(range(6))
    assert (np.stack([seen.modal for _, seen in found]) == modal).mean() > 0.9999
    assert all((seen.modal <= seen.amodal).all() for _, seen in found)
    assert found[0][1].depth.tolist() == recorded["order"][0].argsort().argsort().tolist()
