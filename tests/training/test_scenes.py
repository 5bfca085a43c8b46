"""Scenes: a seed is a scene, truth fits the picture, rendering and training go on where they stopped."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from napari_appearrefine.core.errors import UserError
from napari_appearrefine.files.masks import open_masks
from napari_appearrefine.files.video import open_video
from napari_appearrefine.training.batches import flow_plane, iou, motion_batch
from napari_appearrefine.training.dataset import SceneSet, render_scenes
from napari_appearrefine.training.photos import PhotoLibrary
from napari_appearrefine.training.samples import render_cells, render_crossing
from napari_appearrefine.training.scenes import SceneOptions, render_scene
from napari_appearrefine.training.sprites import painted_panels
from napari_appearrefine.training.trainer import missed_share, mistaken_share, train_network

SMALL = SceneOptions(frames=3, size=(96, 128), objects=(1, 2))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(3):
        coarse = rng.integers(0, 255, (12, 16, 3)).astype(np.uint8)
        image = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{index}.jpg"), image)
        (folder / f"{index}.txt").write_text("0 0.2 0.2 0.6 0.25 0.5 0.8 0.25 0.7\n1 0.7 0.7 0.72 0.7 0.72 0.71\n")
    return folder


def test_outlines_become_cut_outs_and_specks_are_left_out(photos):
    library = PhotoLibrary.open(photos)
    assert len(library.photos) == 3
    assert len(library.cut_outs) == 3
    assert all(cut.image.shape[:2] == cut.alpha.shape for cut in library.cut_outs)


def test_no_photographs_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"no \.jpg photographs"):
        PhotoLibrary.open(tmp_path)


def test_a_seed_is_a_scene(photos):
    library = PhotoLibrary.open(photos)
    first, second = (render_scene(library, np.random.default_rng(7), SMALL) for _ in range(2))
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.labels, second.labels)
    other = render_scene(library, np.random.default_rng(8), SMALL)
    assert not np.array_equal(first.frames, other.frames)


def test_visible_pixels_lie_inside_the_whole_object(photos):
    library = PhotoLibrary.open(photos)
    for seed in range(12):
        scene = render_scene(library, np.random.default_rng(seed), SMALL)
        for slot, object_id in enumerate(scene.order):
            visible = scene.labels == object_id
            assert not (visible & ~scene.amodal[:, slot]).any()


def test_shadows_belong_to_an_object_and_never_lie_on_it(photos):
    library = PhotoLibrary.open(photos)
    scenes = [render_scene(library, np.random.default_rng(seed), SMALL) for seed in range(12)]
    assert any(scene.shadows.any() for scene in scenes)
    for scene in scenes:
        assert set(np.unique(scene.shadows)) <= {0, *scene.order}
        for object_id in scene.order:
            assert not ((scene.shadows == object_id) & (scene.labels == object_id)).any()


def test_scenes_by_the_water_and_in_the_dust_tell_what_is_no_object(photos):
    library = PhotoLibrary.open(photos)
    plain = replace(SMALL, layers=0.0, frames=6)
    for changed in (replace(plain, water=1.0), replace(plain, trails=1.0)):
        rendered = [
            [render_scene(library, np.random.default_rng(seed), options) for seed in range(10)]
            for options in (plain, changed)
        ]
        without, with_it = (np.mean([(scene.shadows > 0).mean() for scene in scenes]) for scenes in rendered)
        assert with_it > 1.5 * without
        for scene in rendered[1]:
            assert not ((scene.shadows > 0) & (scene.shadows == scene.labels)).any()


def test_rendering_goes_on_where_it_stopped(photos, tmp_path):
    whole = list(render_scenes(photos, tmp_path / "whole", 24, 5, SMALL, True))
    assert whole == [20, 24]
    cut = render_scenes(photos, tmp_path / "cut", 24, 5, SMALL, True)
    assert next(cut) == 20
    cut.close()
    assert len(SceneSet.open(tmp_path / "cut")) == 20
    assert list(render_scenes(photos, tmp_path / "cut", 24, 5, SMALL, True)) == [24]
    a, b = SceneSet.open(tmp_path / "whole"), SceneSet.open(tmp_path / "cut")
    assert np.array_equal(a.frames, b.frames)
    assert np.array_equal(a.cues, b.cues)
    drawn = motion_batch([a, b], np.random.default_rng(0), 2)
    assert drawn.images.shape == (2, 3, 96, 128)
    assert drawn.cues.shape[-2:] == drawn.target.shape[-2:] == drawn.objects.shape[-2:] == (48, 64)
    assert drawn.objects.any()
    assert drawn.shadows.shape == drawn.objects.shape
    assert not (drawn.shadows[drawn.objects > 0]).any()
    assert (drawn.target[:, 0][drawn.objects > 0] > 0).all()


def test_what_stands_still_is_no_object(photos):
    nothing_moves = SceneOptions(frames=3, size=(96, 128), objects=(0, 0), layers=1.0, posts=1.0)
    library = PhotoLibrary.open(photos)
    scene = render_scene(library, np.random.default_rng(2), nothing_moves)
    assert not scene.labels.any()
    bare = render_scene(library, np.random.default_rng(2), replace(nothing_moves, layers=0.0))
    assert not np.array_equal(scene.frames, bare.frames)


def test_a_small_object_missed_costs_as_much_as_a_large_one():
    objects = torch.zeros(1, 40, 60, dtype=torch.int64)
    objects[0, 2:38, 2:30], objects[0, 10:16, 45:52], objects[0, 30:32, 50:52] = 1, 2, 3

    def share(*found):
        logits = torch.full((1, 1, 40, 60), -20.0)
        for object_id in found:
            logits[0, 0][objects[0] == object_id] = 20.0
        return float(missed_share(logits, objects))

    assert share(1, 2) == pytest.approx(0, abs=1e-6)
    assert share(1) == pytest.approx(0.5)
    assert share(2) == pytest.approx(0.5)
    assert share() == pytest.approx(1)
    assert float(missed_share(torch.zeros(2, 1, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64))) == 0


def test_a_shadow_taken_for_its_object_costs_however_small_it_is():
    shadows = torch.zeros(1, 40, 60, dtype=torch.int64)
    shadows[0, 2:38, 2:30], shadows[0, 10:16, 45:52] = 1, 2
    logits = torch.full((1, 1, 40, 60), -20.0)
    assert float(mistaken_share(logits, shadows)) == pytest.approx(0, abs=1e-6)
    logits[0, 0][shadows[0] == 2] = 20.0
    assert float(mistaken_share(logits, shadows)) == pytest.approx(0.5)
    assert float(mistaken_share(logits, torch.zeros_like(shadows))) == 0


def test_an_object_gets_its_own_part_of_the_foreground():
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 5:20], labels[10:30, 40:55] = 1, 2
    foreground = np.zeros((20, 30), bool)
    foreground[4:16, 1:11] = True
    plane = flow_plane(foreground, labels, 1)
    assert iou(plane, labels == 1) > 0.5
    assert not flow_plane(foreground, labels, 2).any()


def test_training_that_was_cut_ends_as_if_it_had_not_been(tmp_path):
    def run(folder, stop_after=None, resume=False):
        torch.manual_seed(0)
        network = torch.nn.Linear(4, 1)

        def loss_of(rng):
            x = torch.from_numpy(rng.normal(size=(16, 4))).float()
            return (network(x) - x.sum(1, keepdim=True)).square().mean()

        for step in train_network(network, loss_of, lambda net: 0.5, folder, steps=220, rate=0.1, resume=resume):
            if stop_after and step.step >= stop_after:
                break
        return network.weight.detach().clone(), step

    straight, last = run(tmp_path / "straight")
    assert last.step == 220
    assert last.loss < 0.1
    run(tmp_path / "cut", stop_after=120)
    resumed, _ = run(tmp_path / "cut", resume=True)
    torch.testing.assert_close(resumed, straight)


def test_samples_have_what_they_promise():
    crossing = render_crossing(np.random.default_rng(0), frames=9)
    assert set(np.unique(crossing.labels)) == {0, 1, 2}
    hidden = [np.count_nonzero(labels == 1) for labels in crossing.labels]
    assert min(hidden) < 0.7 * max(hidden)
    cells = render_cells(np.random.default_rng(0), frames=3)
    assert cells.frames.dtype == np.uint16
    assert len(np.unique(cells.labels)) > 30
    inside, outside = cells.frames[cells.labels > 0].mean(), cells.frames[cells.labels == 0].mean()
    assert inside > 1.5 * outside


def test_the_included_samples_are_what_the_script_writes(tmp_path):
    root = Path(__file__).parents[2]
    script = root / "docs" / "make_samples.py"
    subprocess.run([sys.executable, str(script), "-o", str(tmp_path)], check=True)
    for truth in ("crossing/truth", "cells/truth.tif"):
        included, written = open_masks(root / "sample_data" / truth), open_masks(tmp_path / truth)
        assert included.shape == written.shape
        # To the last bit on one machine; another may round an outline's pixel the other way.
        assert np.mean([np.mean(included[t] == written[t]) for t in range(len(included))]) > 0.999
    for video in ("crossing/video.mp4", "cells/video.tif"):
        included, written = open_video(root / "sample_data" / video), open_video(tmp_path / video)
        assert included.shape == written.shape
        assert np.abs(included.rgb(7).astype(int) - written.rgb(7)).mean() < 1


def test_painted_panels_have_nothing_for_flow_to_hold_on_to():
    texture = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    painted = painted_panels(texture, np.random.default_rng(1))
    assert painted.shape == texture.shape
    assert painted.dtype == np.uint8
    steps = [np.abs(np.diff(picture.astype(int), axis=1)).max(axis=-1) for picture in (texture, painted)]
    assert np.mean(steps[0] > 3) > 0.9
    assert np.mean(steps[1] > 3) < 0.1
