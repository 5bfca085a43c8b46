"""Measures how long napari's window is deaf during a run, and what running in a worker costs in time.

A timer of 5 ms ticks in a real napari window while the panel refines a clip; the longest gap between two ticks
is the longest stall. The first run is cold (it imports torch and loads the weights), the second warm. The same
refinement then runs in the main thread, with nothing else to do, for comparison. Before all that, the dock is
opened in windows of their own, to see how much computing it takes, imports included, beyond napari and Qt.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

# Before napari is imported: neither its settings of a person's own nor results of earlier runs are the measurement's
# business.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
os.environ["NAPARI_APPEARREFINE_CACHE"] = tempfile.mkdtemp()

import napari
import numpy as np
from qtpy.QtCore import QEventLoop, Qt, QTimer

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.events import Progress
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.files.masks import open_masks
from napari_appearrefine.files.report import write_json
from napari_appearrefine.files.samples import open_sample
from napari_appearrefine.files.video import open_video
from napari_appearrefine.plugin.controller import RefineController, State
from napari_appearrefine.plugin.layers import load_labels
from napari_appearrefine.plugin.reader import video_layer

TICK_MS = 5
IDLE_SECONDS = 5.0
OPENINGS = 5
OPEN_DOCK = """
import time
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer()
for _ in range(25):
    QApplication.processEvents()
    time.sleep(0.02)
before = time.process_time()
viewer.window.add_plugin_dock_widget("napari-appearrefine", "Refine masks")
for _ in range(5):
    QApplication.processEvents()
