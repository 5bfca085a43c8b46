"""The sample clips of the package, rendered from procedural textures alone, with exact truth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .paths import Path2D, smooth_field
from .scenes import blend, warp
from .sprites import Sprite

_SHADOW = np.array([[1, 0, 14], [0, 1, 22]], np.float32)


@dataclass(frozen=True)
class SampleClip:
    """Frames (T, Y, X[, 3]) and exact labels (T, Y, X)."""

    frames: np.ndarray
    labels: np.ndarray


def render_crossing(rng: np.random.Generator, frames: int = 60, size: tuple[int, int] = (360, 640)) -> SampleClip:
    """Render a stream bed under a panning camera; a fish and a ray swim across each other's way."""
    height, width = size
    times = np.linspace(-1, 1, frames)
    pan = 90 * times + 4 * np.sin(5 * times)
    bed = _stream_bed(rng, (height + 160, width + 420))
    fish, ray = _fish(rng), _ray(rng)
    # Each speeds up and slows down; they meet in the middle of the clip, the ray in front.
    fish_path = _swim(
        -190 * times + pan * 0.2, 34 * np.sin(2.1 * times + 0.4) + 18, np.pi + 0.16 * np.cos(2.1 * times), size
    )
    ray_path = _swim(150 * times + pan * 0.2, -46 * np.sin(1.7 * times) - 4, 0.25 * np.sin(2 * times) + 0.1, size)
    video = np.empty((frames, height, width, 3), np.uint8)
    labels = np.zeros((frames, height, width), np.uint8)
    for t in range(frames):
        shift = np.array([[1, 0, -210 - pan[t]], [0, 1, -80 - 10 * np.sin(3 * times[t])]], np.float32)
        image = cv2.warpAffine(bed, shift, (width, height), flags=cv2.INTER_LINEAR).astype(np.float32)
        for object_id, (sprite, path, wave) in enumerate(((fish, fish_path, 0.45), (ray, ray_path, 0.32)), start=1):
            texture, opacity = _undulate(sprite, t, wave, flaps=object_id == 2)
            layer, alpha = warp(texture, opacity, path.matrix(t, opacity.shape), size)
            shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, _SHADOW, (width, height)), (0, 0), 6)
            image *= 1 - 0.45 * shadow[..., None]
            blend(image, layer, alpha)
            labels[t][alpha > 0.5] = object_id
        image += rng.normal(0, 2.0, image.shape)
        video[t] = np.clip(image, 0, 255).astype(np.uint8)
    return SampleClip(video, labels)


def render_cells(
    rng: np.random.Generator, frames: int = 20, size: tuple[int, int] = (240, 320), count: int = 36
) -> SampleClip:
    """Render bright cells that crawl and change shape on an uneven background, 16 bit with shot noise."""
    height, width = size
    uneven = 900 + 350 * smooth_field(rng, size, 140)
    centres = _scattered(rng, count, size)
    headings, speeds = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.8, 2.4, count)
    radii, brightness = rng.uniform(6, 10.5, count), rng.uniform(1500, 5200, count)
    harmonics = rng.normal(0, 0.09, (count, 4)), rng.uniform(0, 2 * np.pi, (count, 4)), rng.normal(0, 0.22, (count, 4))
    grain = smooth_field(rng, (height, width), 4)
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    video, labels = np.empty((frames, height, width), np.uint16), np.zeros((frames, height, width), np.uint16)
    for t in range(frames):
        signal = uneven.astype(np.float32).copy()
        for cell in range(count):
            radius = radii[cell] * (
                1
                + sum(
                    harmonics[0][cell, k] * np.cos((k + 2) * angles + harmonics[1][cell, k] + harmonics[2][cell, k] * t)
                    for k in range(4)
                )
            )
            outline = np.stack(
                [centres[cell, 0] + radius * np.cos(angles), centres[cell, 1] + 0.8 * radius * np.sin(angles)], 1
            )
            plane = np.zeros(size, np.uint8)
            cv2.fillPoly(plane, [np.round(outline * 16).astype(np.int32)], 1, shift=4)
            inside = plane.astype(bool)
            signal += cv2.GaussianBlur(plane * np.float32(brightness[cell]), (0, 0), 1.3) * (1 + 0.25 * grain)
            labels[t][inside & (labels[t] == 0)] = cell + 1
        centres += speeds[:, None] * np.stack([np.cos(headings), np.sin(headings)], 1)
        headings += rng.normal(0, 0.25, count)
        _keep_inside(centres, headings, size)
        video[t] = np.clip(rng.poisson(np.clip(signal, 0, None) / 16) * 16 + 100, 0, 65535).astype(np.uint16)
    return SampleClip(video, labels)


def _keep_inside(centres: np.ndarray, headings: np.ndarray, size: tuple[int, int]) -> None:
    for axis, limit in ((0, size[1]), (1, size[0])):
        outside = (centres[:, axis] < 12) | (centres[:, axis] > limit - 12)
        headings[outside] = (np.pi if axis == 0 else 0) - headings[outside]
        centres[:, axis] = np.clip(centres[:, axis], 12, limit - 12)


def _scattered(rng: np.random.Generator, count: int, size: tuple[int, int], apart: float = 24.0) -> np.ndarray:
    points: list[np.ndarray] = []
    while len(points) < count:
        point = rng.uniform((16, 16), (size[1] - 16, size[0] - 16))
        if all(np.hypot(*(point - other)) > apart for other in points):
            points.append(point)
    return np.array(points)


def _swim(x: np.ndarray, y: np.ndarray, angle: np.ndarray, size: tuple[int, int]) -> Path2D:
    ones = np.ones(len(x))
    return Path2D(x, y, angle, ones, ones.astype(bool), size)


