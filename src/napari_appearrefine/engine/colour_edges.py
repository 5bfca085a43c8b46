"""Where an object ends, told by the frame's own pixels: the colours on both sides, then the picture's edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from .boxes import Box
from .flow import resize_frame
from .object_masks import Plane

_REACH = 16
_COLOUR_NOISE = 1e-3
_SAY = 0.7
_MOST_EVIDENCE = 4.2
_LEAST_SEEN = 0.03
_LEAST_WEIGHT = 1e-4
_EDGE_RADIUS = 2
_FLATNESS = 1e-3
_UNVARIED = 0.48
_SURE = 1e-4
_LEAST_PIECE = 24
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


@dataclass(frozen=True)
class Picture:
    """A frame, at the video's size and on the working grid.

    Parameters
    ----------
    full, small : ndarray
        (Y, X, 3) and (h, w, 3) uint8.
    """

    full: np.ndarray
    small: np.ndarray

    @classmethod
    def of(cls, frame: np.ndarray, grid: tuple[int, int]) -> Picture:
        """Return a frame (Y, X, 3) uint8 with what the network sees of it."""
        return cls(frame, resize_frame(frame, grid))


@dataclass(frozen=True)
class Edges:
    """What outlines go along.

    Parameters
    ----------
    picture : Picture
        The frame.
    shares : mapping of int to float
        Object id to how far its outline does, from 0 to 1.
    """

    picture: Picture
    shares: Mapping[int, float]


def by_colour(plane: Plane, picture: Picture, covered: np.ndarray, weight: float = 1.0) -> Plane:
    """Weigh each pixel's colour as that of the object's inside or outside nearby.

    Colours on either side are a Gaussian each, with its own mean and covariance at every pixel, over the 33 x 33
    pixels around it. The logarithm of their ratio times 0.7, at most 4.2, is added to the log-odds of the probability;
    where hardly anything of one side is near it says nothing. Specks of less than 24 pixels do not come of it.

    Parameters
    ----------
    plane : Plane
        Probability of the object on the working grid.
    picture : Picture
        The frame.
    covered : ndarray
        (h, w) float32, the sum of the probabilities of all objects: the inside of another object is no outside.
    weight : float
        How much the evidence counts.

    Returns
    -------
    Plane
        Probability, in the same box.
    """
    box = _widened(plane.box, picture.small.shape[:2])
    own = (
        slice(plane.box.top - box.top, plane.box.bottom - box.top),
        slice(plane.box.left - box.left, plane.box.right - box.left),
    )
    odds = np.log(np.clip(plane.values, _SURE, 1 - _SURE) / np.clip(1 - plane.values, _SURE, 1))
    # What is so sure that no evidence can change it need not be weighed.
    undecided = np.flatnonzero(np.abs(odds) < _MOST_EVIDENCE)
    if not len(undecided):
        return plane
    # Over so many pixels every other one tells the same; averages of pairs would vary less than pixels do.
    colours = _colours(picture.small[box.at()][::2, ::2])
    inside = plane.within(box)[::2, ::2]
    free = 1 - np.clip(covered[box.at()][::2, ::2] - inside, 0, 1)
    rows, columns = np.divmod(undecided, plane.box.shape[1])
    places = (rows + own[0].start) // 2 * free.shape[1] + (columns + own[1].start) // 2
    own_colours = _at(_colours(picture.small[plane.box.at()]), undecided)
    evidence, seen = np.zeros(len(undecided), np.float32), np.ones(len(undecided), np.float32)
    for sign, sure in ((1, np.clip(2 * inside - 1, 0, 1)), (-1, np.clip(1 - 2 * inside, 0, 1) * free)):
        share, means, products = (_at(each, places) for each in _moments(colours, sure, _REACH // 2))
        evidence += sign * _log_likelihood(own_colours, share, means, products)
        seen *= np.clip(share / _LEAST_SEEN, 0, 1)
    odds.ravel()[undecided] += weight * seen * np.clip(_SAY * evidence, -_MOST_EVIDENCE, _MOST_EVIDENCE)
    coloured = np.asarray(1 / (1 + np.exp(-odds)), np.float32)
    return Plane(plane.box, np.where(_specks(plane.values > 0.5, coloured > 0.5), plane.values, coloured))


def along_edges(plane: Plane, picture: Picture, share: float = 1.0) -> Plane:
    """Express a probability by the picture's colours, so that it can be told at any resolution.

    Within 5 x 5 pixels it is a linear function of the colour: the guided filter with a colour guide, whose
    coefficients are computed on the working grid (He et al., "Guided Image Filtering", ECCV 2010; He and Sun, "Fast
    Guided Filter", 2015).

    Parameters
    ----------
    plane : Plane
        Probability of the object on the working grid.
    picture : Picture
        The frame.
    share : float
        From 0 to 1: how much of the result is filtered, the rest is as it was.

    Returns
    -------
    Plane
        (y, x, 4) float32: factors of red, green and blue from 0 to 1, and what is to be added to their sum.
    """
    colours = _colours(picture.small[plane.box.at()])
    _, means, products = _moments(colours, None, _EDGE_RADIUS)
    probability = _mean(plane.values, _EDGE_RADIUS)
    together = np.stack([_mean(each * plane.values, _EDGE_RADIUS) for each in colours]) - means * probability
    # Where the probability hardly varies no colour explains it.
    varied = np.flatnonzero(np.abs(probability - 0.5) < _UNVARIED)
    solved, _ = _solved(_covariance(_at(means, varied), _at(products, varied)), _at(together, varied), _FLATNESS)
    factors = np.zeros_like(means)
    factors.reshape(3, -1)[:, varied] = solved
    rest = probability - (factors * means).sum(0)
    red, green, blue, filtered = (share * _mean(each, _EDGE_RADIUS) for each in (*factors, rest))
    return Plane(plane.box, np.stack([red, green, blue, filtered + (1 - share) * plane.values], -1))


def _widened(box: Box, size: tuple[int, int]) -> Box:
    return Box(
        max(box.top - _REACH, 0),
        min(box.bottom + _REACH, size[0]),
        max(box.left - _REACH, 0),
        min(box.right + _REACH, size[1]),
    )


def _specks(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the pixels (y, x) bool that changed and are in a hole or an island too small to be meant."""
    specks = np.zeros(before.shape, bool)
    for side in (after, ~after):
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(side.view(np.uint8), connectivity=4)
        small = stats[:, cv2.CC_STAT_AREA] < _LEAST_PIECE
        small[0] = False
        specks |= small[pieces]
    return np.asarray(specks & (before != after))


def _colours(image: np.ndarray) -> np.ndarray:
    """Turn (y, x, 3) uint8 into (3, y, x) float32 from 0 to 1."""
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / 255


def _at(planes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the values of planes (..., y, x) at flat indices, (..., n)."""
    return np.take(planes.reshape(*planes.shape[:-2], -1), places, -1)


def _log_likelihood(colours: np.ndarray, share: np.ndarray, means: np.ndarray, products: np.ndarray) -> np.ndarray:
    seen = share + _LEAST_WEIGHT
    means, products = means / seen, products / seen
    difference = colours - means
    scaled, determinant = _solved(_covariance(means, products), difference, _COLOUR_NOISE)
    likelihood: np.ndarray = -0.5 * ((scaled * difference).sum(0) + np.log(determinant))
    return likelihood


def _moments(colours: np.ndarray, weights: np.ndarray | None, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means around each pixel: of the weights (y, x), and of weighted colours (3, ...) and products (6, ...)."""
    weighted = colours if weights is None else colours * weights
    share = np.ones(colours.shape[1:], np.float32) if weights is None else _mean(weights, radius)
    means = np.stack([_mean(each, radius) for each in weighted])
    products = np.stack([_mean(weighted[one] * colours[other], radius) for one, other in _PAIRS])
    return share, means, products


def _covariance(means: np.ndarray, products: np.ndarray) -> np.ndarray:
    return np.asarray(products - np.stack([means[one] * means[other] for one, other in _PAIRS]))


def _solved(covariance: np.ndarray, right: np.ndarray, added: float) -> tuple[np.ndarray, np.ndarray]:
    """Solve ``(covariance + added) x = right`` for each pixel; return x (3, ...) and the determinant (...)."""
    rr, rg, rb, gg, gb, bb = covariance
    rr, gg, bb = rr + added, gg + added, bb + added
    first = (gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg)
    second = (first[1], rr * bb - rb * rb, rg * rb - rr * gb)
    third = (first[2], second[2], rr * gg - rg * rg)
    determinant = np.maximum(rr * first[0] + rg * first[1] + rb * first[2], added**3)
    red, green, blue = right
    rows = [row[0] * red + row[1] * green + row[2] * blue for row in (first, second, third)]
    return np.stack(rows) / determinant, determinant


def _mean(values: np.ndarray, radius: int) -> np.ndarray:
    return np.asarray(cv2.blur(values, (2 * radius + 1, 2 * radius + 1)))
