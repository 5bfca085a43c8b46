"""Calibration: a model's estimates on scenes of known truth become IoUs that are right on the mean."""

from __future__ import annotations

import numpy as np
import torch

from napari_appearrefine.engine.builtin import BuiltinModel
from napari_appearrefine.engine.builtin_weights import calibration_tensors, load_calibration, save_parts
from napari_appearrefine.engine.calibration import Calibration
from napari_appearrefine.training.dataset import SceneSet
from napari_appearrefine.training.judging import measure_calibration
from napari_appearrefine.training.microscopy import render_microscopy
from napari_appearrefine.training.scenes import SceneOptions


def test_estimates_of_damaged_masks_are_compared_with_their_truth():
    scenes = [render_microscopy(np.random.default_rng(7), SceneOptions(frames=3, size=(96, 128)), most=6)]
    frames, labels = np.stack([scene.frames for scene in scenes]), np.stack([scene.labels for scene in scenes])
    rough = labels[:, :, ::2, ::2] > 0
    model = BuiltinModel.load(torch.device("cpu"))
    (done, calibration), *rest = measure_calibration(
        model, SceneSet(frames, labels, np.zeros_like(labels), None), rough
    )
    assert done == 1
    assert not rest
    assert calibration is not None
    assert (np.diff(calibration.iou) >= 0).all()
    iou, spread = calibration(np.array([0.0, 0.2, 0.95], np.float32))
    assert iou[0] == spread[0] == 0
    assert iou[2] > iou[1] > 0


def test_a_calibration_is_kept_in_the_weights_file(tmp_path):
    kept = Calibration(*(np.array(values, np.float32) for values in ([0, 0.5, 1], [0, 0.25, 1], [0.125, 0.25, 0.0625])))
    file = tmp_path / "weights.safetensors"
    save_parts({"calibration": calibration_tensors(kept)}, file)
    found = load_calibration(file)
    for name in ("estimate", "iou", "spread"):
        np.testing.assert_array_equal(getattr(found, name), getattr(kept, name))
    save_parts({"other": {"x": torch.zeros(1)}}, file)
    assert load_calibration(file)(np.array([0.3], np.float32))[0] == np.float32(0.3)
