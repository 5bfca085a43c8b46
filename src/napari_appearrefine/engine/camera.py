"""The camera's motion: fitted robustly to a dense flow and taken away, so that what is left moves by itself."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_POINTS = 1200
_HYPOTHESES = 120
_MOST_REWEIGHTINGS = 8
_CONVERGED = 1e-3
_PARAMETERS = 8
_SMALLEST_SCALE = 0.05
_TUKEY = 4.685


def fit_camera(flow: np.ndarray, valid: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """Fit the motion of the background, robust to objects that cover much of the picture.

    The model is the motion of a plane seen by a moving camera, in the form that is linear in its
    eight parameters (Bergen et al., "Hierarchical Model-Based Motion Estimation", ECCV 1992)::

        u = a0 + a1 x + a2 y + a6 x^2 + a7 x y
        v = a3 + a4 x + a5 y + a6 x y + a7 y^2

    A sample consensus over affine motions of three points finds the dominant one, and reweighted
    least squares with Tukey's biweight refines it to the full model. Points near the picture's
    border count more, since objects are filmed near its centre. Nothing is random: the samples are
    drawn with a fixed seed.

    Parameters
    ----------
    flow : ndarray
        (h, w, 2) float32 pixels.
    valid : ndarray, optional
        (h, w) bool or float weights.

    Returns
    -------
    parameters : ndarray
        (8,) float64, for coordinates from -1 to 1 along the longer side, the centre at 0.
    scale : float
        Robust standard deviation of the background's residual in pixels, at least 0.05.
    """
    height, width = flow.shape[:2]
    points, prior = _sample_points(height, width)
    design = _design(height, width)
    target = np.ascontiguousarray(flow.reshape(-1, 2)[points].astype(np.float64).T)
    weights = prior.copy()
    if valid is not None:
        trusted = np.asarray(valid).ravel()[points].astype(np.float64)
        # A picture that is flat nearly everywhere still has a camera: then every point must do.
        weights = prior * (trusted if np.count_nonzero(trusted) >= 0.02 * len(points) else trusted + 0.05)
    parameters = _dominant_affine(design[: len(points), :3], target, weights)
    distances = _distances(parameters, design, target)
    scale = _scale(distances, weights)
    for _ in range(_MOST_REWEIGHTINGS):
        before = parameters
        inside = np.clip(1 - (distances / (_TUKEY * scale)) ** 2, 0, None) ** 2
        parameters = _least_squares(design, target, weights * inside)
        distances = _distances(parameters, design, target)
        scale = _scale(distances, weights)
        if np.abs(parameters - before).max() < _CONVERGED:
            break
    return parameters, scale


def camera_flow(parameters: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return the flow (h, w, 2) float32 that a fitted camera motion causes on a grid of ``size``."""
    height, width = size
    x, y = _coordinates(height, width)
    a = parameters.astype(np.float32)
    # The motion is a polynomial of y at every x, so it is a matrix product: its coefficients are the columns.
    columns = np.zeros((3, width, 2), np.float32)
    columns[0, :, 0], columns[1, :, 0] = a[0] + (a[1] + a[6] * x) * x, a[2] + a[7] * x
    columns[0, :, 1], columns[1, :, 1], columns[2, :, 1] = a[3] + a[4] * x, a[5] + a[6] * x, a[7]
    powers = np.stack([np.ones_like(y), y, y * y], axis=1)
    return (powers @ columns.reshape(3, -1)).reshape(height, width, 2)


