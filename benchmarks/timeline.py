"""How smooth the timeline of a long video is: the time of each way to use it, painted in a real window.

``xvfb-run -a python benchmarks/timeline.py`` prints milliseconds, the median and the longest of 200.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from qtpy.QtWidgets import QApplication, QScrollArea

from napari_appearrefine.plugin.timeline_rows import Mark, TimelineRow
from napari_appearrefine.plugin.widgets.timeline import Timeline

_TIMES = 200
HEIGHT = 300


def make_rows(frames: int, objects: int) -> list[TimelineRow]:
    random = np.random.default_rng(0)
    return [
        TimelineRow(
            object_id,
            f"object {object_id}",
            (200, 80, 20),
            random.random(frames, np.float32),
            random.random(frames, np.float32),
            random.random(frames) > 0.1,
            np.where(random.random(frames) > 0.9, random.integers(0, 2 * Mark.PROPOSED, frames), 0).astype(np.uint8),
        )
        for object_id in range(1, objects + 1)
    ]


def measured(timeline: Timeline, act: Callable[[int], None]) -> tuple[float, float]:
    seconds = []
    for step in range(_TIMES):
        started = time.perf_counter()
        act(step)
        timeline.repaint()
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds)), 1000 * max(seconds)


def main(frames: int, objects: int) -> None:
    application = QApplication.instance() or QApplication([])
    timeline = Timeline()
    rows = make_rows(frames, objects)
    timeline.set_rows(rows)
    # As in the dock: as many rows as fit are in sight.
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setWidget(timeline)
    area.resize(1500, HEIGHT)
    area.show()
    for _ in range(5):
        application.processEvents()
    ways: dict[str, Callable[[int], None]] = {
        "going to a frame": lambda step: timeline.set_frame(step * frames // _TIMES),
        "zooming and moving": lambda step: timeline._set_view(
            timeline.view.zoomed(0.9 if step % 40 < 20 else 1.1, 700)
        ),
        "scrolling": lambda step: area.verticalScrollBar().setValue(7 * step),
        "other values": lambda step: timeline.set_rows(rows),
    }
    print(f"{objects} objects, {frames} frames")
    for name, act in ways.items():
        median, longest = measured(timeline, act)
        print(f"{name}: median {median:.1f} ms, longest {longest:.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=5)
    options = parser.parse_args()
    main(options.frames, options.objects)