print(time.process_time() - before)
"""
START, NEW_LAYER = "starting", "napari adds the new layer"


@dataclass
class Stalls:
    """The gaps between ticks, in milliseconds, by what was going on."""

    longest: dict[str, float] = field(default_factory=dict)
    over_100_ms: int = 0
    ticks: int = 0
    most_work: float = 0.0
    """The most computing time of the main thread between two ticks: what a busy computer does not make longer."""

    def add(self, stage: str, gap: float, work: float) -> None:
        """Count one gap, and the computing time of the main thread in it."""
        self.ticks += 1
        self.most_work = max(self.most_work, round(work, 1))
        self.over_100_ms += gap > 100
        self.longest[stage] = max(self.longest.get(stage, 0.0), round(gap, 1))


class Pulse:
    """A timer whose ticks show whether the event loop is alive."""

    def __init__(self) -> None:
        self.stage = ""
        self.moment: str | None = None
        """What else happens before the next tick."""
        self.stalls = Stalls()
        self._last = self._last_work = 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)

    def begin(self, stage: str) -> None:
        """Start to count."""
        self.stage, self.stalls = stage, Stalls()
        self._last, self._last_work = time.perf_counter(), time.thread_time()
        self._timer.start(TICK_MS)

    def end(self) -> Stalls:
        """Stop and return what was counted."""
        self._timer.stop()
        return self.stalls

    def _tick(self) -> None:
        now, work = time.perf_counter(), time.thread_time()
        self.stalls.add(self.moment or self.stage, (now - self._last) * 1000, (work - self._last_work) * 1000)
        self._last, self._last_work, self.moment = now, work, None


def rough_masks(truth: np.ndarray) -> np.ndarray:
    """Erase every third mask, so that there is something to repair."""
    rough = truth.copy()
    rough[1::3] = 0
    return rough


def opening() -> float:
    """Return the seconds of computing that opening the dock takes until it is drawn, the median of a few."""
    # The first one compiles the modules, as the installation of a package does, and does not count.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    seconds = []
    for _ in range(OPENINGS + 1):
        command = [sys.executable, "-c", OPEN_DOCK]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        seconds.append(float(done.stdout.split()[-1]))
    return statistics.median(seconds[1:])


def idle(pulse: Pulse) -> Stalls:
    """Measure the window while nothing runs: what the machine itself costs."""
    loop = QEventLoop()
    pulse.begin("idle")
    QTimer.singleShot(int(IDLE_SECONDS * 1000), loop.quit)
    loop.exec()
    return pulse.end()


def run_in_worker(controller: RefineController, pulse: Pulse, parameters: RefineParameters) -> tuple[float, Stalls]:
    """Refine as the panel does; return the seconds and the stalls."""
    loop = QEventLoop()

    def on_state(state: State) -> None:
        if state is not State.RUNNING:
            loop.quit()

    def on_progress(progress: Progress, _seconds_left: float | None) -> None:
        pulse.stage = progress.stage

    controller.state_changed.connect(on_state)
    controller.progress_changed.connect(on_progress)
    started = time.perf_counter()
    pulse.begin(START)
    controller.refine(parameters)
    loop.exec()
    seconds = time.perf_counter() - started
    controller.state_changed.disconnect(on_state)
    controller.progress_changed.disconnect(on_progress)
    if controller.state is not State.FINISHED:
        raise SystemExit("The run has failed; see the message above.")
    return seconds, pulse.end()


def run_in_main_thread(clip: Clip, masks: np.ndarray, parameters: RefineParameters) -> float:
    """Refine with nothing else to do; return the seconds."""
    from napari_appearrefine.engine.refinement import refine

    started = time.perf_counter()
    for _ in refine(clip, masks, parameters):
        pass
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="the sample clip by default")
    parser.add_argument("--masks", type=Path, help="masks of the video; every third is erased")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    parameters = RefineParameters(device=options.device)
    if options.video is None:
        clip, source = open_sample("crossing")
    else:
        clip = open_video(options.video)
        source = open_masks(options.masks, clip)
    masks = rough_masks(load_labels(source, "masks"))
    opening_seconds = opening()

    viewer = napari.Viewer()
    viewer.window.resize(1400, 900)
    data, settings, _ = video_layer(clip)
    video = viewer.add_image(data, **settings)
    labels = viewer.add_labels(masks, name="rough")
    pulse = Pulse()
    viewer.layers.events.inserted.connect(lambda event: setattr(pulse, "moment", NEW_LAYER))
    controller = RefineController(viewer)
    controller.run_failed.connect(print)
    controller.choose_video(video)
    controller.choose_masks(labels)

    at_rest = idle(pulse)
    cold_seconds, cold = run_in_worker(controller, pulse, parameters)
    warm_seconds, warm = run_in_worker(controller, pulse, parameters)
    controller.shut_down()
    viewer.close()
    main_seconds = run_in_main_thread(clip, masks, parameters)

    rows = [("idle", IDLE_SECONDS, at_rest), ("first run", cold_seconds, cold), ("second run", warm_seconds, warm)]
    print(
        f"{clip.name}: {len(clip)} frames of {clip.size[1]} x {clip.size[0]}; load {os.getloadavg()[0]:.1f} "
        f"on {os.cpu_count()} cores"
    )
    print(f"opening the dock takes {opening_seconds:.2f} s of computing")
    print(f"{'':12} {'seconds':>8} {'longest stall':>14} {'most work':>12} {'over 100 ms':>12}")
    for name, seconds, stalls in rows:
        longest = max(stalls.longest.values())
        print(f"{name:12} {seconds:8.1f} {longest:11.0f} ms {stalls.most_work:9.0f} ms {stalls.over_100_ms:12}")
        for stage, longest in stalls.longest.items():
            print(f"{'':21} {longest:11.0f} ms {'':12}   {stage}")
    print(f"{'main thread':12} {main_seconds:8.1f}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        result = {
            "clip": clip.name,
            "frames": len(clip),
            "size": clip.size,
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "opening_seconds": round(opening_seconds, 3),
            "runs": {name: {"seconds": round(seconds, 2), **asdict(stalls)} for name, seconds, stalls in rows},
            "main_thread_seconds": round(main_seconds, 2),
        }
        write_json(options.json, result)


if __name__ == "__main__":
    main()
