"""A refinement run to its end, for tests that ask what came of all frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_appearrefine.core.clip import Clip, FrameSource
from napari_appearrefine.core.events import Progress, Report, collect_frames
from napari_appearrefine.engine.refinement import refine

UNWRITTEN = 65535


def refine_all(clip: Clip, masks: FrameSource, *settings: Any, **further: Any) -> tuple[np.ndarray, Report]:
    """Return the (T, Y, X) labels of all frames, and the report; takes what ``refine`` takes."""
    labels = np.full((len(clip), *clip.size), UNWRITTEN, np.uint16)
    report = collect_frames(refine(clip, masks, *settings, **further), labels, _check)
    assert report is not None
    assert not (labels == UNWRITTEN).any()
    return labels, report


def _check(progress: Progress) -> None:
    assert 0 <= progress.done <= progress.total
