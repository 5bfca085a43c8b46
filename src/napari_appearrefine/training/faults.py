"""The single faults of masks from optical flow: halo, filled gaps, holes, drift, dragged background, and others."""

from __future__ import annotations

import cv2
import numpy as np

_MARGIN = 4


def halo(plane: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Grow a mask by an irregular band, widest ahead of and behind a random direction of motion.

    Parameters
    ----------
    plane : ndarray
        (Y, X) bool.
    rng : numpy.random.Generator
        Source of every random choice. The number of draws does not depend on the plane, so the same seed
        gives like damage on neighbouring frames.
    strength : float
        1 is what masks from optical flow show, 0 next to nothing.

    Returns
    -------
    ndarray
        (Y, X) bool, a new array.
    """
    angle, share, noise = rng.uniform(0, 2 * np.pi), rng.uniform(0.06, 0.3), _noise_grid(rng, 6)
    width = share * strength * _scale(plane)
    rows, columns = _window(plane, int(1.8 * width) + _MARGIN)
    crop = plane[rows, columns]
    distance = cv2.distanceTransform((~crop).astype(np.uint8), cv2.DIST_L2, 3)
    along = _cosine_field(crop, angle)
    reach = width * np.minimum(0.25 + 0.75 * np.maximum(along, -0.6 * along) + 0.4 * _spread(noise, crop.shape), 1.8)
    return _paste(plane, rows, columns, crop | (distance < reach))


def filled(plane: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Fill the gaps between the parts of a mask, and grow it a little: flow has no outline as fine as a wheel's.

    Parameters and return value as in :func:`halo`.
    """
    share, band = rng.uniform(0.05, 0.35), rng.uniform(0, 0.05)
    reach, growth = (round(width * strength * _scale(plane)) for width in (share, band))
    rows, columns = _window(plane, reach + growth + _MARGIN)
    crop = np.ascontiguousarray(plane[rows, columns]).view(np.uint8)
    if not crop.any():
        return plane.copy()
    # What is beyond the frame is background to the dilation and object to the erosion, so that the edge is kept.
    closed = cv2.erode(cv2.dilate(crop, _disc(reach + growth)), _disc(reach))
    return _paste(plane, rows, columns, closed.astype(bool) | plane[rows, columns])


def holes(plane: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Take blobs or a whole side out of a mask, as where parts of an object do not move.

    Parameters and return value as in :func:`halo`.
    """
    angle, share, sidedness, noise = (
        rng.uniform(0, 2 * np.pi),
        rng.uniform(0.15, 0.7),
        rng.uniform(0, 2.5),
        _noise_grid(rng, 6),
    )
    rows, columns = _window(plane, 0)
    crop = plane[rows, columns]
    if not crop.any():
        return plane.copy()
    x, y = _unit_coordinates(crop.shape)
    stillness = _spread(noise, crop.shape) + sidedness * (np.cos(angle) * x + np.sin(angle) * y)
    inside = stillness[crop]
    kept = int((1.0 - min(share * strength, 0.9)) * (inside.size - 1))
    limit = np.partition(inside, kept)[kept]
    return _paste(plane, rows, columns, crop & (stillness <= limit))


def drift(plane: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Shift a mask and change its size a little, as where it lags behind the object.

    Parameters and return value as in :func:`halo`.
    """
    angle, share, growth = rng.uniform(0, 2 * np.pi), rng.uniform(0.12, 0.5), rng.uniform(0.9, 1.1)
    step = share * strength * _scale(plane)
    return _moved(plane, (step * np.cos(angle), step * np.sin(angle)), (growth, growth))


def drag(plane: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Attach an irregular, sometimes speckled piece of background at the edge of a mask.

    Parameters and return value as in :func:`halo`.
    """
    angle, share, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.9), rng.uniform(0.6, 1.7)
    turn, speckled = rng.uniform(0, np.pi), rng.uniform() < 0.5
    noise, speckle = _noise_grid(rng, 7), _noise_grid(rng, 40)
    radius = share * np.sqrt(strength) * _scale(plane)
    centre = _edge_point(plane, angle)
    blob = _blob(plane.shape, centre, radius, stretch, turn, noise, speckle if speckled else None)
    return np.asarray(plane | blob)


def wrong_object(
    plane: np.ndarray, rng: np.random.Generator, strength: float = 1.0, others: np.ndarray | None = None
) -> np.ndarray:
    """Put the mask on something else: another object if there is one, else a mirrored copy elsewhere.

    Parameters as in :func:`halo`, and

    Parameters
    ----------
    others : ndarray, optional
        (Y, X) or (K, Y, X) bool, masks of other objects.

    Returns
    -------
    ndarray
        (Y, X) bool, a new array. In a third of the cases the own mask stays beside the wrong one.
    """
    choice, both, flips = rng.uniform(), rng.uniform() < 1 / 3, rng.integers(0, 2, 2) * 2 - 1
    target, wobbled = rng.uniform(0.15, 0.85, 2), _child(rng)
    candidates = [] if others is None else [other for other in others.reshape(-1, *plane.shape) if other.any()]
    if candidates:
        wrong = candidates[int(choice * len(candidates))]
    elif plane.any():
        centre = _centre(plane)
        offset = (target[0] * plane.shape[1] - centre[0], target[1] * plane.shape[0] - centre[1])
        wrong = wobble(_moved(plane, offset, (float(flips[0]), float(flips[1]))), wobbled, 1.5 * strength)
    else:
        wrong = drag(plane, wobbled, strength)
    return np.asarray(plane | wrong) if both else wrong.copy()


def nothing(plane: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Return an empty mask, as where the object stands still.

    Parameters and return value as in :func:`halo`.
    """
    return np.zeros_like(plane)


def wobble(plane: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Bend the boundary of a mask by a smooth random displacement.

    Parameters and return value as in :func:`halo`.
    """
    share, across, down = rng.uniform(0.05, 0.16), _noise_grid(rng, 7), _noise_grid(rng, 7)
    amplitude = share * strength * _scale(plane)
    rows, columns = _window(plane, int(2 * amplitude) + _MARGIN)
    crop = plane[rows, columns]
    x = np.arange(crop.shape[1], dtype=np.float32)[None] + np.float32(amplitude) * _spread(across, crop.shape)
    y = np.arange(crop.shape[0], dtype=np.float32)[:, None] + np.float32(amplitude) * _spread(down, crop.shape)
    bent = cv2.remap(crop.astype(np.uint8), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return _paste(plane, rows, columns, bent.astype(bool))


def _disc(radius: int) -> np.ndarray:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))


def _child(rng: np.random.Generator) -> np.random.Generator:
    """Give a part its own generator: its draws then never shift those of the next part."""
    return np.random.Generator(np.random.PCG64(int(rng.integers(2**63))))


def _noise_grid(rng: np.random.Generator, cells: int) -> np.ndarray:
    return rng.standard_normal((cells, cells), dtype=np.float32)


def _spread(grid: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Stretch a grid of noise smoothly over a window, (Y, X) float32."""
    return np.asarray(cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC))


def _scale(plane: np.ndarray) -> float:
    """Side in pixels of a square of the mask's area; a tenth of the frame's for an empty mask."""
    area = int(np.count_nonzero(plane))
    return float(np.sqrt(area if area else 0.01 * plane.size))


def _window(plane: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the mask with a margin, cut at the frame; the whole frame for an empty mask."""
    left, top, width, height = cv2.boundingRect(plane.view(np.uint8))
    if not width:
        return slice(0, plane.shape[0]), slice(0, plane.shape[1])
    return (
        slice(max(top - margin, 0), min(top + height + margin, plane.shape[0])),
        slice(max(left - margin, 0), min(left + width + margin, plane.shape[1])),
    )


def _paste(plane: np.ndarray, rows: slice, columns: slice, crop: np.ndarray) -> np.ndarray:
    result = np.zeros_like(plane)
    result[rows, columns] = crop
    return result


def _centre(plane: np.ndarray) -> tuple[float, float]:
    """Centroid (x, y) in pixels; the middle of the frame for an empty mask."""
    moments = cv2.moments(plane.view(np.uint8), binaryImage=True)
    if not moments["m00"]:
        return plane.shape[1] / 2, plane.shape[0] / 2
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]


def _cosine_field(plane: np.ndarray, angle: float) -> np.ndarray:
    """Cosine between a direction and the ray from the mask's centroid to each pixel, (Y, X) float32."""
    centre = _centre(plane)
    x = np.arange(plane.shape[1], dtype=np.float32)[None] - np.float32(centre[0])
    y = np.arange(plane.shape[0], dtype=np.float32)[:, None] - np.float32(centre[1])
    along = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    return np.asarray(along / (np.sqrt(x * x + y * y) + np.float32(1e-3)))


def _unit_coordinates(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """X (1, X) and y (Y, 1) from -1 to 1 over a window, float32."""
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None]
    return x, np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]


def _edge_point(plane: np.ndarray, angle: float) -> tuple[float, float]:
    """Where the ray from the centroid in a direction leaves the mask's outermost pixel, (x, y) in pixels."""
    x, y = _centre(plane)
    reach = np.arange(int(np.hypot(*plane.shape)))
    columns = np.rint(x + reach * np.cos(angle)).astype(np.intp)
    rows = np.rint(y + reach * np.sin(angle)).astype(np.intp)
    inside = (columns >= 0) & (columns < plane.shape[1]) & (rows >= 0) & (rows < plane.shape[0])
    hits = np.flatnonzero(plane[rows[inside], columns[inside]])
    last = float(hits[-1]) if len(hits) else 0.0
    return x + last * np.cos(angle), y + last * np.sin(angle)


def _blob(
    shape: tuple[int, ...],
    centre: tuple[float, float],
    radius: float,
    stretch: float,
    turn: float,
    noise: np.ndarray,
    speckle: np.ndarray | None,
) -> np.ndarray:
    """Draw an irregular ellipse, (Y, X) bool; ``speckle`` makes it ragged like a textured background."""
    reach = int(2 * radius * max(stretch, 1 / stretch)) + _MARGIN
    left, top = max(int(centre[0]) - reach, 0), max(int(centre[1]) - reach, 0)
    right, bottom = min(int(centre[0]) + reach + 1, shape[1]), min(int(centre[1]) + reach + 1, shape[0])
    x = np.arange(left, right, dtype=np.float32)[None] - np.float32(centre[0])
    y = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(centre[1])
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    long, short = (cosine * x + sine * y) / (radius * stretch), (cosine * y - sine * x) * (stretch / radius)
    level = np.sqrt(long * long + short * short) + 0.35 * _spread(noise, (bottom - top, right - left))
    if speckle is not None:
        level += 0.4 * _spread(speckle, (bottom - top, right - left))
    blob = np.zeros(shape, np.bool_)
    blob[top:bottom, left:right] = level < 1
    return blob


def _moved(plane: np.ndarray, offset: tuple[float, float], growth: tuple[float, float]) -> np.ndarray:
    """Scale a mask about its centroid (a negative factor mirrors it), then shift it by (x, y) pixels."""
    x, y = _centre(plane)
    matrix = np.array(
        [[growth[0], 0, x - growth[0] * x + offset[0]], [0, growth[1], y - growth[1] * y + offset[1]]], np.float64
    )
    moved = cv2.warpAffine(plane.view(np.uint8), matrix, plane.shape[::-1], flags=cv2.INTER_NEAREST)
    return moved.astype(np.bool_)
