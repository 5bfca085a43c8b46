"""Legs of synthetic scenes: a foot stands on the ground while the body passes over it, then it swings ahead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from .paths import Path2D
from .sprites import Sprite

_DRAWN_LEGS = 0.5
_WITH_ARMS = 0.4


def feet_ahead(path: Path2D, camera: Path2D, stride: float, phase: float) -> np.ndarray:
    """Return how far a foot is to the right of its hip in every frame.

    While it stands, it is carried back against the body's way over the ground as far as the body goes; then it swings
    ahead at the same pace.

    Parameters
    ----------
    path, camera : Path2D
        The body's, and the camera's, with which the ground moves.
    stride : float
        Pixels that the body goes while a foot stands.
    phase : float
        From 0 to 2, the foot's place in its cycle at the beginning: it stands in the first half.

    Returns
    -------
    ndarray
        (T,) float pixels, at most half a stride to either side.
    """
    cycle = np.mod((path.x - camera.x) / stride + phase, 2)
    return np.asarray(stride * np.where(cycle < 1, 0.5 - cycle, cycle - 1.5))


def striding(
    sprite: Sprite, rng: np.random.Generator, path: Path2D, camera: Path2D
) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Return a function from frame to (image, alpha): it walks on its own lower part or on drawn legs."""
    if rng.random() < _DRAWN_LEGS:
        return _on_drawn_legs(sprite, rng, path, camera)
    return _on_its_own(sprite, rng, path, camera)


def _on_its_own(
    sprite: Sprite, rng: np.random.Generator, path: Path2D, camera: Path2D
) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Let the lower part of a cut-out stride: its left and its right side, or four parts side by side, in turns."""
    height, width = sprite.alpha.shape
    stride = float(rng.uniform(0.2, 0.5)) * min(height, 2 * width)
    margin = int(stride / 2) + 2
    image = cv2.copyMakeBorder(sprite.image, 0, 0, margin, margin, cv2.BORDER_REPLICATE)
    alpha = cv2.copyMakeBorder(sprite.alpha, 0, 0, margin, margin, cv2.BORDER_CONSTANT, value=0)
    phase = float(rng.uniform(0, 2))
    first, second = feet_ahead(path, camera, stride, phase), feet_ahead(path, camera, stride, phase + 1)
    ys, xs = np.mgrid[0:height, 0 : width + 2 * margin].astype(np.float32)
    hip = float(rng.uniform(0.4, 0.7)) * height
    down = np.clip((ys - hip) / (height - hip), 0, 1)
    legs = float(rng.choice([1.0, 2.0]))
    side = 0.5 + 0.5 * np.tanh(3 * np.sin(2 * np.pi * legs * (xs - margin) / width))

    def at(t: int) -> tuple[np.ndarray, np.ndarray]:
        map_x = (xs - down * (side * first[t] + (1 - side) * second[t])).astype(np.float32)
        moved = cv2.remap(image, map_x, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return moved, cv2.remap(alpha, map_x, ys, cv2.INTER_LINEAR)

    return at


@dataclass(frozen=True)
class _Limb:
    """A leg or an arm: how it looks hanging down, from where, and where its end is, (T,) pixels to the right."""

    sprite: Sprite
    joint: tuple[float, float]
    end: np.ndarray

    def draw(self, image: np.ndarray, alpha: np.ndarray, t: int) -> None:
        length, width = self.sprite.alpha.shape
        reach = float(np.hypot(self.end[t], length))
        along = np.array([self.end[t], length]) / reach
        across = np.array([along[1], -along[0]])
        stretched = along * reach / length
        start = np.array(self.joint) - across * width / 2
        matrix = np.stack([across, stretched, start], axis=1).astype(np.float32)
        where = (alpha.shape[1], alpha.shape[0])
        seen = cv2.warpAffine(self.sprite.alpha, matrix, where, flags=cv2.INTER_LINEAR)
        texture = cv2.warpAffine(
            self.sprite.image, matrix, where, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        share = seen[..., None] / np.float32(255)
        image[:] = (image + (texture - image.astype(np.float32)) * share).astype(np.uint8)
        np.maximum(alpha, seen, out=alpha)


def _on_drawn_legs(
    sprite: Sprite, rng: np.random.Generator, path: Path2D, camera: Path2D
) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Put a body on two or four legs, half of them behind it, and give it swinging arms or a tail at times."""
    height, width = sprite.alpha.shape
    length = max(float(rng.uniform(0.35, 1.0)) * height, 6.0)
    stride = float(rng.uniform(0.5, 1.1)) * length
    margin, below = int(stride / 2 + 0.2 * width) + 2, int(0.9 * length) + 2
    frames, phase = np.arange(len(path.x)), float(rng.uniform(0, 2))
    pairs = int(rng.integers(1, 3))
    behind: list[_Limb] = []
    before: list[_Limb] = []
    for pair in range(pairs):
        hip = margin + width * (0.5 if pairs == 1 else 0.25 + 0.5 * pair) + float(rng.normal(0, 0.04)) * width
        look = _limb_sprite(sprite, rng, length)
        for limbs, turn in ((behind, 0.0), (before, 1.0)):
            foot = feet_ahead(path, camera, stride, phase + turn + 0.5 * pair)
            limbs.append(_Limb(look, (hip, 0.85 * height), foot))
    if rng.random() < _WITH_ARMS:
        reach, rate = float(rng.uniform(0.3, 0.7)) * height, float(rng.uniform(0.2, 1.2))
        swing = reach * float(rng.uniform(0.3, 1.2)) * np.sin(rate * frames + phase)
        shoulder = (margin + width * float(rng.uniform(0.2, 0.8)), 0.3 * height)
        before.append(_Limb(_limb_sprite(sprite, rng, max(reach, 6.0)), shoulder, swing))
    image = cv2.copyMakeBorder(sprite.image, 0, below, margin, margin, cv2.BORDER_REPLICATE)
    alpha = cv2.copyMakeBorder(sprite.alpha, 0, below, margin, margin, cv2.BORDER_CONSTANT, value=0)
    inside = alpha[..., None] > 127

    def at(t: int) -> tuple[np.ndarray, np.ndarray]:
        picture, cover = image.copy(), np.zeros_like(alpha)
        for limb in behind:
            limb.draw(picture, cover, t)
        picture = np.where(inside, image, picture)
        np.maximum(cover, alpha, out=cover)
        for limb in before:
            limb.draw(picture, cover, t)
        return picture, cover

    return at


def _limb_sprite(body: Sprite, rng: np.random.Generator, length: float) -> Sprite:
    """Cut a tapering limb from the body's own texture, in a tone of its own."""
    height, width = body.alpha.shape
    across = max(int(float(rng.uniform(0.05, 0.2)) * length) + 1, 2)
    rows, columns = max(height // 2, 1), max(width // 3, 1)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    image = cv2.resize(
        body.image[top : top + rows, left : left + columns], (across, int(length)), interpolation=cv2.INTER_AREA
    )
    if rng.random() < 0.5:
        image = np.clip(image * rng.uniform(0.4, 1.5, 3), 0, 255).astype(np.uint8)
    thin = float(rng.uniform(0.3, 1.0)) * across / 2
    outline = [(0, 0), (across - 1, 0), (across / 2 + thin, int(length) - 1), (across / 2 - thin, int(length) - 1)]
    alpha = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(alpha, [np.round(outline).astype(np.int32)], 255)
    return Sprite(image, alpha)
