"""What is set aside from collections of garbage while the dock is open, and given back."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

from conftest import make_rough_masks, make_video

from napari_appearrefine.plugin.widgets.refine_panel import RefinePanel


def test_layers_of_a_person_are_freed_and_a_closed_dock_leaves_nothing_set_aside(qtbot, make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.add_image(make_video(), name="clip", rgb=True)
    viewer.add_labels(make_rough_masks(), name="rough")
    pixels = weakref.ref(viewer.layers["rough"].data)
    panel = RefinePanel(viewer)
    viewer.window.add_dock_widget(panel, name="Refine masks")
    qtbot.waitUntil(panel.refine_button.isEnabled, timeout=20_000)
    everything = gc.get_freeze_count()
    assert everything > 100_000

    viewer.layers.remove("rough")
    assert gc.get_freeze_count() == 0
    qtbot.waitUntil(lambda: gc.get_freeze_count() > 100_000, timeout=20_000)
    assert pixels() is None

    viewer.window.remove_dock_widget(panel)
    assert gc.get_freeze_count() == 0


def test_a_closed_viewer_leaves_nothing_set_aside(qtbot, make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.window.add_dock_widget(RefinePanel(viewer), name="Refine masks")
    assert gc.get_freeze_count() > 0
    viewer.close()
    qtbot.waitUntil(lambda: gc.get_freeze_count() == 0)


def test_a_program_that_ends_with_the_dock_open_ends_well():
    program = """
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer()
viewer.window.add_plugin_dock_widget("napari-appearrefine", "Refine masks")
QApplication.processEvents()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
