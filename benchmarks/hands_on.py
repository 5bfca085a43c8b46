"""Measures how long napari's window is deaf while a person works by hand, in a real window with real mouse events.

Scrubbing the timeline of a long video, strokes on the masks with and without the plugin, accepting a whole proposal and
taking it back, saving. A timer of 5 ms ticks; the longest gap between two ticks is the longest stall. On a busy
computer look at the computing time of the main thread between two ticks instead.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtCore import QEvent, QEventLoop, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QWidget

from event_loop import Pulse, Stalls
from napari_appearrefine.core.events import FrameLabels, Report
from napari_appearrefine.files.report import write_json
from napari_appearrefine.plugin.controller import RefineController, State
from napari_appearrefine.plugin.widgets.refine_panel import RefinePanel
from napari_appearrefine.plugin.widgets.timeline import GUTTER

SIZE = 480, 854
SMALL = 96, 128
MOVES, STROKES = 40, 12
MILLISECONDS_BETWEEN_MOVES = 15
IDS = 1, 2, 3


def moving_squares(frames: int, size: tuple[int, int], shift: int = 0) -> np.ndarray:
    """Return (T, Y, X) uint8 labels of three squares."""
    masks = np.zeros((frames, *size), np.uint8)
    side = size[0] // 4
    for frame in range(frames):
        for place, object_id in enumerate(IDS):
            left = (frame + place * size[1] // 3 + shift) % (size[1] - side)
            masks[frame, place * side : (place + 1) * side, left : left + side] = object_id
    return masks


def shifted_masks(_clip: Any, masks: np.ndarray, *_: Any) -> Iterator[FrameLabels | Report]:
    """Propose the same squares a little further to the right, as an engine that costs nothing would."""
    for frame in range(len(masks)):
        yield FrameLabels(frame, np.roll(masks[frame], 6, 1))
    quality = np.random.default_rng(0).random((len(masks), len(IDS))).tolist()
    yield Report(len(masks), list(IDS), quality, {key: [0] for key in IDS}, 1.0, "none", "cpu", "0", quality)


def let_live(milliseconds: int) -> None:
    """Let the window live for a while."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def wait_until(holds: Callable[[], bool]) -> None:
    """Let the window live until something holds."""
    while not holds():
        let_live(5)


def drag(widget: QWidget, places: list[tuple[float, float]]) -> None:
    """Press the left button, move through some places, let it go."""
    kinds = [QEvent.Type.MouseButtonPress, *[QEvent.Type.MouseMove] * (len(places) - 2), QEvent.Type.MouseButtonRelease]
    for kind, place in zip(kinds, places, strict=True):
        button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else Qt.MouseButton.LeftButton
        held = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseButtonRelease else Qt.MouseButton.LeftButton
        at = QPointF(*place)
        event = QMouseEvent(kind, at, QPointF(widget.mapToGlobal(at.toPoint())), button, held, _NO_KEY)
        QApplication.sendEvent(widget, event)
        let_live(MILLISECONDS_BETWEEN_MOVES)


_NO_KEY = Qt.KeyboardModifier.NoModifier