@lru_cache(maxsize=8)
def _coordinates(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the x of every column and the y of every row."""
    half = max(height, width) / 2
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / half
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / half
    return x, y


@lru_cache(maxsize=8)
def _sample_points(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    step = max(1.0, (height * width / _POINTS) ** 0.5)
    rows = np.arange(step / 2, height, step).astype(int)
    columns = np.arange(step / 2, width, step).astype(int)
    points = (rows[:, None] * width + columns).ravel()
    # Relative distance from the centre, 1 on the border of the picture whatever its aspect.
    outwards = np.maximum(
        np.abs(2 * (rows[:, None] + 0.5) / height - 1), np.abs(2 * (columns[None] + 0.5) / width - 1)
    ).ravel()
    return points, 0.2 + 0.8 * outwards**2


def _dominant_affine(design: np.ndarray, flow: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Find the affine motion (8,) of most points, from their 1, x and y (P, 3) and their flow (2, P)."""
    reached = np.cumsum(weights)
    # As a generator's choice with these chances, which would check them first.
    triples = np.searchsorted(reached / reached[-1], _draws(), side="right")
    corners = design[triples]
    # Thin triangles extrapolate wildly; they are left out by the determinant, twice their area.
    wide = np.abs(np.linalg.det(corners)) > 0.05
    candidates = np.zeros((1, 3, 2))
    candidates[0, 0] = np.median(flow, axis=1)
    if wide.any():
        candidates = np.concatenate([candidates, np.linalg.solve(corners[wide], flow.T[triples[wide]])])
    # To count, single precision is enough, and in place: memory taken anew would cost more than the arithmetic.
    squared, missed = np.zeros((2, len(candidates), len(design)), np.float32)
    places = design.T.astype(np.float32)
    for axis, along in enumerate(flow.astype(np.float32)):
        np.matmul(candidates[..., axis].astype(np.float32), places, out=missed)
        missed -= along
        missed *= missed
        squared += missed
    # A soft count of agreeing points, at two tolerances: fine for a sharp fit,
    # coarse where parallax spreads the background.
    counted, agreement = weights.astype(np.float32), np.zeros(len(candidates), np.float32)
    for limit in (0.5, 2.0):
        agrees = np.multiply(squared, -1 / limit**2, out=missed)
        agrees += 1
        agreement += np.maximum(agrees, 0, out=agrees) @ counted
    best = candidates[int(np.argmax(agreement))]
    return np.concatenate([best[:, 0], best[:, 1], np.zeros(2)])


@lru_cache(maxsize=1)
def _draws() -> np.ndarray:
    """Return the random numbers from 0 to 1 that choose three points for every hypothesis."""
    return np.random.default_rng(0).random((_HYPOTHESES, 3))


@lru_cache(maxsize=8)
def _design(height: int, width: int) -> np.ndarray:
    """Return (2 P, 8): what times the parameters gives the horizontal, then the vertical flow of the sample points."""
    points, _ = _sample_points(height, width)
    columns, rows = _coordinates(height, width)
    x, y = columns[points % width], rows[points // width]
    design = np.zeros((2 * len(x), _PARAMETERS))
    design[: len(x), 0] = design[len(x) :, 3] = 1
    design[: len(x), 1] = design[len(x) :, 4] = x
    design[: len(x), 2] = design[len(x) :, 5] = y
    design[: len(x), 6], design[: len(x), 7] = x * x, x * y
    design[len(x) :, 6], design[len(x) :, 7] = x * y, y * y
    return design


def _least_squares(design: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    weighted = (design.reshape(2, -1, _PARAMETERS) * weights[:, None]).reshape(-1, _PARAMETERS)
    # A little ridge keeps few or ill-spread points from bending the plane.
    normal = design.T @ weighted + np.diag([1e-6] * 6 + [1e-3] * 2) * max(weights.sum(), 1e-9)
    return np.asarray(np.linalg.solve(normal, weighted.T @ target.ravel()))


def _distances(parameters: np.ndarray, design: np.ndarray, target: np.ndarray) -> np.ndarray:
    along_x, along_y = (design @ parameters).reshape(2, -1) - target
    return np.asarray(np.hypot(along_x, along_y))


def _scale(distances: np.ndarray, weights: np.ndarray) -> float:
    # The weighted 40 % point rather than the median: half the picture may be objects. For the length
    # of a two-dimensional normal error that point lies at 1.01 standard deviations.
    order = np.argsort(distances)
    reached = np.cumsum(weights[order])
    index = int(np.searchsorted(reached, 0.4 * reached[-1]))
    return max(float(distances[order[min(index, len(order) - 1)]]) / 1.011, _SMALLEST_SCALE)
