"""What a clip's objects and its background look like, learnt from its own masks: appearance overrules motion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import torch

from .device import one_thread

_MOST_TOLD_APART = 8
_HIDDEN, _STEPS, _BATCH = 32, 150, 2048
_RATE, _DECAY, _MEAN_KEPT, _SQUARE_KEPT = 0.02, 0.3, 0.9, 0.999
_LEAST_SHARE = 0.02
_LEAST_PROBABILITY, _MOST_OUTSIDE, _LEAST_INSIDE = 0.02, 0.3, 0.5
_FAITHFULNESS = 4.0


@dataclass(frozen=True)
class Shown:
    """What one frame shows.

    Parameters
    ----------
    labels : ndarray
        (h, w) int32 object ids, 0 where none is shown.
    probability : ndarray
        (h, w) float32, that a pixel moves by itself, shown or not.
    features : ndarray
        (c, h / s, w / s) float32, what the frame looks like.
    moving : ndarray
        (h / s, w / s) float32 from 0 to 1, how clearly something moves there, object or not.
    """

    labels: np.ndarray
    probability: np.ndarray
    features: np.ndarray
    moving: np.ndarray


class ClipLooks:
    """Tells from features alone whose a place is, by what the clip's own masks taught it.

    Masks from motion are wrong in other places in every frame, a clip looks much the same in all of them: a small
    network that is to tell objects and background apart by their features, in all frames at once, cannot
    learn what is wrong in some. Its say and that of the motion are multiplied, as if independent.
    """

    def __init__(
        self, objects: Sequence[int], mean: torch.Tensor, scale: torch.Tensor, layers: Sequence[torch.Tensor]
    ) -> None:
        self._objects = list(objects)
        self._mean = mean
        self._scale = scale
        self._layers = list(layers)

    @classmethod
    @one_thread()
    def learn(cls, frames: Iterable[Shown], objects: Sequence[int]) -> ClipLooks:
        """Learn from frames.

        Every class counts alike, however large, and every place as far as its probability is sure. What is not
        shown although it moves teaches nothing: it may be missed. Nothing is random: a fixed seed.

        Parameters
        ----------
        frames : iterable of Shown
            Of one size; memory follows their number.
        objects : sequence of int
            Ids of the shown objects. More than eight are told from the background, but not from each other.
        """
        taught = [_lesson(frame, objects) for frame in frames]
        features, shares, weights = (torch.cat(parts) for parts in zip(*taught, strict=True))
        mean = features.mean(0)
        # Not torch's own deviation, which takes five times as long along this axis.
        scale = ((features - mean).square_().sum(0) / (len(features) - 1)).sqrt().clamp_min(1e-4)
        seen = (shares * weights[:, None]).sum(0) / weights.sum().clamp_min(1e-9)
        weights = weights * (shares / seen.clamp_min(_LEAST_SHARE)).sum(1)
        return cls(objects, mean, scale, _fit((features - mean) / scale, shares, weights))

    def applied(self, shown: Shown) -> Shown:
        """Return what a frame shows by motion and looks together.

        Regions that touch nothing that was shown do not appear: what looks like an object may be another one.
        """
        size = shown.labels.shape
        looks = np.stack([cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) for plane in self._say(shown)])
        classes = _classes(shown.labels, self._objects)
        score = looks + np.log(_by_motion(shown.probability, classes, len(looks)))
        best, highest = _largest(score)
        score -= highest
        likely = np.exp(score, out=score)
        background = likely[0] / likely.sum(axis=0)
        inside = _touching(best > 0, shown.labels > 0)
        apart = _told_apart(self._objects)
        ids = np.array([0, *self._objects], np.int32).take(best) if apart else _nearest(shown.labels)
        labels = np.where(inside, ids, 0)
        # Where nothing changes the outline is that of the motion, which is finer than cells of features.
        probability = np.where(labels == shown.labels, shown.probability, 1 - background)
        return replace(shown, labels=labels, probability=probability.astype(np.float32))

    def _say(self, shown: Shown) -> np.ndarray:
        """Return the logarithm (k, h / s, w / s) float32 of each class's probability, background first."""
        channels, rows, columns = shown.features.shape
        features = torch.from_numpy(shown.features.reshape(channels, -1).T)
        with torch.inference_mode():
            logits = _forward((features - self._mean) / self._scale, self._layers)
            return np.ascontiguousarray(logits.T.log_softmax(0).numpy()).reshape(-1, rows, columns)


def _told_apart(objects: Sequence[int]) -> bool:
    return len(objects) <= _MOST_TOLD_APART


def _classes(labels: np.ndarray, objects: Sequence[int]) -> np.ndarray:
    """Return the class of each pixel: 0 for background, then one for each object or, of many, 1 for all."""
    if not _told_apart(objects):
        return (labels > 0).astype(np.uint8)
    places = np.zeros(max(objects) + 1, np.uint8)
    places[list(objects)] = np.arange(1, len(objects) + 1)
    return np.asarray(places.take(labels))


