"""Truth carried along the motion: what the masks that a person made say about the frames around them."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import Any

import numpy as np

from .flow import flow_pair, inconsistency, warp
from .interface import ClipInputs
from .reuse import Arrays

REACH = 16
_SAY = 8.0
_PIXELS = 2.0
_LOST = 20.0
_AHEAD = 3

Chain = tuple[np.ndarray, np.ndarray]
"""Where every pixel of a frame lies in the true one, (h, w, 2) in pixels, and how unsure that is, (h, w)."""


class TruthAlongMotion:
    """Masks that a person made, moved along the optical flow to the frames within 16 of them.

    The flow is followed from frame to frame. A pixel is as reliable as the flow returns to it on the way back:
    misses of the single steps add up as independent errors do. Each true frame adds
    ``8 * (2 m - 1) * r * exp(-(d - 1) / 16)`` to the log-odds of an object, with its moved mask ``m``,
    the distance ``d`` in frames and ``r = 1 / (1 + (miss / 2 pixels)^2)``. So where the motion can be followed the
    truth decides, and where it cannot - behind what passes in front, at what turns up anew - appearance does.

    Parameters
    ----------
    inputs : ClipInputs
        The clip and what a person decided.
    image_of : callable
        Frame to its image at the working size, (h, w, 3) uint8.
    mask_of : callable
        Frame and the object's place among the ids to its mask at that size, (h, w) float32 coverage.
    threads : int
        How many measure motion.
    """

    def __init__(
        self,
        inputs: ClipInputs,
        image_of: Callable[[int], np.ndarray],
        mask_of: Callable[[int, int], np.ndarray],
        threads: int = 1,
    ) -> None:
        self._inputs = inputs
        self._image_of = image_of
        self._mask_of = mask_of
        self._threads = threads
        self._slots: dict[int, list[int]] = {}
        for slot, object_id in enumerate(inputs.object_ids):
            for frame in inputs.guidance.true_exemplars_of(object_id):
                self._slots.setdefault(frame, []).append(slot)
        self._chains: dict[tuple[int, int], Chain] = {}

    def sources(self, frame: int) -> list[int]:
        """Return the true frames that have a say in a frame, ascending."""
        return sorted(true for true in self._slots if 0 < abs(true - frame) <= REACH)

    def depends_on(self, frame: int) -> list[Any]:
        """Return everything that :meth:`say` depends on, for a digest."""
        return [
            [
                [self._inputs.reuse.image_digest(step) for step in _steps(frame, true)],
                self._slots[true],
                self._inputs.label_digest(true),
                _SAY,
                _PIXELS,
            ]
            for true in self.sources(frame)
        ]

    def say(self, frame: int) -> dict[int, np.ndarray]:
        """Return what to add to the log-odds of objects near whose true frames this one is.

        Returns
        -------
        dict of int to ndarray
            Place of the object among the ids to (h, w) float32.
        """
        total: dict[int, np.ndarray] = {}
        self._chains = {key: chain for key, chain in self._chains.items() if key[1] >= frame - 1}
        for true in self.sources(frame):
            position, miss = self._chain(frame, true)
            reliable = math.exp(-(abs(true - frame) - 1) / REACH) / (1 + (miss / _PIXELS) ** 2)
            for slot in self._slots[true]:
                added = _SAY * reliable * (2 * warp(self._mask_of(true, slot), position) - 1)
                total[slot] = total[slot] + added if slot in total else added
        return total

    def _chain(self, frame: int, true: int) -> Chain:
        if (true, frame) not in self._chains:
            # Frames come in order: beyond the true one those that follow are next, and motion is measured side by side.
            ahead = max(frame, min(frame + _AHEAD, true + REACH, len(self._inputs.clip) - 1)) if frame > true else frame
            towards = 1 if frame < true else -1
            # Chains of frames that have passed are gone; those that are left need no others.
            unknown = takewhile(lambda step: (true, step) not in self._chains, range(ahead, true, towards))
            missing = list(unknown)[::-1]
            # Videos are read forwards.
            prepared = {step: self._flows(step, step + towards) for step in sorted(missing)}
            with ThreadPoolExecutor(self._threads, thread_name_prefix="motion") as pool:
                coming = [pool.submit(prepared[step]) for step in missing]
                for step, flows in zip(missing, coming, strict=True):
                    self._chains[true, step] = _longer(self._chains.get((true, step + towards)), *flows.result())
        return self._chains[true, frame]

    def _flows(self, one: int, other: int) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        """Return what gives the flow from one frame to the other and back, in whatever thread."""
        first, second = sorted((one, other))
        reuse = self._inputs.reuse

        def prepare() -> Callable[[], Arrays]:
            images = self._image_of(first), self._image_of(second)
            both = images, images[::-1]
            return lambda: tuple(flow_pair(*each, smooth=True).astype(np.float16) for each in both)

        flows = reuse.prepare_result("flow", [reuse.image_digest(first), reuse.image_digest(second)], prepare)

        def there_and_back() -> tuple[np.ndarray, np.ndarray]:
            forward, backward = (np.asarray(flow, np.float32) for flow in flows())
            return (forward, backward) if one < other else (backward, forward)

        return there_and_back


def _longer(chain: Chain | None, there: np.ndarray, back: np.ndarray) -> Chain:
    """Add to a chain, if there is one, the step that comes before it."""
    miss = inconsistency(there, back, _LOST)
    if chain is None:
        return there, miss
    position, before = chain
    return there + warp(position, there), np.hypot(miss, warp(before, there, _LOST))


def _steps(frame: int, true: int) -> list[int]:
    """Return the frames from one to the other, both included."""
    return list(range(frame, true + 1)) if true > frame else list(range(frame, true - 1, -1))
