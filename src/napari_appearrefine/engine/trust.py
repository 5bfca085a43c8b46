"""What to believe where a mask, its drawing and a person's truth nearby differ."""

from __future__ import annotations

import cv2
import numpy as np

from .boxes import box_around, whole
from .object_masks import Plane

_NO_SAY = float(np.log(0.8 / 0.2))
_SAY = 1.5
_IMPROBABLE = 0.01
_MARGIN = 10


def estimated_iou(mask: Plane | None, likely: Plane | None) -> float:
    """Estimate the IoU of a mask with the truth that its drawing expects.

    Parameters
    ----------
    mask : Plane or None
        Coverage of the mask.
    likely : Plane or None
        Probability of the object.

    Returns
    -------
    float
        0 to 1; 0 for an empty mask, which is never good.
    """
    if mask is None or likely is None:
        return 0.0
    own = mask.within(likely.box)
    beyond = mask.area - float(own.sum())
    overlap = float((own * likely.values).sum())
    return overlap / max(float(np.maximum(own, likely.values).sum()) + beyond, 1e-6)


def say_of_mask(estimate: float) -> float:
    """Return the log-odds that a mask of an estimated IoU has to say about each pixel; 0 up to an IoU of 0.8."""
    quality = float(np.clip(estimate, 0.5, 0.98))
    return _SAY * max(float(np.log(quality / (1 - quality))) - _NO_SAY, 0.0)


def trust_good_mask(mask: Plane | None, likely: Plane, estimate: float) -> Plane:
    """Let a mask that is good as a whole have more say where it and its drawing differ.

    The better the estimated IoU is, the more certain a drawing must be to change a pixel: its
    log-odds must exceed 1.5 times that by which those of the estimate exceed those of an IoU of 0.8. At 0.95
    that is a probability of 0.91, at 0.8 and below 0.5.

    Parameters
    ----------
    mask : Plane or None
        Coverage of the given mask.
    likely : Plane
        Probability of the drawn one.
    estimate : float
        The given mask's estimated IoU, see :func:`estimated_iou`.

    Returns
    -------
    Plane
        Probability, in the box of ``likely``.
    """
    say = say_of_mask(estimate)
    if mask is None or say == 0:
        return likely
    probability = np.clip(likely.values, 1e-6, 1 - 1e-6)
    shifted = np.log(probability / (1 - probability)) + say * (2 * mask.within(likely.box) - 1)
    return Plane(likely.box, np.asarray(1 / (1 + np.exp(-np.clip(shifted, -30, 30))), np.float32))


def with_say(likely: Plane | None, say: np.ndarray, size: tuple[int, int]) -> Plane | None:
    """Add to the log-odds of a probability, everywhere on the working grid of a size; ``say`` may be coarser.

    What comes out is cut to where the object may be: beyond that it is so improbable that no colour makes up for it.
    """
    probability = np.zeros(size, np.float32) if likely is None else likely.on(size)
    clipped = np.clip(probability, 1e-4, 1 - 1e-4)
    odds = np.log(clipped / (1 - clipped)) + cv2.resize(say, size[::-1], interpolation=cv2.INTER_LINEAR)
    told = Plane(whole(size), np.asarray(1 / (1 + np.exp(-np.clip(odds, -30, 30))), np.float32))
    box = box_around(told.values > _IMPROBABLE, _MARGIN)
    return None if box is None else Plane(box, told.within(box))
