"""Synthetic scenes with exact truth: objects that move, deform and hide each other under a moving camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from .paths import Path2D, camera_path, object_path, smooth_field
from .photos import PhotoLibrary
from .shadows import draw_light
from .sprites import Sprite, animate, row_of_posts, sprite_from_library, sprite_from_texture
from .strides import striding
from .trails import Trail
from .water import Waves, flooded


@dataclass(frozen=True)
class Scene:
    """A rendered clip and its truth.

    Parameters
    ----------
    frames : ndarray
        (T, Y, X, 3) uint8.
    labels : ndarray
        (T, Y, X) uint8, the visible part of each object, 0 for background.
    amodal : ndarray
        (T, Q, Y, X) bool, the whole of each object, hidden parts included.
    order : ndarray
        (Q,) ids from back to front.
    shadows : ndarray
        (T, Y, X) uint8, the object whose shadow, reflection, dust or spray is seen and is no part of it, 0 for none.
    """

    frames: np.ndarray
    labels: np.ndarray
    amodal: np.ndarray
    order: np.ndarray
    shadows: np.ndarray


@dataclass(frozen=True)
class SceneOptions:
    """What scenes may contain.

    Parameters
    ----------
    frames : int
        Frames a scene.
    size : tuple of int
        Height and width.
    objects : tuple of int
        Fewest and most objects.
    speed : float
        Scale of all motion; 1 suits 24 frames a second at 240 rows.
    parallax : float
        Largest share by which nearer or farther parts of the background move more or less.
    extents : tuple of float
        Smallest and largest length of an object, as a share of the height.
    pace : tuple of float
        Slowest and fastest an object typically moves, pixels a frame at a speed of 1.
    layers : float
        Share of the scenes in which something stands still before or behind the rest.
    posts : float
        Share of these layers that are rows of posts.
    water : float
        Share of the scenes that lie by the water, with the objects in it.
    trails : float
        Share of the objects that throw up dust or spray.
    strides : float
        Share of the objects that walk, with feet that stand on the ground for a while.
    """

    frames: int = 8
    size: tuple[int, int] = (224, 384)
    objects: tuple[int, int] = (1, 4)
    speed: float = 1.0
    parallax: float = 0.7
    extents: tuple[float, float] = (0.12, 0.95)
    pace: tuple[float, float] = (0.6, 9.0)
    layers: float = 0.35
    posts: float = 0.0
    water: float = 0.0
    trails: float = 0.0
    strides: float = 0.0


def render_scene(library: PhotoLibrary, rng: np.random.Generator, options: SceneOptions | None = None) -> Scene:
    """Render one scene of photographs and cut-out or textured objects.

    The background is a photograph seen by a camera that pans, zooms, rotates and, in most scenes,
    moves past depth: nearer parts shift more. Water-like regions, drifting haze and static
    foreground layers move in the image without being objects.
    """
    options = options or SceneOptions()
    height, width = options.size
    count = int(rng.integers(options.objects[0], options.objects[1] + 1))
    camera = camera_path(rng, options.frames, options.size, options.speed)
    home = _home_scene(library, rng, options.size) if rng.random() < 0.6 else None
    if home and rng.random() < 0.4:
        count = 1
    photo = home.photo if home else library.photos[int(rng.integers(len(library.photos)))]
    scale = home.scale if home else _covering_scale(photo, options.size) * rng.uniform(1.0, 1.7)
    # Without these options nothing is drawn from the generator, so that scenes without them stay the same.
    water = None
    if options.water and rng.random() < options.water:
        home, shore = None, int(rng.uniform(0.25, 0.6) * photo.shape[0])
        photo = flooded(photo, shore, rng)
        water = Waves(rng, options.size), (shore - photo.shape[0] / 2) * scale + height / 2
    background = _background(photo, scale, rng, options, camera, water)
    sprites: list[tuple[Sprite, Path2D]] = []
    for _ in range(count):
        path = object_path(rng, options.frames, options.size, camera, options.speed, options.pace)
        if home and not sprites:
            sprites.append((home.sprite, path.placed_at(home.place)))
            continue
        if rng.random() < 0.7 and library.cut_outs:
            sprite = sprite_from_library(library, rng, options.size, options.extents)
        else:
            sprite = sprite_from_texture(library, rng, options.size, options.extents)
        if water:
            # Most of it above the middle, so that there is room for its reflection.
            place = rng.uniform((-0.45, -0.25), (0.45, 0.25)) * (width, height)
            path = path.placed_at((place[0], place[1] - 0.25 * sprite.alpha.shape[0]))
        sprites.append((sprite, path))
    if len(sprites) > 1 and rng.random() < 0.2:
        sprites[1] = (sprites[0][0].recoloured(rng), sprites[1][1])
    posts = _static_layers(library, rng, options, camera)

    frames = np.empty((options.frames, height, width, 3), np.uint8)
    labels = np.zeros((options.frames, height, width), np.uint8)
    amodal = np.zeros((options.frames, count, height, width), bool)
    shadows = np.zeros_like(labels)
    light = draw_light(rng, water=water is not None)
    animations = [
        striding(sprite, rng, path, camera)
        if options.strides and rng.random() < options.strides
        else animate(sprite, rng, options.speed)
        for sprite, path in sprites
    ]
    trails = [
        Trail(rng, path, camera, sprite.alpha.shape) if options.trails and rng.random() < options.trails else None
        for sprite, path in sprites
    ]
    post_front = [int(rng.integers(0, count + 1)) for _ in posts]
    for t in range(options.frames):
        image = background(t).astype(np.float32)
        for layer in range(count + 1):
            for post, depth in zip(posts, post_front, strict=True):
                if depth == layer:
                    alpha = _paste(image, *post(t))
                    labels[t][alpha > 0.5] = 0
                    shadows[t][alpha > 0.5] = 0
            if layer == count:
                break
            path = sprites[layer][1]
            if not path.present[t]:
                continue
            texture, opacity = animations[layer](t)
            matrix = path.matrix(t, texture.shape[:2])
            velocity = path.velocity(t)
            warped, alpha = warp(texture, opacity, matrix, options.size, velocity * path.shutter)
            if light is not None:
                shadows[t][light.cast(image, warped, alpha, water[0].shift(t) if water else None)] = layer + 1
            trail = trails[layer]
            if trail is not None and not trail.in_front:
                shadows[t][trail.draw(image, t)] = layer + 1
            blend(image, warped, alpha)
            inside = alpha > 0.5
            amodal[t, layer] = inside
            labels[t][inside] = layer + 1
            shadows[t][inside] = 0
            if trail is not None and trail.in_front:
                shadows[t][trail.draw(image, t) & (labels[t] == 0)] = layer + 1
        frames[t] = np.clip(image, 0, 255).astype(np.uint8)
    frames = _camera_look(frames, rng)
    return Scene(frames, labels, amodal, np.arange(1, count + 1), shadows)


@dataclass(frozen=True)
class _Home:
    """A photograph without one of its objects, and that object at its place and size."""

    photo: np.ndarray
    sprite: Sprite
    place: tuple[float, float]
    scale: float


def _covering_scale(photo: np.ndarray, size: tuple[int, int]) -> float:
    return float(max(size[0] / photo.shape[0], size[1] / photo.shape[1]))


def _home_scene(library: PhotoLibrary, rng: np.random.Generator, size: tuple[int, int]) -> _Home | None:
    """Take an object out of its own photograph, so that it moves where it belongs."""
    if not library.cut_outs:
        return None
    cut = library.cut_outs[int(rng.integers(len(library.cut_outs)))]
    photo = library.photos[cut.photo].copy()
    (y, x), (h, w) = cut.corner, cut.alpha.shape
    if h * w > 0.5 * photo.shape[0] * photo.shape[1]:
        return None
    shift = w if x + 2 * w <= photo.shape[1] else -w
    source, left = (cv2.flip(photo, 1), x) if x + shift < 0 else (photo, x + shift)
    filler = source[y : y + h, left : left + w]
    hole = cv2.dilate(np.pad(cut.alpha, 4), np.ones((7, 7), np.uint8))[4:-4, 4:-4]
    soft = cv2.GaussianBlur(hole, (0, 0), 3)[..., None] / 255.0
    soft = np.maximum(soft, hole[..., None] / 255.0)
    region = photo[y : y + h, x : x + w]
    region[:] = (filler * soft + region * (1 - soft)).astype(np.uint8)
    scale = _covering_scale(photo, size) * float(rng.uniform(1.0, 1.4))
    place = ((x + w / 2 - photo.shape[1] / 2) * scale, (y + h / 2 - photo.shape[0] / 2) * scale)
    # An object near the photograph's edge would stand outside the picture; the camera would not film it.
    if abs(place[0]) > size[1] / 2 or abs(place[1]) > size[0] / 2:
        return None
    return _Home(photo, Sprite(cut.image, cut.alpha).resized(max(h, w) * scale), place, scale)


def _background(
    photo: np.ndarray,
    scale: float,
    rng: np.random.Generator,
    options: SceneOptions,
    camera: Path2D,
    water: tuple[Waves, float] | None,
) -> Callable[[int], np.ndarray]:
    height, width = options.size
    parallax: np.ndarray = np.zeros(options.size, np.float32)
    if rng.random() < 0.6:
        parallax = smooth_field(rng, options.size, rng.uniform(30, 120)) * rng.uniform(0.1, options.parallax)
        if rng.random() < 0.5:
            rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
            parallax = parallax + rows * np.float32(rng.uniform(0, 0.6))
        if rng.random() < 0.4:
            level = float(rng.uniform(-0.2, 0.5))
            parallax = parallax + (parallax > level) * np.float32(rng.uniform(0.1, 0.5) * options.parallax / 0.7)
    waves, wet = (water[0], _below(water[1], options.size)) if water else (None, None)
    if water is None and rng.random() < 0.25:
        inside: np.ndarray = (smooth_field(rng, options.size, 80) > rng.uniform(-0.6, 0.6)).astype(np.float32)
        wet = cv2.GaussianBlur(inside, (0, 0), 6)
        waves = Waves(rng, options.size)
    haze = smooth_field(rng, (height * 2, width * 2), rng.uniform(15, 50)) if rng.random() < 0.08 else None
    drift = rng.normal(0, 3, 2) * options.speed
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    border = cv2.BORDER_REFLECT_101

    def draw(t: int) -> np.ndarray:
        moved_x, moved_y = camera.x[t], camera.y[t]
        cosine, sine = np.cos(camera.angle[t]) / camera.scale[t], np.sin(camera.angle[t]) / camera.scale[t]
        cx, cy = xs - width / 2, ys - height / 2
        u = cosine * cx + sine * cy + width / 2 - moved_x * (1 + parallax)
        v = -sine * cx + cosine * cy + height / 2 - moved_y * (1 + parallax)
        if waves is not None and wet is not None:
            right, down = waves.shift(t)
            u, v = u + wet * right, v + wet * down
        map_x = ((u - width / 2) / scale + photo.shape[1] / 2).astype(np.float32)
        map_y = ((v - height / 2) / scale + photo.shape[0] / 2).astype(np.float32)
        image = cv2.remap(photo, map_x, map_y, cv2.INTER_LINEAR, borderMode=border)
        if haze is not None:
            y0 = int(np.clip(height / 2 + drift[1] * t, 0, height - 1))
            x0 = int(np.clip(width / 2 + drift[0] * t, 0, width - 1))
            mist = np.clip(haze[y0 : y0 + height, x0 : x0 + width] * 0.6, 0, 0.75)[..., None]
            image = (image * (1 - mist) + 225 * mist).astype(np.uint8)
        return image

    return draw


def _below(row: float, size: tuple[int, int]) -> np.ndarray:
    """Return 1 below a row of the picture and 0 above it, with a soft edge: (Y, 1) float32."""
    return np.clip((np.arange(size[0], dtype=np.float32)[:, None] - np.float32(row)) / 12, 0, 1)


def _static_layers(
    library: PhotoLibrary, rng: np.random.Generator, options: SceneOptions, camera: Path2D
) -> list[Callable[[int], tuple[np.ndarray, np.ndarray]]]:
    """Layers that stand still in the world but, being nearer, move more in the image: not objects."""
    if rng.random() > options.layers:
        return []
    height, width = options.size
    layers: list[Callable[[int], tuple[np.ndarray, np.ndarray]]] = []

    def draw(sprite: Sprite, place: np.ndarray, near: float, t: int) -> tuple[np.ndarray, np.ndarray]:
        path = Path2D.fixed(
            place[0] + camera.x[t] * near, place[1] + camera.y[t] * near, camera.angle[t], camera.scale[t], sprite
        )
        return warp(sprite.image, sprite.alpha, path.matrix(0, sprite.alpha.shape, options.size), options.size)

    for _ in range(int(rng.integers(1, 3))):
        if options.posts and rng.random() < options.posts:
            sprite = row_of_posts(library, rng, options.size)
        elif rng.random() < 0.5 and library.cut_outs:
            sprite = sprite_from_library(library, rng, options.size, options.extents)
        else:
            sprite = sprite_from_texture(library, rng, options.size, options.extents)
        place = rng.uniform(-0.5, 0.5, 2) * (width, height)
        layers.append(partial(draw, sprite, place, float(rng.uniform(0.7, 2.0))))
    return layers


def warp(
    texture: np.ndarray,
    opacity: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    blur: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Place a texture; return (Y, X, 3) float32 and its opacity (Y, X) float32 in 0..1."""
    where = (size[1], size[0])
    warped = cv2.warpAffine(texture, matrix, where, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(opacity, matrix, where, flags=cv2.INTER_LINEAR)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.6)
    if blur is not None and (length := float(np.hypot(*blur))) > 2:
        kernel = _line_kernel(blur, min(length, 15))
        warped, alpha = cv2.filter2D(warped, -1, kernel), cv2.filter2D(alpha, -1, kernel)
    return warped.astype(np.float32), alpha.astype(np.float32) / 255.0