def _lesson(shown: Shown, objects: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return of each cell of the features these (n, c), the classes' shares of it (n, k), and how far it is sure."""
    channels, rows, columns = shown.features.shape
    classes = _classes(shown.labels, objects)
    count = 1 + (len(objects) if _told_apart(objects) else 1)
    inside = classes > 0
    sure = 2 * np.where(inside, np.maximum(shown.probability, 0.5), 1 - shown.probability) - 1
    planes = [(classes == index).astype(np.float32) for index in range(count)]
    cells = [
        cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA).ravel()
        for plane in (*planes, np.maximum(sure, 0).astype(np.float32))
    ]
    background = cells[0]
    weights = cells[-1] ** 2 * (1 - background * shown.moving.ravel())
    features = shown.features.reshape(channels, -1).T
    return torch.from_numpy(features), torch.from_numpy(np.stack(cells[:-1], 1)), torch.from_numpy(weights)


def _fit(features: torch.Tensor, shares: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    """Train a network with one hidden layer to tell the classes (n, k) of features (n, c)."""
    generator = torch.Generator().manual_seed(0)
    widths = [features.shape[1], _HIDDEN, shares.shape[1]]
    layers: list[torch.Tensor] = []
    for inputs, outputs in pairwise(widths):
        for shape in ((inputs, outputs), (outputs,)):
            layers.append(torch.empty(shape).uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator))
    moments = [(torch.zeros_like(layer), torch.zeros_like(layer)) for layer in layers]
    for step in range(_STEPS):
        drawn = torch.randint(len(features), (_BATCH,), generator=generator)
        gradients = _gradients([each.index_select(0, drawn) for each in (features, shares, weights)], layers)
        rate = _RATE * (1 - step / _STEPS)
        layers = [
            _descended(layer, gradient, moment, rate, step)
            for layer, gradient, moment in zip(layers, gradients, moments, strict=True)
        ]
    return layers


def _gradients(batch: Sequence[torch.Tensor], layers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the gradients of the weighted mean cross entropy of features, shares and weights.

    By hand it takes two thirds of the time.
    """
    features, shares, weights = batch
    hidden, hidden_bias, out, out_bias = layers
    inner = (features @ hidden + hidden_bias).relu_()
    # Along an axis this short torch takes six times as long.
    likely = (inner @ out + out_bias).T.softmax(0).T
    wrong = likely * shares.sum(1, keepdim=True) - shares
    wrong *= weights[:, None] / len(weights)
    back = (wrong @ out.T) * inner.sign()
    return [features.T @ back, back.sum(0), inner.T @ wrong, wrong.sum(0)]


def _descended(
    layer: torch.Tensor, gradient: torch.Tensor, moment: tuple[torch.Tensor, torch.Tensor], rate: float, step: int
) -> torch.Tensor:
    """Make one step of AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019).

    Not torch's own, which takes a second to import what it does not need here.
    """
    mean, square = moment
    mean.lerp_(gradient, 1 - _MEAN_KEPT)
    square.lerp_(gradient.square(), 1 - _SQUARE_KEPT)
    corrected = mean / (1 - _MEAN_KEPT ** (step + 1))
    spread = (square / (1 - _SQUARE_KEPT ** (step + 1))).sqrt() + 1e-8
    return layer * (1 - rate * _DECAY) - rate * corrected / spread


def _forward(features: torch.Tensor, layers: Sequence[torch.Tensor]) -> torch.Tensor:
    hidden, hidden_bias, out, out_bias = layers
    return (features @ hidden + hidden_bias).relu() @ out + out_bias


def _by_motion(probability: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    """Return how likely (k, h, w) float32 each class is by motion and tracking."""
    inside = classes > 0
    moving = np.clip(probability, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    moving = np.where(inside, np.maximum(moving, _LEAST_INSIDE), np.minimum(moving, _MOST_OUTSIDE))
    # What moves is of its own class four times as likely as of any other.
    others = moving / np.where(inside, np.float32(_FAITHFULNESS + count - 2), np.float32(count - 1))
    shares = np.empty((count, *classes.shape), np.float32)
    shares[0] = 1 - moving
    for index in range(1, count):
        shares[index] = np.where(classes == index, _FAITHFULNESS * others, others)
    return shares


def _largest(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of few planes (k, h, w) is the largest at each pixel, the first of equals, and its value there."""
    best, largest = np.zeros(planes.shape[1:], np.uint8), planes[0].copy()
    for index, plane in enumerate(planes[1:], start=1):
        higher = plane > largest
        best[higher] = index
        np.maximum(largest, plane, out=largest)
    return best, largest


def _touching(regions: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the connected regions that have a pixel in common with what was shown, (h, w) bool."""
    count, pieces = cv2.connectedComponents(regions.view(np.uint8), connectivity=4)
    kept = np.zeros(count, bool)
    kept[pieces[shown & regions]] = True
    return np.asarray(kept[pieces])


def _nearest(labels: np.ndarray) -> np.ndarray:
    """Return at every pixel the label (h, w) int32 of the nearest one that has any."""
    if not labels.any():
        return labels
    _, indices = cv2.distanceTransformWithLabels(
        (labels == 0).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    shown = labels > 0
    names = np.zeros(int(indices.max()) + 1, labels.dtype)
    names[indices[shown]] = labels[shown]
    return np.asarray(names[indices])
