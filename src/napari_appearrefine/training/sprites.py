"""The objects of synthetic scenes: cut-outs and textured shapes that bend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from .paths import smooth_field
from .photos import PhotoLibrary

_WITH_LIMBS = 0.45
_PAINTED = 0.3


@dataclass(frozen=True)
class Sprite:
    """An object's picture and outline.

    Parameters
    ----------
    image : ndarray
        (Y, X, 3) uint8.
    alpha : ndarray
        (Y, X) uint8, 255 inside.
    """

    image: np.ndarray
    alpha: np.ndarray

    def recoloured(self, rng: np.random.Generator) -> Sprite:
        """Return a look-alike: the same thing, a little different in colour and mirrored at times."""
        tinted = np.clip(self.image * rng.uniform(0.8, 1.2, 3), 0, 255).astype(np.uint8)
        if rng.random() < 0.5:
            return Sprite(cv2.flip(tinted, 1), cv2.flip(self.alpha, 1))
        return Sprite(tinted, self.alpha)

    def resized(self, longest: float) -> Sprite:
        """Return the sprite with its longest side at so many pixels."""
        scale = longest / max(self.alpha.shape)
        side = (max(int(self.alpha.shape[1] * scale), 6), max(int(self.alpha.shape[0] * scale), 6))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return Sprite(cv2.resize(self.image, side, interpolation=how), cv2.resize(self.alpha, side, interpolation=how))


Extents = tuple[float, float]


def _random_extent(rng: np.random.Generator, size: tuple[int, int], extents: Extents) -> float:
    return float(np.exp(rng.uniform(*np.log(extents)))) * size[0]


def sprite_from_library(
    library: PhotoLibrary, rng: np.random.Generator, size: tuple[int, int], extents: Extents
) -> Sprite:
    """Take a cut-out at random, in some cases two that move as one, as a rider on a bicycle does."""
    cut = library.cut_outs[int(rng.integers(len(library.cut_outs)))]
    sprite = Sprite(cut.image, cut.alpha).resized(_random_extent(rng, size, extents))
    if rng.random() < 0.5:
        sprite = Sprite(cv2.flip(sprite.image, 1), cv2.flip(sprite.alpha, 1))
    if rng.random() < 0.2:
        other = library.cut_outs[int(rng.integers(len(library.cut_outs)))]
        longest = max(sprite.alpha.shape) * rng.uniform(0.5, 1.0)
        sprite = _stacked(sprite, Sprite(other.image, other.alpha).resized(longest))
    return sprite


def sprite_from_texture(
    library: PhotoLibrary, rng: np.random.Generator, size: tuple[int, int], extents: Extents
) -> Sprite:
    """Fill a random smooth shape, often with thin limbs, with a piece of a photograph or, at times, with flat paint."""
    longest = max(_random_extent(rng, size, extents), 10)
    height, width = int(longest), max(int(longest * rng.uniform(0.3, 1.0)), 8)
    if rng.random() < 0.5:
        height, width = width, height
    photo = library.photos[int(rng.integers(len(library.photos)))]
    share = rng.uniform(0.15, 0.7)
    rows, columns = max(int(photo.shape[0] * share), 8), max(int(photo.shape[1] * share), 8)
    top, left = int(rng.integers(photo.shape[0] - rows + 1)), int(rng.integers(photo.shape[1] - columns + 1))
    texture = cv2.resize(photo[top : top + rows, left : left + columns], (width, height), interpolation=cv2.INTER_AREA)
    if rng.random() < _PAINTED:
        texture = painted_panels(texture, rng)
    if rng.random() < 0.5:
        texture = np.clip(texture * rng.uniform(0.5, 1.5, 3), 0, 255).astype(np.uint8)
    body = Sprite(texture, random_shape(rng, (height, width)))
    return _with_limbs(body, rng) if rng.random() < _WITH_LIMBS else body


def painted_panels(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paint a few flat panels in the texture's colours, as on vehicles: flow has nothing to hold on to inside them."""
    height, width = texture.shape[:2]
    picture = np.empty_like(texture)
    picture[:] = texture[int(rng.integers(height)), int(rng.integers(width))]
    for _ in range(int(rng.integers(0, 7))):
        colour = texture[int(rng.integers(height)), int(rng.integers(width))].tolist()
        top, left = int(rng.integers(height)), int(rng.integers(width))
        bottom, right = top + int(rng.uniform(0.1, 0.7) * height), left + int(rng.uniform(0.1, 0.9) * width)
        cv2.rectangle(picture, (left, top), (right, bottom), colour, -1)
    shade = 1 + rng.uniform(0, 0.3) * smooth_field(rng, (height, width), max(height, width))
    return np.asarray(np.clip(picture * shade[..., None], 0, 255), np.uint8)


