"""The demo's result in napari: the sample clip, both sets of masks, the dock widget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import napari
from qtpy.QtCore import QTimer

from .commands import PLUGIN, WIDGET

if TYPE_CHECKING:
    from ..demo import DemoResult


def fill_demo_viewer(viewer: napari.Viewer, result: DemoResult, sample: str) -> None:
    """Bring the demo's result into a viewer the way a user would: sample and widget come from the menus.

    Parameters
    ----------
    viewer : Viewer
        An empty viewer.
    result : DemoResult
        What the demo computed.
    sample : str
        Which of the plugin's sample clips it is.
    """
    viewer.open_sample(PLUGIN, sample)
    axes = ("t", "y", "x")
    # Only the result is on at first: one set of masks over the other cannot be told apart.
    viewer.add_labels(result.flow_masks, name="flow masks", axis_labels=axes, visible=False)
    viewer.add_labels(result.refined_masks, name="refined masks", axis_labels=axes)
    viewer.dims.set_point(0, len(result.clip) // 2)
    viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)


def show_demo(result: DemoResult, sample: str) -> None:
    """Open napari with the demo's result and wait until it is closed."""
    viewer = napari.Viewer(title="napari-appearrefine demo")
    fill_demo_viewer(viewer, result, sample)
    # The widget has taken width from the canvas; once the window knows, the video must fit again.
    QTimer.singleShot(0, viewer.reset_view)
    napari.run()
