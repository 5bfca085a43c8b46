"""Scores of any model as quality that a person can read."""

from __future__ import annotations

import numpy as np


def quality_of(scores: np.ndarray) -> np.ndarray:
    """Return a model's scores as quality in 0..1, (T, Q) float32.

    Scores in 0..1 are estimates of the overlap with the true mask and stay what they are. Others tell
    better from worse and nothing more: they are stretched, 5 % of outliers at the low end left out.
    """
    quality: np.ndarray = np.asarray(scores, np.float32)
    if quality.size == 0 or (np.nanmin(quality) >= 0 and np.nanmax(quality) <= 1):
        return quality
    low, high = float(np.nanpercentile(quality, 5)), float(np.nanmax(quality))
    return np.clip((quality - low) / max(high - low, 1e-9), 0, 1).astype(np.float32)