def _line_kernel(direction: np.ndarray, length: float) -> np.ndarray:
    side = int(length) | 1
    kernel = np.zeros((side, side), np.float32)
    unit = direction / np.hypot(*direction) * (side // 2)
    middle = np.array([side // 2, side // 2])
    start, end = np.round(middle - unit).astype(int), np.round(middle + unit).astype(int)
    cv2.line(kernel, tuple(map(int, start)), tuple(map(int, end)), 1.0)
    return np.asarray(kernel / kernel.sum())


def blend(image: np.ndarray, layer: np.ndarray, alpha: np.ndarray) -> None:
    """Lay a layer (Y, X, 3) over a float image in place, with opacity (Y, X) in 0..1."""
    image += (layer - image) * alpha[..., None]


def _paste(image: np.ndarray, layer: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    blend(image, layer, alpha)
    return alpha


def _camera_look(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, colour, defocus, noise and compression, as cameras add them."""
    grey = rng.random() < 0.08
    gain = rng.uniform(0.75, 1.2) * (1 + np.cumsum(rng.normal(0, 0.012, len(frames))))
    tint = rng.uniform(0.9, 1.1, 3)
    noise = rng.uniform(0, 6) if rng.random() < 0.5 else 0.0
    defocus = rng.uniform(0.4, 1.2) if rng.random() < 0.3 else 0.0
    quality = int(rng.integers(35, 95))
    out = np.empty_like(frames)
    for t, frame in enumerate(frames):
        image = frame.astype(np.float32) * (gain[t] * tint).astype(np.float32)
        if defocus:
            image = cv2.GaussianBlur(image, (0, 0), defocus)
        if noise:
            image += rng.standard_normal(image.shape, np.float32) * noise
        image = np.clip(image, 0, 255).astype(np.uint8)
        if grey:
            image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        out[t] = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return out
