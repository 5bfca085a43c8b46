"""Takes the documentation's pictures from a real napari window: ``xvfb-run -a python docs/make_screenshots.py``."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before napari is imported: it remembers window sizes and themes in its settings.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

import napari
from qtpy.QtCore import QEventLoop, QTimer

from napari_appearrefine.files.samples import SAMPLES, sample_folder
from napari_appearrefine.plugin.controller import State

PLUGIN = "napari-appearrefine"
SIZE = (1400, 900)


def wait_until(signal: Any, holds: Callable[[Any], bool]) -> None:
    """Let the window live until a signal of the controller comes with a value for which ``holds`` is true."""
    loop = QEventLoop()

    def check(value: Any) -> None:
        if holds(value):
            loop.quit()

    signal.connect(check)
    loop.exec()
    signal.disconnect(check)


def stop(message: str) -> None:
    """End the script: a picture of a failure is of no use."""
    print(message)
    os._exit(1)


def settle(milliseconds: int = 400) -> None:
    """Let the window paint."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def take(viewer: napari.Viewer, folder: Path, name: str) -> None:
    """Save a picture of the whole window."""
    viewer.screenshot(str(folder / f"{name}.png"), canvas_only=False, flash=False)


def main(video: Path, folder: Path, theme: str) -> None:
    """Open a video, find its masks, refine them, and take a picture of each step."""
    folder.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer()
    viewer.theme = theme
    viewer.window.resize(*SIZE)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Refine masks")
    panel.controller.run_failed.connect(stop)
    settle()
    take(viewer, folder, "1_empty")
    viewer.open(video, plugin=PLUGIN)
    settle()
    take(viewer, folder, "2_video")
    panel.find_button.click()
    wait_until(panel.controller.state_changed, lambda state: state is not State.RUNNING)
    halfway = len(viewer.layers[0].data) // 2
    viewer.dims.set_current_step(0, halfway)
    settle()
    take(viewer, folder, "3_masks")
    panel.refine_button.click()
    wait_until(panel.controller.frame_finished, lambda frame: frame == halfway)
    take(viewer, folder, "4_running")
    if panel.controller.state is State.RUNNING:
        wait_until(panel.controller.state_changed, lambda state: state is not State.RUNNING)
    settle()
    take(viewer, folder, "5_refined")
    panel.advanced.expand(animate=False)
    panel.refine_form.input("model").value = "published"
    settle()
    take(viewer, folder, "6_advanced")
    viewer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, help="the sample clip by default")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--theme", default="dark", choices=["dark", "light"])
    options = parser.parse_args()
    main(options.video or sample_folder("crossing") / SAMPLES["crossing"].video, options.output, options.theme)