def _undulate(sprite: Sprite, t: int, rate: float, flaps: bool) -> tuple[np.ndarray, np.ndarray]:
    """Bend a body: a wave runs from head to tail, or the wings beat."""
    height, width = sprite.alpha.shape
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    if flaps:
        beat = 1 + 0.22 * np.sin(rate * t)
        map_x, map_y = xs, (ys - height / 2) / np.float32(beat) + height / 2 + 6 * np.sin(xs / 30 - rate * t)
    else:
        along = xs / width
        map_x, map_y = xs, ys + 15 * (1 - along) * np.sin(6 * along + rate * t)
    maps = map_x.astype(np.float32), map_y.astype(np.float32)
    image = cv2.remap(sprite.image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return image, cv2.remap(sprite.alpha, *maps, cv2.INTER_LINEAR)


def _fish(rng: np.random.Generator) -> Sprite:
    """Draw a koi seen from above, head to the right: pale with orange and black patches."""
    height, width = 120, 200
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    along, across = (xs - 30) / 155, (ys - 60) / 60
    body = 0.42 * np.sqrt(np.clip(along, 0, 1)) * np.sqrt(np.clip(1.02 - along, 0, 1)) * 1.25
    alpha = (np.abs(across) < body) & (along > 0) & (along < 1)
    tail = (xs > 6) & (xs < 48) & (np.abs(across) < 0.10 + (48 - xs) / 95)
    fins = (np.abs(xs - 122 + np.abs(ys - 60) * 0.9) < 11) & (np.abs(across) < 0.72)
    alpha = ((alpha | tail | fins) * 255).astype(np.uint8)
    pale = np.array([236, 226, 205], np.float32)
    image = np.broadcast_to(pale, (height, width, 3)).copy()
    patches = smooth_field(rng, (height, width), 34)
    image[patches > 0.25] = (226, 96, 32)
    image[smooth_field(rng, (height, width), 22) > 1.15] = (40, 34, 34)
    scales = 10 * np.sin(xs * 0.9) * np.sin(ys * 0.9)
    image += scales[..., None]
    image *= (1.05 - 0.5 * np.clip(np.abs(across) / 0.6, 0, 1) ** 2)[..., None]
    return Sprite(np.clip(image, 0, 255).astype(np.uint8), alpha)


def _ray(rng: np.random.Generator) -> Sprite:
    """Draw a spotted ray with a tail, head to the right."""
    height, width = 170, 210
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    along, across = (xs - 130) / 68, (ys - 85) / 66
    disc = np.abs(along) ** 1.3 + np.abs(across) ** 1.5 < 1
    tail = (xs > 8) & (xs < 85) & (np.abs(ys - 85) < 2.5 + (xs - 8) / 14)
    alpha = ((disc | tail) * 255).astype(np.uint8)
    image = np.broadcast_to(np.array([104, 92, 128], np.float32), (height, width, 3)).copy()
    image += 14 * smooth_field(rng, (height, width), 12)[..., None]
    spots = np.zeros((height, width), np.uint8)
    for _ in range(110):
        centre = tuple(int(v) for v in rng.uniform((12, 12), (width - 12, height - 12)))
        cv2.circle(spots, centre, int(rng.integers(2, 6)), 255, -1, cv2.LINE_AA)
    image += (np.array([222, 214, 158], np.float32) - image) * (spots / 255.0)[..., None] * 0.9
    image *= (1.1 - 0.4 * np.clip(along**2 + across**2, 0, 1))[..., None]
    return Sprite(np.clip(image, 0, 255).astype(np.uint8), alpha)


def _stream_bed(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Draw sand, pebbles and weed."""
    height, width = size
    base = np.array([150, 140, 112], np.float32) + 18 * smooth_field(rng, size, 90)[..., None]
    image = base + 7 * smooth_field(rng, size, 5)[..., None] + 5 * smooth_field(rng, size, 2.5)[..., None]
    for _ in range(520):
        x, y = rng.uniform((0, 0), (width, height))
        radii = rng.gamma(3.0, 2.6, 2) + 3
        tone = rng.uniform(60, 190) * np.array([1, rng.uniform(0.92, 1.02), rng.uniform(0.8, 1.0)])
        turn = float(rng.uniform(0, 180))
        _pebble(image, (x, y), radii, turn, tone.astype(np.float32))
    for _ in range(26):
        x, y = rng.uniform((0, 0), (width, height))
        for _ in range(16):
            end = (int(x + rng.normal(0, 22)), int(y - abs(rng.normal(30, 14))))
            colour = (float(rng.uniform(35, 70)), float(rng.uniform(85, 130)), float(rng.uniform(40, 70)))
            cv2.line(image, (int(x), int(y)), end, colour, int(rng.integers(1, 4)), cv2.LINE_AA)
    bed: np.ndarray = np.clip(image, 0, 255).astype(np.uint8)
    return bed


def _pebble(image: np.ndarray, centre: tuple[float, float], radii: np.ndarray, turn: float, tone: np.ndarray) -> None:
    middle = tuple(int(v) for v in centre)
    axes = tuple(int(v) for v in radii)
    shadow = (middle[0] + 2, middle[1] + 3)
    cv2.ellipse(image, shadow, axes, turn, 0, 360, (62, 56, 44), -1, cv2.LINE_AA)
    cv2.ellipse(image, middle, axes, turn, 0, 360, tuple(map(float, tone)), -1, cv2.LINE_AA)
    glint = tuple(max(int(v * 0.55), 1) for v in radii)
    light = tuple(map(float, np.minimum(tone * 1.18, 240)))
    cv2.ellipse(image, (middle[0] - 1, middle[1] - 1), glint, turn, 0, 360, light, -1, cv2.LINE_AA)
