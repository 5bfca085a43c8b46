"""The main job on the included sample clip: masks from motion, then their refinement, shown or written to files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .core.clip import Clip, FrameSource, spread_frames
from .core.events import Progress, Report, collect_frames

SAMPLE = "crossing"
_FRAMES_SHOWN = 5


@dataclass(frozen=True)
class DemoResult:
    """What the demo computed.

    Parameters
    ----------
    clip : Clip
        The sample clip.
    truth, flow_masks, refined_masks : FrameSource
        (T, Y, X) label maps: exact, before and after.
    report : Report
        The report of the refinement.
    j_before, j_after : float
        Mean region similarity J of the masks before and after, against the truth.
    """

    clip: Clip
    truth: FrameSource
    flow_masks: np.ndarray
    refined_masks: np.ndarray
    report: Report
    j_before: float
    j_after: float


def compute_demo(on_progress: Callable[[Progress], None]) -> DemoResult:
    """Run the main job on the sample clip.

    Parameters
    ----------
    on_progress : callable
        Told each step.

    Raises
    ------
    UserError
        If the sample clip is missing from the installation.
    """
    from .engine.flow_masks import flow_masks
    from .engine.refinement import refine
    from .evaluation.davis import evaluate_clip
    from .files.samples import open_sample

    clip, truth = open_sample(SAMPLE)
    before, after = np.zeros((2, len(clip), *clip.size), np.uint8)
    collect_frames(flow_masks(clip), before, on_progress)
    report = collect_frames(refine(clip, before, masks_name="the flow masks"), after, on_progress)
    if report is None:
        raise RuntimeError("the refinement ended without a report")
    return DemoResult(clip, truth, before, after, report, evaluate_clip(truth, before).J, evaluate_clip(truth, after).J)


def write_demo(result: DemoResult, folder: Path) -> list[Path]:
    """Write masks, report and overlay picture.

    Returns
    -------
    list of Path
        What was written: the folders of the masks, the report, the picture.

    Raises
    ------
    UserError
        If something cannot be written.
    """
    from PIL import Image

    from .files.atomic import atomic_path
    from .files.masks import MaskFolderWriter
    from .files.report import write_json

    written = []
    for name, masks in (("flow_masks", result.flow_masks), ("refined_masks", result.refined_masks)):
        writer = MaskFolderWriter(folder / name, result.clip.frame_names, result.clip.size)
        for frame, labels in enumerate(masks):
            writer.write(frame, labels)
        written.append(folder / name)
    report = {**result.report.to_json(), "J_flow_masks": result.j_before, "J_refined_masks": result.j_after}
    write_json(folder / "report.json", report)
    with atomic_path(folder / "overlay.png") as beside:
        Image.fromarray(draw_demo(result)).save(beside)
    return [*written, folder / "report.json", folder / "overlay.png"]


def draw_demo(result: DemoResult) -> np.ndarray:
    """Draw some frames with the contours before and after, (Y, X, 3) uint8."""
    from .files.contact_sheet import SheetRow, contact_sheet

    frames = spread_frames(len(result.clip), _FRAMES_SHOWN)
    report = result.report
    scores = {
        frame: "score " + ", ".join(f"{i}: {s:.2f}" for i, s in zip(report.objects, report.scores[frame], strict=True))
        for frame in frames
    }
    uses = {
        frame: "example for " + " and ".join(str(i) for i in used)
        for frame in frames
        if (used := [i for i in report.objects if frame in report.exemplars.get(i, ())])
    }
    rows = [
        SheetRow(f"masks from motion, mean J {result.j_before:.3f}", result.flow_masks, scores),
        SheetRow(f"refined masks, mean J {result.j_after:.3f}", result.refined_masks, uses),
    ]
    return contact_sheet(result.clip, rows, frames)


def can_open_windows() -> bool:
    """Say whether napari can open here: there is a display, and Qt works with it.

    Qt ends the whole process when it finds no usable display, so it is tried in another one.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    trial = "from qtpy.QtWidgets import QApplication; QApplication([])"
    try:
        return subprocess.run([sys.executable, "-c", trial], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
