"""Whether what lies between two regions moves along with them, so that they are parts of one large object."""

from __future__ import annotations

import numpy as np

from .motion_cues import MotionCues

_POINTS = 17
_CLEAR = 3.0
_NOISE_FLOOR = 0.2
_ALIKE = 0.4
_SHARE = 0.8


def moving_between(ends: np.ndarray, cues: MotionCues) -> np.ndarray:
    """Tell for pairs of places whether all that lies between them moves by itself, as one.

    A large object often shows up as two pieces, since its inside has too little to see for motion to be sure. Two
    objects that happen to move alike have resting ground between them.

    Parameters
    ----------
    ends : ndarray
        (n, 2, 2) pixels (x, y) of the grid: two places for each pair.
    cues : MotionCues
        With the gaps 1 and -1 among others.

    Returns
    -------
    ndarray
        (n,) bool: whether four fifths of the way moves at three times the background's noise at least and
        to 40 % like its median, to the next frame and to the previous one.
    """
    along = np.linspace(0, 1, _POINTS)[:, None]
    way = np.rint(ends[:, :1] * (1 - along) + ends[:, 1:] * along).astype(int)
    height, width = cues.size
    columns, rows = way[..., 0].clip(0, width - 1), way[..., 1].clip(0, height - 1)
    bridged = np.ones(len(ends), bool)
    for gap in (1, -1):
        index = cues.gaps.index(gap)
        residual, clear = cues.residual[index], _CLEAR * (cues.scale[index] + _NOISE_FLOOR)
        # What is like a clear median moves nearly as clearly. Between most of many objects nothing does, and most
        # pairs need no closer look.
        moves = np.einsum("yxc,yxc->yx", residual, residual) >= ((1 - _ALIKE) * clear) ** 2
        bridged &= moves[rows, columns].mean(axis=1) >= _SHARE
        pairs = np.flatnonzero(bridged)
        motion = residual[rows[pairs], columns[pairs]]
        median = np.median(motion, axis=1, keepdims=True)
        length = np.linalg.norm(median, axis=-1)
        alike = np.linalg.norm(motion - median, axis=-1) <= _ALIKE * length
        bridged[pairs] = (length[:, 0] >= clear) & (alike.mean(axis=1) >= _SHARE)
    return bridged
