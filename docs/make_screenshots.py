"""Takes the documentation's pictures from a real napari window: ``xvfb-run -a python docs/make_screenshots.py``.

For a screen of four times the pixels: ``QT_SCALE_FACTOR=2 xvfb-run -a -s "-screen 0 2600x1700x24" python
docs/make_screenshots.py -o FOLDER``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before napari is imported: it remembers window sizes and themes in its settings.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

import napari
from PIL import Image
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QScrollArea, QWidget

from napari_appearrefine.files.samples import SAMPLES, sample_folder
from napari_appearrefine.plugin.controller import State

PLUGIN = "napari-appearrefine"
SIZE = (1280, 800)
LARGE = 250_000


def wait_until(signal: Any, holds: Callable[[Any], bool]) -> None:
    """Let the window live until a signal comes with a value for which ``holds`` is true."""
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


def settle(milliseconds: int = 500) -> None:
    """Let the window paint."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


class Camera:
    """Takes pictures of a whole window.

    Parameters
    ----------
    viewer : Viewer
        Whose window.
    folder : Path
        Where to save them.
    names : list of str
        Which ones to save; all if there are none.
    """

    def __init__(self, viewer: napari.Viewer, folder: Path, names: list[str]) -> None:
        self._viewer = viewer
        self._folder = folder
        self._names = names
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, name: str) -> None:
        """Save a picture; a large one in 256 colours."""
        settle()
        if self._names and name not in self._names:
            return
        path = self._folder / f"{name}.png"
        self._viewer.screenshot(str(path), canvas_only=False, flash=False)
        if path.stat().st_size > LARGE:
            with Image.open(path) as picture:
                # One round of k-means, else large areas get a tint.
                few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, 1, dither=Image.Dither.NONE)
                few.save(path, optimize=True)


def scroll_to(panel: Any, widget: QWidget) -> None:
    """Bring a part of the dock into view."""
    settle()
    panel.findChild(QScrollArea).ensureWidgetVisible(widget)


def run(panel: Any, button: Any) -> None:
    """Press a button and wait for the end of what it starts."""
    button.click()
    if panel.controller.state is State.RUNNING:
        wait_until(panel.controller.state_changed, lambda state: state is not State.RUNNING)
    settle()


def open_window(theme: str) -> tuple[napari.Viewer, Any]:
    """Open a viewer with the dock."""
    viewer = napari.Viewer()
    viewer.theme = theme
    viewer.window.resize(*SIZE)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Refine masks")
    panel.controller.run_failed.connect(stop)
    return viewer, panel


def take_loop(output: Path, theme: str, names: list[str], video: Path) -> None:
    """Go through one round of the work on a sample clip, and take a picture of each state."""
    viewer, panel = open_window(theme)
    camera = Camera(viewer, output, names)
    camera.take("1_empty")
    viewer.open(video, plugin=PLUGIN)
    run(panel, panel.find_button)
    middle = len(viewer.layers[0].data) // 2
    viewer.dims.set_current_step(0, middle)
    camera.take("2_masks")
    panel.refine_button.click()
    wait_until(panel.controller.frame_finished, lambda frame: frame == middle)
    camera.take("3_running")
    if panel.controller.state is State.RUNNING:
        wait_until(panel.controller.state_changed, lambda state: state is not State.RUNNING)
    settle()
    actions, review = panel.workbench.actions(), panel.workbench.review
    actions["next_to_fix"]()
    wait_until(review.said, lambda sentence: True)
    review.toggle_lock(range(8, 14), [review.object_id])
    review.toggle_ban([20])
    review.toggle_pin([44])
    camera.take("4_proposal")
    # One frame stays as it was, so that there is something to see in it.
    review.go_to(middle)
    review.select_object(panel.workbench.proposals.object_that_changes_most(middle))
    panel.proposal_box.reject_frame.click()
    panel.proposal_box.accept_all.click()
    review.finish_writing()
    panel.timeline_panel.curves_box.setChecked(True)
    panel.timeline_panel.errors_box.click()
    wait_until(panel.workbench.error_map.said, lambda sentence: True)
    camera.take("5_refined")
    panel.timeline_panel.errors_box.click()
    panel.timeline_panel.curves_box.setChecked(False)
    panel.keys_button.click()
    camera.take("6_keys")
    panel.keys_button.click()
    panel.objects_fold.expand(animate=False)
    scroll_to(panel, panel.objects_box.delete_button)
    camera.take("7_objects")
    panel.objects_fold.collapse(animate=False)
    panel.advanced.expand(animate=False)
    panel.refine_form.input("model").value = "published"
    scroll_to(panel, panel.refine_form.input("dino16").native)
    camera.take("8_advanced")
    viewer.close()


def take_whole_shapes(output: Path, theme: str, names: list[str], video: Path) -> None:
    """Find masks with whole shapes, and take a picture of a frame where one object is behind the other."""
    viewer, panel = open_window(theme)
    viewer.open(video, plugin=PLUGIN)
    panel.motion_form.input("amodal").value = True
    run(panel, panel.find_button)
    shapes = [layer for layer in viewer.layers if "whole" in layer.name]
    common = (shapes[0].data > 0) & (shapes[1].data > 0)
    viewer.dims.set_current_step(0, int(common.sum((1, 2)).argmax()))
    Camera(viewer, output, names).take("9_whole_shapes")
    viewer.close()


def main(output: Path, theme: str, names: list[str], folder: Path) -> None:
    """Take all pictures, or those with ``names``."""
    sample = sample_folder("crossing") / SAMPLES["crossing"].video
    for number, take in enumerate((take_loop, take_whole_shapes)):
        # A copy each, because sessions are saved beside the video, and never beside the samples.
        place = folder / str(number)
        place.mkdir()
        take(output, theme, names, Path(shutil.copy(sample, place / "crossing.mp4")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--theme", default="dark", choices=["dark", "light"])
    parser.add_argument("--only", nargs="*", default=[], help="names of the pictures to save; all by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(options.output, options.theme, options.only, Path(temporary))
