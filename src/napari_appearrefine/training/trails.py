"""What moving objects of synthetic scenes throw up behind them: dust, smoke, spray and wakes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .paths import Path2D, smooth_field

_PATCH = 96
_VISIBLE = 0.15
_PUFFS_A_FRAME = 3


@dataclass(frozen=True)
class _Puff:
    """One cloud: when and where it left the object, how it drifts, and how it looks."""

    born: int
    place: np.ndarray
    drift: np.ndarray
    texture: np.ndarray


class Trail:
    """Clouds that leave one object, stay behind, grow and fade; no part of the object.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every random choice.
    path : Path2D
        The object's.
    camera : Path2D
        The clouds stay where they are in the world, so the camera moves them in the picture.
    extent : tuple of float
        Height and width of the object in pixels.
    """

    def __init__(self, rng: np.random.Generator, path: Path2D, camera: Path2D, extent: tuple[float, float]) -> None:
        self._camera = camera
        height, width = extent
        self._life = int(rng.integers(3, 12))
        self._radius = float(rng.uniform(0.06, 0.35)) * max(height, width)
        self._growth = float(rng.uniform(1.02, 1.25))
        self._flat = float(rng.choice([1.0, 0.7, 0.25]))
        self._opacity = float(rng.uniform(0.25, 0.9))
        grey = rng.uniform(120, 250)
        self._colour = np.asarray(np.clip(grey + rng.normal(0, 18, 3), 0, 255), np.float32)
        self.in_front = bool(rng.random() < 0.3)
        grain = float(rng.choice([4.0, 10.0, 30.0]))
        speed = np.array([path.velocity(t) for t in range(len(path.x))])
        speed -= np.array([camera.velocity(t) for t in range(len(path.x))])
        rise = -abs(rng.normal(0, 0.4))
        self._puffs = []
        for born in range(-self._life, len(path.x)):
            t = max(born, 0)
            along = speed[t] / max(float(np.hypot(*speed[t])), 1e-3)
            foot = np.array([path.x[t] - 0.5 * width * along[0], path.y[t] + 0.4 * height]) - speed[t] * (t - born)
            for _ in range(_PUFFS_A_FRAME):
                scatter = rng.normal(0, 0.5 * self._radius, 2)
                drift = 0.25 * speed[t] * rng.random() + np.array([rng.normal(0, 0.4), rise])
                noise = smooth_field(rng, (_PATCH, _PATCH), grain)
                self._puffs.append(_Puff(born, foot + scatter, drift, _cloud(noise)))

    def draw(self, image: np.ndarray, t: int) -> np.ndarray:
        """Draw the clouds of one frame.

        Parameters
        ----------
        image : ndarray
            (Y, X, 3) float32, changed in place.
        t : int
            The frame.

        Returns
        -------
        ndarray
            (Y, X) bool, where they show.
        """
        cover: np.ndarray = np.zeros(image.shape[:2], np.float32)
        for puff in self._puffs:
            age = t - puff.born
            if 0 <= age < self._life:
                self._add(cover, puff, age, t)
        image += (self._colour - image) * cover[..., None]
        return np.asarray(cover > _VISIBLE)

    def _add(self, cover: np.ndarray, puff: _Puff, age: int, t: int) -> None:
        radius = self._radius * self._growth**age
        born = max(puff.born, 0)
        moved = np.array([self._camera.x[t] - self._camera.x[born], self._camera.y[t] - self._camera.y[born]])
        centre = puff.place + moved + puff.drift * age + np.array(cover.shape[::-1]) / 2
        scale = 2 * radius / _PATCH
        matrix = np.array(
            [[scale, 0, centre[0] - radius], [0, scale * self._flat, centre[1] - radius * self._flat]], np.float32
        )
        share = self._opacity * (1 - age / self._life)
        cloud = cv2.warpAffine(puff.texture, matrix, cover.shape[::-1], flags=cv2.INTER_LINEAR) * np.float32(share)
        np.maximum(cover, cloud, out=cover)


def _cloud(noise: np.ndarray) -> np.ndarray:
    """Cut a noise field (Y, X) into a cloud: its opacity, (Y, X) float32 from 0 to 1, none at the border."""
    ys, xs = np.mgrid[-1 : 1 : _PATCH * 1j, -1 : 1 : _PATCH * 1j]
    inside = np.clip(1 - (ys**2 + xs**2), 0, 1)
    return np.asarray(inside * np.clip(0.6 + 0.5 * noise, 0, 1), np.float32)
