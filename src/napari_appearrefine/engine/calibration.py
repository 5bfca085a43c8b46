"""From the selector's raw estimates to IoUs that mean the same in every video, with how unsure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Calibration:
    """A monotone map that was measured on masks of known quality.

    Parameters
    ----------
    estimate : ndarray
        (K,) float32 raw estimates, ascending.
    iou : ndarray
        (K,) float32 mean true IoU of masks with such an estimate, not descending.
    spread : ndarray
        (K,) float32 standard deviation of their true IoU.
    """

    estimate: np.ndarray
    iou: np.ndarray
    spread: np.ndarray

    @classmethod
    def none(cls) -> Calibration:
        """Return the map that leaves estimates as they are and claims no certainty."""
        ends = np.array([0, 1], np.float32)
        return cls(ends, ends, np.full(2, 0.25, np.float32))

    @classmethod
    def measured(cls, estimates: np.ndarray, ious: np.ndarray, bins: int = 16) -> Calibration:
        """Measure the map from pairs of estimate and true IoU.

        Parameters
        ----------
        estimates, ious : ndarray
            (n,) float, of the same masks; at least as many as ``bins``.
        bins : int
            Groups of equally many masks with neighbouring estimates.
        """
        order = np.argsort(estimates, kind="stable")
        groups = np.array_split(order, min(bins, len(order)))
        estimate = np.array([estimates[group].mean() for group in groups])
        iou = np.maximum.accumulate(np.array([ious[group].mean() for group in groups]))
        spread = np.array([ious[group].std() for group in groups])
        return cls(
            np.concatenate([[0.0], estimate, [1.0]]).astype(np.float32),
            np.concatenate([[0.0], iou, [1.0]]).astype(np.float32),
            np.concatenate([spread[:1], spread, spread[-1:]]).astype(np.float32),
        )

    def __call__(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the estimated IoU and its standard deviation, float32 of the shape of ``raw``.

        A raw estimate of 0, that of an empty mask, stays 0 and is certain.
        """
        iou = np.where(raw > 0, np.interp(raw, self.estimate, self.iou), 0).astype(np.float32)
        return iou, self.spread_at(iou)

    def spread_at(self, iou: np.ndarray) -> np.ndarray:
        """Return the standard deviation, float32, that belongs to estimated IoUs."""
        spread = np.interp(iou, self.iou, self.spread)
        return np.where(iou > 0, spread, 0).astype(np.float32)
