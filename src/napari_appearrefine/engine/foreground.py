"""Which pixels move by themselves: what a foreground model offers, and the one that needs no weights."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import cv2
import numpy as np

from .motion_cues import MotionCues
from .regions import otsu

_NOISE_FLOOR = 0.2
_LEAST_EVIDENCE = 2.5
_LARGEST_EVIDENCE = 200.0
_SOFTNESS = 0.35
_NEAR_WEIGHT = 0.7
_CLEAR = 2.0


class Foreground(NamedTuple):
    """What moves by itself in a frame.

    Attributes
    ----------
    probability : ndarray
        (h, w) float32, that each pixel belongs to a moving object.
    features : ndarray or None
        (c, h / s, w / s) float32, what the frame looks like, if the model can tell.
    """

    probability: np.ndarray
    features: np.ndarray | None = None


class ForegroundModel(Protocol):
    """Anything that finds moving objects in one frame.

    Attributes
    ----------
    name : str
        Short name for reports.
    """

    name: str

    def foreground(self, image: np.ndarray, cues: MotionCues) -> Foreground:
        """Find what moves by itself.

        ``image`` is (h, w, 3) uint8 on the same working grid as ``cues``.
        """


class ThresholdForeground:
    """Residual motion against the noise of the background, with Otsu's threshold for each frame.

    A pixel counts as moving as far as it does so both to the next and to the previous frame: what
    an object uncovers or covers moves in one of the two only. Near and far neighbours are
    joined, so that slow objects show. The outline follows the image (guided filter).
    """

    name = "threshold"

    def foreground(self, image: np.ndarray, cues: MotionCues) -> Foreground:
        """Find what moves by itself."""
        evidence = motion_evidence(cues)
        # Otsu on the root of the ratio: on the ratio itself only the fastest parts stand out, on its
        # logarithm the background's parallax counts as motion.
        threshold = max(2 * float(np.log(otsu(np.exp(evidence / 2))[0])), float(np.log(_LEAST_EVIDENCE)))
        probability = 1 / (1 + np.exp(-np.clip((evidence - threshold) / _SOFTNESS, -30, 30)))
        guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        return Foreground(np.clip(guided_filter(guide, probability.astype(np.float32)), 0, 1).astype(np.float32))


def motion_evidence(cues: MotionCues) -> np.ndarray:
    """Measure how clearly each pixel moves by itself.

    Returns
    -------
    ndarray
        (h, w) float32: logarithm of the residual's length in units of the background's noise, at
        least 0; the smaller of the two directions, averaged over near and far gaps with more
        weight on the nearest.
    """
    ratios = np.linalg.norm(cues.residual, axis=-1) / (cues.scale[:, None, None] + _NOISE_FLOOR)
    logarithms = np.log(np.clip(ratios, 1, _LARGEST_EVIDENCE))
    distances = sorted({abs(gap) for gap in cues.gaps})
    levels = [
        np.min([logarithms[index] for index, gap in enumerate(cues.gaps) if abs(gap) == distance], axis=0)
        for distance in distances
    ]
    far = np.mean(levels[1:], axis=0) if len(levels) > 1 else levels[0]
    return np.asarray(_NEAR_WEIGHT * levels[0] + (1 - _NEAR_WEIGHT) * far, np.float32)


def clearly_moving(cues: MotionCues, size: tuple[int, int]) -> np.ndarray:
    """Tell which cells of a coarser grid of ``size`` move clearly, whatever moves there.

    Returns
    -------
    ndarray
        (y, x) float32: 0 where the mean residual is up to twice the background's noise, to the next or to the
        previous frame, 1 where it is four times as much in both.
    """
    ratios = []
    for gap in (1, -1):
        index = cues.gaps.index(gap)
        mean = cv2.resize(cues.residual[index], size[::-1], interpolation=cv2.INTER_AREA)
        ratios.append(np.linalg.norm(mean, axis=-1) / (cues.scale[index] + _NOISE_FLOOR))
    return np.asarray(np.clip(np.log2(np.maximum(np.minimum(*ratios), 1e-6) / _CLEAR), 0, 1), np.float32)


def guided_filter(guide: np.ndarray, plane: np.ndarray, radius: int = 5, flatness: float = 1e-3) -> np.ndarray:
    """Smooth a plane along the edges of a guide (He et al., "Guided Image Filtering", ECCV 2010).

    Parameters
    ----------
    guide, plane : ndarray
        (h, w) float32; the guide from 0 to 1.
    radius : int
        Half the side of the window in pixels.
    flatness : float
        Variance of the guide below which a window counts as flat.
    """
    side = (2 * radius + 1, 2 * radius + 1)
    mean_guide, mean_plane = cv2.blur(guide, side), cv2.blur(plane, side)
    variance = cv2.blur(guide * guide, side) - mean_guide**2
    slope = (cv2.blur(guide * plane, side) - mean_guide * mean_plane) / (variance + flatness)
    offset = mean_plane - slope * mean_guide
    return np.asarray(cv2.blur(slope, side) * guide + cv2.blur(offset, side), np.float32)
