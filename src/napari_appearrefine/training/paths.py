"""How cameras and objects of synthetic scenes move."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np


@dataclass(frozen=True)
class Path2D:
    """Position, angle and size of one thing in every frame, in pixels from the middle of the image.

    Parameters
    ----------
    x, y, angle, scale : ndarray
        (T,) float: shift to the right and down, radians, and magnification.
    present : ndarray
        (T,) bool, False where it has left the scene.
    size : tuple of int
        Height and width of the image.
    shutter : float
        Part of a frame's time during which the shutter is open.
    """

    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    scale: np.ndarray
    present: np.ndarray
    size: tuple[int, int]
    shutter: float = 0.0

    @classmethod
    def fixed(cls, x: float, y: float, angle: float, scale: float, sprite: Any) -> Path2D:
        """Return a path of one frame."""
        return cls(
            np.array([x]), np.array([y]), np.array([angle]), np.array([scale]), np.ones(1, bool), sprite.alpha.shape
        )

    def placed_at(self, place: tuple[float, float]) -> Path2D:
        """Return the same path, shifted to be at ``place`` (x, y) in the middle frame."""
        middle = len(self.x) // 2
        return replace(self, x=self.x - self.x[middle] + place[0], y=self.y - self.y[middle] + place[1])

    def matrix(self, t: int, texture_size: tuple[int, ...], size: tuple[int, int] | None = None) -> np.ndarray:
        """Return the (2, 3) matrix that takes texture pixels to image pixels."""
        height, width = size or self.size
        cosine, sine = np.cos(self.angle[t]) * self.scale[t], np.sin(self.angle[t]) * self.scale[t]
        cx, cy = texture_size[1] / 2, texture_size[0] / 2
        return np.array(
            [
                [cosine, -sine, width / 2 + self.x[t] - cosine * cx + sine * cy],
                [sine, cosine, height / 2 + self.y[t] - sine * cx - cosine * cy],
            ],
            np.float32,
        )

    def velocity(self, t: int) -> np.ndarray:
        """Return (x, y) pixels a frame at frame ``t``."""
        other = t + 1 if t + 1 < len(self.x) else t - 1
        if other < 0:
            return np.zeros(2)
        sign = 1 if other > t else -1
        return sign * np.array([self.x[other] - self.x[t], self.y[other] - self.y[t]])


def smooth_field(rng: np.random.Generator, size: tuple[int, int], grain: float) -> np.ndarray:
    """Return a smooth random field (Y, X) float32 of about unit variance whose features are ``grain`` pixels wide."""
    rows, columns = max(int(size[0] / grain) + 3, 3), max(int(size[1] / grain) + 3, 3)
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def smooth_walk(rng: np.random.Generator, frames: int, step: float, smoothness: float) -> np.ndarray:
    """Return a (T,) path whose velocity changes slowly; ``step`` is its typical speed a frame."""
    velocity = rng.normal(0, step)
    speeds = np.empty(frames)
    for t in range(frames):
        velocity = smoothness * velocity + (1 - smoothness) * rng.normal(0, step * 1.5)
        speeds[t] = velocity
    path = np.cumsum(speeds)
    return np.asarray(path - path[frames // 2])


def camera_path(rng: np.random.Generator, frames: int, size: tuple[int, int], speed: float) -> Path2D:
    """Return a camera: still, hand-held, panning or following; zoom and roll in some."""
    kind = rng.choice(["still", "hand", "pan", "fast"], p=[0.15, 0.25, 0.4, 0.2])
    step = {"still": 0.0, "hand": 0.6, "pan": 2.5, "fast": 7.0}[str(kind)] * speed
    zoom = rng.normal(0, 0.006) if rng.random() < 0.5 else 0.0
    roll = smooth_walk(rng, frames, 0.004, 0.9) if rng.random() < 0.4 and kind != "still" else np.zeros(frames)
    shake = 0.0 if kind == "still" else rng.uniform(0, 0.8)
    return Path2D(
        smooth_walk(rng, frames, step, 0.93) + rng.normal(0, shake, frames),
        smooth_walk(rng, frames, step * 0.5, 0.93) + rng.normal(0, shake, frames),
        roll * speed,
        np.exp(zoom * speed * (np.arange(frames) - frames // 2)),
        np.ones(frames, bool),
        size,
    )


def object_path(
    rng: np.random.Generator,
    frames: int,
    size: tuple[int, int],
    camera: Path2D,
    speed: float,
    pace: tuple[float, float] = (0.6, 9.0),
) -> Path2D:
    """Return an object's path: its own motion, on top of the camera's or followed by the camera."""
    height, width = size
    step = float(np.exp(rng.uniform(*np.log(pace)))) * speed
    x = smooth_walk(rng, frames, step, 0.93)
    y = smooth_walk(rng, frames, step * rng.uniform(0.1, 0.8), 0.93)
    if frames > 3 and rng.random() < 0.25:
        stop = int(rng.integers(1, frames - 1))
        length = int(rng.integers(1, frames))
        x, y = _rest(x, stop, length), _rest(y, stop, length)
    followed = rng.random() < 0.5
    if not followed:
        x, y = x + camera.x, y + camera.y
    elif rng.random() < 0.7:
        x, y = x * 0.3, y * 0.3
    place = rng.normal(0, 0.22, 2) * (width, height)
    present = np.ones(frames, bool)
    if frames > 4 and rng.random() < 0.1:
        first = int(rng.integers(0, frames - 1))
        present[first : first + int(rng.integers(1, frames // 2 + 1))] = False
    spin = smooth_walk(rng, frames, rng.choice([0.002, 0.01, 0.03]), 0.9)
    grow = np.exp(smooth_walk(rng, frames, 0.006, 0.9))
    shutter = float(rng.choice([0.0, 0.3, 0.7], p=[0.4, 0.4, 0.2]))
    return Path2D(x + place[0], y + place[1], spin * speed, grow, present, size, shutter)


def _rest(path: np.ndarray, start: int, length: int) -> np.ndarray:
    speeds = np.diff(path, prepend=path[0])
    speeds[start : start + length] = 0
    return np.asarray(np.cumsum(speeds) + path[0])
