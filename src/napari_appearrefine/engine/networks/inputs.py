"""How the published networks see a frame and its masks: 128 x 224, and back to full size."""

from __future__ import annotations

import cv2
import numpy as np

HEIGHT, WIDTH = 128, 224
# 0.228 is what the released networks were trained with, not the usual 0.229.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.228, 0.224, 0.225], np.float32)


def small_image(image: np.ndarray) -> np.ndarray:
    """Resize a frame (Y, X, 3) uint8 to (128, 224, 3) uint8, bilinearly."""
    return cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


def normalised(images: np.ndarray) -> np.ndarray:
    """Turn small images (..., 128, 224, 3) uint8 into (..., 3, 128, 224) float32 of about zero mean and unit spread.

    In memory the channels stay last, the layout in which convolutions are quickest.
    """
    scaled = (images.astype(np.float32) / 255 - _MEAN) / _DEVIATION
    return np.moveaxis(scaled, -1, -3)


def resized_planes(planes: np.ndarray, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Resize boolean planes (Q, Y, X) to (Q, *size), bilinearly as float32 and > 0.5.

    The route is part of the method: ties at 0.5 are common, and any other one flips many pixels.
    """
    resized = np.zeros((len(planes), *size), bool)
    for plane, target in zip(planes, resized, strict=True):
        if plane.any():
            target[:] = cv2.resize(plane.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    return resized
