"""Writes optical flow as the programs do whose flow can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_flo(path: Path, flow: np.ndarray) -> None:
    """Write (Y, X, 2) flow in pixels as a Middlebury .flo file."""
    height, width = flow.shape[:2]
    head = np.float32(202021.25).astype("<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    path.write_bytes(head + np.ascontiguousarray(flow, "<f4").tobytes())