def _with_limbs(body: Sprite, rng: np.random.Generator) -> Sprite:
    """Give a body tails, legs, sticks and fins: thin, of a tone of their own, some of them translucent."""
    height, width = body.alpha.shape
    margin = int(0.4 * max(height, width))
    image = cv2.copyMakeBorder(body.image, margin, margin, margin, margin, cv2.BORDER_REFLECT)
    alpha = cv2.copyMakeBorder(body.alpha, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    limbs = np.zeros_like(alpha)
    middle = np.array([alpha.shape[1], alpha.shape[0]]) / 2
    for _ in range(int(rng.integers(1, 5))):
        angle, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.35)
        reach = rng.uniform(0.75, 1.25) * np.array([width, height]) / 2
        tip = middle + reach * (np.cos(angle), np.sin(angle))
        knee = middle + 0.6 * reach * (np.cos(angle + bend), np.sin(angle + bend))
        opacity = int(rng.uniform(150, 256)) if rng.random() < 0.5 else 255
        if rng.random() < 0.35:
            beside = middle + reach * (np.cos(angle + 0.35), np.sin(angle + 0.35))
            cv2.fillPoly(limbs, [np.round([middle, tip, beside]).astype(np.int32)], opacity, cv2.LINE_AA)
        else:
            thickness = max(round(float(rng.uniform(0.015, 0.08)) * max(height, width)), 1)
            cv2.polylines(
                limbs, [np.round([middle, knee, tip]).astype(np.int32)], False, opacity, thickness, cv2.LINE_AA
            )
    beyond = alpha < 128
    tone = np.clip(image * rng.uniform(0.5, 1.5), 0, 255) if rng.random() < 0.5 else image
    image[beyond] = tone[beyond].astype(np.uint8)
    return Sprite(image, np.maximum(alpha, limbs))


def row_of_posts(library: PhotoLibrary, rng: np.random.Generator, size: tuple[int, int]) -> Sprite:
    """Stand thin posts side by side, wider and higher than the picture: poles, trunks, the bars of a fence."""
    height, width = int(size[0] * rng.uniform(0.6, 2.0)), int(size[1] * 1.6)
    photo = library.photos[int(rng.integers(len(library.photos)))]
    image = cv2.resize(photo, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        image[:] = rng.integers(0, 256, 3)
    alpha = np.zeros((height, width), np.uint8)
    lean = rng.uniform(-0.1, 0.1)
    for _ in range(int(rng.integers(2, 12))):
        foot, thickness = rng.uniform(0, width), int(rng.integers(2, 14))
        top = foot + (lean + rng.normal(0, 0.02)) * height
        cv2.line(alpha, (int(foot), height), (int(top), 0), 255, thickness, cv2.LINE_AA)
    return Sprite(image, alpha)


def random_shape(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Draw a random closed shape, smooth, lobed or angular, as (Y, X) uint8 of 0 and 255."""
    height, width = size
    corners = int(rng.integers(5, 14))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = rng.uniform(0.45, 1.0, corners) if rng.random() < 0.7 else rng.uniform(0.2, 1.0, corners)
    if rng.random() < 0.6:
        fine = np.linspace(0, 2 * np.pi, 90)
        harmonics = sum(rng.normal(0, 0.25 / k) * np.cos(k * fine + rng.uniform(0, 6.3)) for k in range(1, 6))
        angles, radii = fine, np.clip(0.75 + harmonics, 0.2, 1.0)
    outline = np.stack(
        [np.cos(angles) * radii * width / 2 + width / 2, np.sin(angles) * radii * height / 2 + height / 2], 1
    )
    alpha = np.zeros(size, np.uint8)
    cv2.fillPoly(alpha, [np.round(outline).astype(np.int32)], 255, lineType=cv2.LINE_AA)
    return alpha


def _stacked(lower: Sprite, upper: Sprite) -> Sprite:
    height = max(lower.alpha.shape[0] + int(upper.alpha.shape[0] * 0.7), upper.alpha.shape[0])
    width = max(lower.alpha.shape[1], upper.alpha.shape[1])
    image, alpha = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    for sprite, top in ((lower, height - lower.alpha.shape[0]), (upper, 0)):
        rows, columns = sprite.alpha.shape
        left = (width - columns) // 2
        where = (slice(top, top + rows), slice(left, left + columns))
        inside = sprite.alpha > 127
        image[where][inside] = sprite.image[inside]
        alpha[where][inside] = 255
    return Sprite(image, alpha)


def animate(
    sprite: Sprite, rng: np.random.Generator, speed: float = 1.0
) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Return a function from frame to (image, alpha): rigid, bending, swinging or breathing."""
    margin = max(int(0.12 * max(sprite.alpha.shape)), 2)
    image = cv2.copyMakeBorder(sprite.image, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    alpha = cv2.copyMakeBorder(sprite.alpha, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    if rng.random() < 0.25:
        return lambda t: (image, alpha)
    size = alpha.shape
    ys, xs = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    extent = max(size)
    bends = [smooth_field(rng, (size[0], size[1]), extent * rng.uniform(0.25, 0.6)) for _ in range(4)]
    amplitude = float(rng.uniform(0.01, 0.05)) * extent
    rate, phase = float(rng.uniform(0.15, 1.0)) * speed, float(rng.uniform(0, 6.3))

    def at(t: int) -> tuple[np.ndarray, np.ndarray]:
        first, second = np.float32(np.sin(rate * t + phase)), np.float32(np.cos(0.7 * rate * t + phase))
        map_x = xs + amplitude * (bends[0] * first + bends[1] * second)
        map_y = ys + amplitude * (bends[2] * first + bends[3] * second)
        return cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), cv2.remap(
            alpha, map_x, map_y, cv2.INTER_LINEAR
        )

    return at
