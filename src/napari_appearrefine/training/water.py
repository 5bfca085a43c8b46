"""The water of synthetic scenes: waves that move the picture, and a surface that shows the land upside down."""

from __future__ import annotations

import cv2
import numpy as np

from .paths import smooth_field


class Waves:
    """Standing and travelling ripples, as shifts of the picture.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every random choice.
    size : tuple of int
        Height and width of the picture.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self._fields = [smooth_field(rng, size, rng.uniform(6, 20)) for _ in range(4)]
        self._strength = float(rng.uniform(0.5, 3.0))
        self._rate = float(rng.uniform(0.5, 2.5))

    def shift(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Return by how many pixels the picture is shifted to the right and down in frame ``t``: two (Y, X) float32."""
        a, b, c, d = self._fields
        phase = t * self._rate
        right = a * np.cos(phase) + b * np.sin(phase * 1.3)
        down = c * np.sin(phase) + d * np.cos(phase * 0.8)
        return np.asarray(self._strength * right, np.float32), np.asarray(self._strength * down, np.float32)


def flooded(photo: np.ndarray, shore: int, rng: np.random.Generator) -> np.ndarray:
    """Put what lies below a row under water that shows what lies above it.

    Parameters
    ----------
    photo : ndarray
        (Y, X, 3) uint8.
    shore : int
        First row of water.
    rng : numpy.random.Generator
        Source of the water's colour, clearness and grain.

    Returns
    -------
    ndarray
        (Y, X, 3) uint8, a new picture.
    """
    under = photo[shore:].astype(np.float32)
    mirrored = cv2.resize(photo[:shore][::-1], under.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    colour = mirrored.mean((0, 1)) * rng.uniform(0.5, 1.0) + rng.normal(0, 12, 3)
    clear, still = rng.uniform(0.0, 0.4), rng.uniform(0.15, 0.9)
    surface = still * mirrored + (1 - still) * colour.astype(np.float32)
    glitter = smooth_field(rng, under.shape[:2], rng.uniform(3, 10)) * np.float32(rng.uniform(0, 14))
    water = clear * under + (1 - clear) * surface + glitter[..., None]
    out = photo.copy()
    out[shore:] = np.clip(water, 0, 255).astype(np.uint8)
    return out
