"""The samples and the built-in model in a real window: what a stranger tries first."""

from __future__ import annotations

import numpy as np
import pytest
from npe2 import PluginManifest

from napari_appearrefine.engine.builtin_weights import WEIGHTS_FILE
from napari_appearrefine.files.samples import SAMPLES, open_sample, sample_folder
from napari_appearrefine.plugin.controller import State
from napari_appearrefine.plugin.widgets.refine_panel import RefinePanel

PLUGIN = "napari-appearrefine"
FRAMES = slice(0, 60, 10)


@pytest.mark.skipif(not WEIGHTS_FILE.exists(), reason="the package was built without weights")
def test_built_in_model_brings_back_a_lost_mask(qtbot, make_napari_viewer):
    clip, source = open_sample("crossing")
    chosen = range(len(clip))[FRAMES]
    truth = np.stack([source[frame] for frame in chosen])[:, ::2, ::2]
    rough = truth.copy()
    rough[2] = 0
    viewer = make_napari_viewer()
    viewer.add_image(np.stack([clip.raw(frame) for frame in chosen])[:, ::2, ::2], name="crossing", rgb=True)
    viewer.add_labels(rough, name="rough")
    panel = RefinePanel(viewer)
    viewer.window.add_dock_widget(panel, name="Refine masks")
    panel.refine_form.input("device").value = "cpu"
    qtbot.waitUntil(panel.refine_button.isEnabled, timeout=20_000)
    panel.refine_button.click()
    qtbot.waitUntil(lambda: panel.controller.state is not State.RUNNING, timeout=240_000)
    assert panel.controller.state is State.FINISHED, panel.result_label.text()
    layer = viewer.layers["rough"]
    np.testing.assert_array_equal(layer.data, rough)
    panel.proposal_box.accept_all.click()
    qtbot.waitUntil(lambda: not panel.workbench.proposals.is_open, timeout=20_000)
    common = np.count_nonzero((layer.data[2] > 0) & (truth[2] > 0))
    either = np.count_nonzero((layer.data[2] > 0) | (truth[2] > 0))
    assert common / either > 0.3
    sentences = []
    panel.workbench.error_map.said.connect(sentences.append)
    panel.timeline_panel.errors_box.click()
    qtbot.waitUntil(lambda: bool(sentences), timeout=60_000)
    assert "is shaped by frame" in sentences[-1]
    layer.undo()
    np.testing.assert_array_equal(layer.data, rough)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_open_from_the_menu(make_napari_viewer, npe2pm, name):
    npe2pm.register(PluginManifest.from_distribution(PLUGIN))
    viewer = make_napari_viewer()
    video, truth = viewer.open_sample(PLUGIN, name)
    assert (video.name, truth.name) == (name, f"{name} truth")
    assert video.data.shape[:3] == truth.data.shape
    assert len(np.unique(truth.data)) > 2
    assert not truth.visible
    panel = RefinePanel(viewer)
    viewer.window.add_dock_widget(panel, name="Refine masks")
    assert panel.controller.video == video
    assert panel.controller.masks is None, "the truth is to compare with, not to refine"


def test_samples_are_found_in_the_repository_or_in_the_package():
    for name in SAMPLES:
        assert (sample_folder(name) / SAMPLES[name].video).is_file()
