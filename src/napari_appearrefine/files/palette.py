"""The colours that DAVIS (as Pascal VOC) and YouTube-VOS give to object ids."""

from __future__ import annotations

import numpy as np

YOUTUBE_VOS_COLOURS = ((236, 95, 103), (249, 145, 87), (250, 200, 99), (153, 199, 148), (98, 179, 178))
"""RGB of the ids 1 to 5 in the annotations of YouTube-VOS; none is a colour of the DAVIS palette."""


def davis_palette() -> np.ndarray:
    """Compute the colour map of the DAVIS annotations, which is that of Pascal VOC.

    Bit ``3 k + c`` of an id is bit ``7 - k`` of its colour's channel ``c``, so that ids that
    follow each other differ most (VOC development kit, ``VOClabelcolormap``).

    Returns
    -------
    ndarray
        (256, 3) uint8; row ``i`` is the RGB colour of id ``i``, row 0 is black.
    """
    ids = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for channel in range(3):
        for bit in range(3):
            palette[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return palette
