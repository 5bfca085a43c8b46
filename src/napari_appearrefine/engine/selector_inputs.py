"""What the published selector needs of a clip, gathered once for all objects, and the parts it sees together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .networks.attention import FRAMES_A_STEP
from .networks.inputs import HEIGHT, WIDTH
from .spool import Spool

MOST_TOGETHER = 200


class SelectorInputs:
    """Images, features and masks of every frame, put aside: memory does not grow with the clip.

    Parameters
    ----------
    objects : int
        How many.
    """

    def __init__(self, objects: int) -> None:
        self._objects = objects
        self._images = Spool(compress=False)
        self._dino16 = Spool(compress=False)
        self._masks = Spool()

    def __len__(self) -> int:
        return len(self._images)

    def append(self, image: np.ndarray, dino16: np.ndarray, masks: np.ndarray) -> None:
        """Take in the next frame.

        Parameters
        ----------
        image : ndarray
            (128, 224, 3) uint8.
        dino16 : ndarray
            (112, 384) float32.
        masks : ndarray
            (Q, 128, 224) bool.
        """
        self._images.append(image)
        self._dino16.append(dino16)
        self._masks.append(np.packbits(masks.reshape(self._objects, -1), axis=1))

    def image(self, frame: int) -> np.ndarray:
        """Return (128, 224, 3) uint8."""
        return self._images[frame]

    def dino16(self, frame: int) -> np.ndarray:
        """Return (112, 384) float32."""
        return self._dino16[frame]

    def mask(self, frame: int, place: int | None) -> np.ndarray:
        """Return the mask of an object by its place in the order of ids, or an empty one: (128, 224) bool."""
        if place is None:
            return np.zeros((HEIGHT, WIDTH), bool)
        return np.unpackbits(self._masks[frame][place]).reshape(HEIGHT, WIDTH).astype(bool)


def parts_of(frames: int) -> list[range]:
    """Divide a clip into the frames that the selector sees together.

    All of them up to 200, as published. The cost of seeing all frames of a longer clip together would grow
    with the square of their number, so they are dealt out: each part is spread over the whole clip. The
    released loader divides long clips too, but into stretches, whose scores are not comparable.
    """
    count = -(-frames // MOST_TOGETHER)
    return [range(start, frames, count) for start in range(count)]


def chunks_of(part: range) -> Iterator[range]:
    """Divide a part into a few frames each, between which a computation gives way."""
    for start in range(0, len(part), FRAMES_A_STEP):
        yield part[start : start + FRAMES_A_STEP]
