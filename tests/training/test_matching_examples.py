"""Matching examples: features are what the backbone gives, boxes fit them, and a step of training goes through."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_appearrefine.engine.builtin_weights import load_part
from napari_appearrefine.engine.networks.backbone import LEVEL_STRIDES, Backbone
from napari_appearrefine.engine.networks.matching import MatchingNetwork
from napari_appearrefine.training.dataset import SceneSet, render_scenes
from napari_appearrefine.training.matching_examples import matching_example
from napari_appearrefine.training.microscopy import render_microscopy
from napari_appearrefine.training.scene_features import FEATURE_SIZE, FeatureSet, write_features
from napari_appearrefine.training.scenes import SceneOptions
from napari_appearrefine.training.trainer import matching_logits, segmentation_loss

CPU = torch.device("cpu")
OPTIONS = SceneOptions(frames=3, size=FEATURE_SIZE)


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "photos").mkdir()
    import cv2

    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "photos" / "noise.jpg"), cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC))
    list(render_scenes(folder / "photos", folder / "cells", 2, 3, OPTIONS, False, microscopy=True))
    backbone = Backbone()
    load_part(backbone, "backbone", CPU)
    assert list(write_features(SceneSet.open(folder / "cells"), folder / "views", backbone, CPU, 0)) == [2]
    return FeatureSet.open(folder / "views"), backbone


def test_features_are_those_of_the_frames_that_are_kept(views):
    features, backbone = views
    image = torch.from_numpy(np.array(features.frames[1, 2])).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        expected = backbone(image)
    for level, stored in zip(expected, features.levels, strict=True):
        difference = (level[0] - torch.from_numpy(stored[1, 2].astype(np.float32))).abs().mean()
        assert difference < 0.1 * level.abs().mean()


def test_an_example_is_a_box_of_every_level_around_the_object(views):
    features, _ = views
    for seed in range(8):
        example = matching_example([features], [1.0], np.random.default_rng(seed), length=3)
        assert example.masks.shape == (3, *FEATURE_SIZE)
        assert ((example.quality >= 0) & (example.quality <= 1)).all()
        for target in example.targets:
            height, width = target.box.shape
            assert target.image.shape == (1, 3, height, width)
            assert target.masks.shape == (1, 2, height, width)
            for stride, level in zip(LEVEL_STRIDES, target.levels, strict=True):
                assert level.shape[-2:] == (height // stride, width // stride)


def test_a_step_of_training_moves_the_network(views):
    features, _ = views
    torch.manual_seed(0)
    network = MatchingNetwork()
    example = matching_example([features], [1.0], np.random.default_rng(1), length=3)
    logits = matching_logits(network, example)
    loss = torch.stack([segmentation_loss(a, b.truth) for a, b in zip(logits, example.targets, strict=True)]).mean()
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert float(loss.detach()) > 0


def test_bodies_under_the_microscope_are_grey_and_their_truth_fits():
    for seed in range(4):
        scene = render_microscopy(np.random.default_rng(seed), SceneOptions(frames=3, size=(96, 128)))
        assert np.array_equal(scene.frames[..., 0], scene.frames[..., 2])
        for body in range(1, int(scene.labels.max()) + 1):
            assert not ((scene.labels == body) & ~scene.amodal[:, body - 1]).any()
        assert len(np.unique(scene.labels)) > 2