class Desk:
    """A window with a video, its masks and, if wanted, the plugin.

    Parameters
    ----------
    folder : Path
        Where to put the video.
    masks : ndarray
        (T, Y, X) uint8.
    """

    def __init__(self, folder: Path, masks: np.ndarray) -> None:
        self.viewer = napari.Viewer()
        self.viewer.window.resize(1400, 900)
        path = folder / f"video{len(masks)}.npy"
        video = np.lib.format.open_memmap(path, "w+", np.uint8, (*masks.shape, 3))
        video[0] = 90
        del video
        self.viewer.open(path, plugin="napari-appearrefine")
        self.masks = self.viewer.add_labels(masks, name="masks")
        self.pulse = Pulse()

    def open_panel(self) -> RefinePanel:
        """Open the plugin's dock and let it read the masks."""
        controller = RefineController(self.viewer, refine_events=shifted_masks)
        panel = RefinePanel(self.viewer, controller)
        self.viewer.window.add_dock_widget(panel, name="Refine masks")
        wait_until(lambda: bool(panel.timeline_panel.timeline.rows))
        let_live(500)
        return panel

    def measured(self, act: Callable[[], object]) -> Stalls:
        """Measure the window while something is done."""
        self.pulse.begin("")
        act()
        return self.pulse.end()

    def paint(self) -> None:
        """Paint strokes across the picture."""
        canvas = self.viewer.window._qt_viewer.canvas.native
        self.viewer.layers.selection.active = self.masks
        self.masks.mode = "paint"
        width, height = canvas.width(), canvas.height()
        for stroke in range(STROKES):
            y = height * (0.35 + 0.3 * stroke / STROKES)
            drag(canvas, [(width * (0.3 + 0.4 * move / MOVES), y) for move in range(MOVES)])


def scrub(desk: Desk, panel: RefinePanel) -> None:
    """Drag along the timeline, and back."""
    timeline = panel.timeline_panel.timeline
    width = timeline.width() - GUTTER
    places = [(GUTTER + width * step / 100, 20.0) for step in range(1, 100)]
    drag(timeline, [*places, *reversed(places)])


def refined(panel: RefinePanel) -> None:
    """Press Refine and wait for the proposal."""
    panel.refine_button.click()
    wait_until(lambda: panel.controller.state is not State.RUNNING)


def accepted(panel: RefinePanel) -> None:
    """Press Accept all and wait until everything is written."""
    panel.proposal_box.accept_all.click()
    wait_until(lambda: not panel.workbench.proposals.is_open)


def saved(panel: RefinePanel) -> None:
    """Save the session and wait for it."""
    folders: list[str] = []
    panel.workbench.session.saved.connect(folders.append)
    wait_until(lambda: panel.workbench.session.can_save)
    panel.workbench.session.save()
    wait_until(lambda: bool(folders))


def main(folder: Path, long: int, frames: int, json: Path | None) -> None:
    """Measure and print."""
    rows: dict[str, Stalls] = {}
    desk = Desk(folder, moving_squares(long, SMALL))
    panel = desk.open_panel()
    refined(panel)
    let_live(500)
    rows[f"scrubbing {long} frames"] = desk.measured(lambda: scrub(desk, panel))
    desk.viewer.close()

    desk = Desk(folder, moving_squares(frames, SIZE))
    rows["idle"] = desk.measured(lambda: let_live(3000))
    rows["strokes without the plugin"] = desk.measured(desk.paint)
    desk.masks.data = moving_squares(frames, SIZE)
    panel = desk.open_panel()
    rows["strokes with the plugin"] = desk.measured(desk.paint)
    rows[f"a proposal of {frames} frames"] = desk.measured(lambda: refined(panel))
    rows["accepting it"] = desk.measured(lambda: accepted(panel))
    rows["saving"] = desk.measured(lambda: saved(panel))
    rows["undoing the acceptance"] = desk.measured(lambda: (desk.masks.undo(), let_live(1000)))
    desk.viewer.close()

    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':32} {'longest stall':>14} {'most work':>12} {'ticks':>8}")
    for name, stalls in rows.items():
        longest = max(stalls.longest.values())
        print(f"{name:32} {longest:11.0f} ms {stalls.most_work:9.0f} ms {stalls.ticks:8}")
    if json:
        json.parent.mkdir(parents=True, exist_ok=True)
        write_json(json, {"cores": os.cpu_count(), "rows": {name: asdict(stalls) for name, stalls in rows.items()}})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", type=int, default=10_000, help="frames of the small video whose timeline is scrubbed")
    parser.add_argument("--frames", type=int, default=400, help="frames of the video of 854 x 480")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary), options.long, options.frames, options.json)
