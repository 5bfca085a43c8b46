"""Synthetic microscope scenes with exact truth: cells, particles and worms on an uneven background."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from .paths import smooth_field
from .scenes import Scene, SceneOptions

_CORNERS = 40
_SHIFT = 4
_MARGIN = 10.0

Outline = Callable[[int], np.ndarray]
"""From a frame to the corners (n, 2) of a body, x and y in pixels from its centre."""


def render_microscopy(rng: np.random.Generator, options: SceneOptions, most: int = 200) -> Scene:
    """Render many small bodies of one kind that crawl, bend, touch and leave the field of view.

    Bodies are bright or dark, evenly filled, ringed or textured, on a background that is uneven and
    noisy, grey as a camera behind a microscope sees them.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every random choice.
    options : SceneOptions
        Frames, size and speed; the other options belong to scenes of photographs.
    most : int
        Most bodies, at most 255.
    """
    height, width = options.size
    draw_outline = (_cell, _cell, _particle, _worm)[int(rng.integers(4))]
    radius = float(rng.uniform(3.5, 18)) if draw_outline is not _particle else float(rng.uniform(2.5, 6))
    room = int(height * width / (radius * rng.uniform(3, 9)) ** 2)
    count = int(np.clip(room, 3, most))
    bodies = [draw_outline(rng, radius * float(rng.uniform(0.7, 1.35))) for _ in range(count)]
    centres = rng.uniform((0, 0), (width, height), (count, 2))
    headings = rng.uniform(0, 2 * np.pi, count)
    speeds = rng.gamma(2.0, 0.25 * radius, count) * options.speed * float(rng.uniform(0.1, 0.6))
    stage = np.cumsum(rng.normal(0, rng.uniform(0, 1.5), (options.frames, 2)), 0)
    look = _Look(rng, options.size, count, radius)
    frames = np.empty((options.frames, height, width, 3), np.uint8)
    labels = np.zeros((options.frames, height, width), np.uint8)
    whole = np.zeros((options.frames, count, height, width), bool)
    for t in range(options.frames):
        planes = []
        for body in range(count):
            plane, where = _fill(bodies[body](t) + centres[body] + stage[t], options.size)
            planes.append((plane, where))
            whole[t, body][where] = plane > 127
            labels[t][where][(plane > 127) & (labels[t][where] == 0)] = body + 1
        frames[t] = look(planes)
        centres += speeds[:, None] * np.stack([np.cos(headings), np.sin(headings)], 1)
        headings += rng.normal(0, 0.3, count)
    return Scene(frames, labels, whole, np.arange(count, 0, -1), np.zeros_like(labels))


class _Look:
    """How one scene's bodies and background look through its microscope."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], count: int, radius: float) -> None:
        self._rng = rng
        self._size = size
        self._dark = rng.random() < 0.3
        level = rng.uniform(15, 70) if not self._dark else rng.uniform(110, 190)
        fine = rng.uniform(0, 6) * smooth_field(rng, size, rng.uniform(2, 8))
        coarse = 1 + 0.25 * smooth_field(rng, size, rng.uniform(80, 300))
        self._ground = np.asarray(level * coarse + fine)
        self._brightness = rng.uniform(12, 120) * np.exp(rng.normal(0, 0.35, count))
        self._grain = 1.0 + rng.uniform(0, 0.5) * smooth_field(rng, size, rng.uniform(2, 6))
        self._ring = rng.uniform(0.3, 1.2) if rng.random() < 0.4 else 0.0
        self._blur = float(rng.uniform(0.5, max(0.7, 0.12 * radius)))
        self._noise = float(rng.uniform(1, 10))
        self._gain = float(rng.uniform(0.97, 1.0))

    def __call__(self, planes: list[tuple[np.ndarray, tuple[slice, slice]]]) -> np.ndarray:
        signal: np.ndarray = np.zeros(self._size, np.float32)
        for strength, (plane, where) in zip(self._brightness, planes, strict=True):
            share = plane.astype(np.float32) / 255
            if self._ring:
                inner = cv2.erode(share, np.ones((3, 3), np.uint8))
                share = share * (1 - 0.7 * self._ring * inner) + self._ring * (share - inner)
            signal[where] = np.maximum(signal[where], share * np.float32(strength))
        signal = cv2.GaussianBlur(signal * self._grain.astype(np.float32), (0, 0), self._blur)
        image = self._ground + (-signal if self._dark else signal)
        self._ground = self._ground * self._gain
        image = image + self._rng.normal(0, self._noise, self._size)
        grey = np.clip(image, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)


def _cell(rng: np.random.Generator, radius: float) -> Outline:
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    size, phase, rate = rng.normal(0, 0.12, 4), rng.uniform(0, 2 * np.pi, 4), rng.normal(0, 0.3, 4)
    flat, turn = float(rng.uniform(0.55, 1.0)), float(rng.uniform(0, np.pi))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])

    def outline(t: int) -> np.ndarray:
        lobes = sum(size[k] * np.cos((k + 2) * angles + phase[k] + rate[k] * t) for k in range(4))
        reach = radius * np.clip(1 + lobes, 0.35, None)
        return np.asarray(np.stack([reach * np.cos(angles), flat * reach * np.sin(angles)], 1) @ rotation.T)

    return outline


def _particle(rng: np.random.Generator, radius: float) -> Outline:
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    disc = radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    return lambda t: disc


def _worm(rng: np.random.Generator, radius: float) -> Outline:
    along = np.linspace(-1, 1, _CORNERS)
    length, thickness = radius * rng.uniform(2.0, 4.5), max(radius * rng.uniform(0.25, 0.5), 1.2)
    waves, rate, bend = rng.uniform(1.0, 3.5), rng.uniform(0.2, 1.2), radius * rng.uniform(0.2, 0.9)
    turn, spin = float(rng.uniform(0, 2 * np.pi)), float(rng.normal(0, 0.1))

    def outline(t: int) -> np.ndarray:
        middle = np.stack([length * along, bend * np.sin(waves * along + rate * t)], 1)
        tangent = np.gradient(middle, axis=0)
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1) / np.hypot(*tangent.T)[:, None]
        half = thickness * np.sqrt(np.clip(1.02 - along**2, 0, 1))[:, None]
        corners = np.concatenate([middle + half * normal, (middle - half * normal)[::-1]])
        angle = turn + spin * t
        return np.asarray(corners @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]))

    return outline


def _fill(corners: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Fill a polygon with soft edges; return its (h, w) uint8 opacity and where in the picture that lies."""
    low = np.floor(corners.min(0) - _MARGIN).astype(int).clip(0, [size[1] - 1, size[0] - 1])
    high = np.ceil(corners.max(0) + _MARGIN).astype(int).clip(low + 1, [size[1], size[0]])
    where = (slice(low[1], high[1]), slice(low[0], high[0]))
    plane = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    points = np.round((corners - low) * 2**_SHIFT).astype(np.int32)
    cv2.fillPoly(plane, [points], 255, lineType=cv2.LINE_AA, shift=_SHIFT)
    return plane, where
