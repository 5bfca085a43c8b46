"""What the published model computed in an earlier run like this one."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.events import Progress
from .digests import digest
from .interface import ClipInputs, Found, Results
from .windows import Window


def find_scores(inputs: ClipInputs) -> Generator[Progress, None, Found | None]:
    """Look for the scores of an earlier run; they depend on all frames and all masks. None if no results are kept."""
    if inputs.reuse is None:
        return None
    for frame in range(len(inputs.clip)):
        inputs.reuse.image_digest(frame)
        yield Progress("Reading frames", frame + 1, len(inputs.clip))
    return inputs.reuse.find("score", _everything(inputs, inputs.reuse))


@dataclass
class KeptWindows:
    """The corrected windows of an earlier run; they too depend on all frames, through the scores.

    Parameters
    ----------
    results : Results
        Where they are.
    common : bytes
        Digest of everything that all windows depend on.
    """

    results: Results
    common: bytes
    _asked: Found | None = None
    _since: float = 0.0

    @classmethod
    def of(
        cls, inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]], size: tuple[int, int]
    ) -> KeptWindows | None:
        """Return the windows of a run, or None if no results are kept."""
        if inputs.reuse is None:
            return None
        chosen = [list(exemplars[object_id]) for object_id in inputs.object_ids]
        return cls(inputs.reuse, digest([*_everything(inputs, inputs.reuse), scores, chosen, size]))

    def find(self, window: Window) -> Iterator[tuple[int, np.ndarray]] | None:
        """Return the final frames of a window with their (Y, X) labels, or None if they have to be computed."""
        self._asked, self._since = self.results.find("correction", [self.common, window]), time.perf_counter()
        return None if self._asked.arrays is None else zip(window.final, self._asked.arrays, strict=True)

    def keep(self, labels: Sequence[np.ndarray]) -> None:
        """Keep the (Y, X) labels of the final frames of the window last asked for."""
        if self._asked is not None:
            self.results.keep(self._asked, tuple(labels), time.perf_counter() - self._since)


def _everything(inputs: ClipInputs, results: Results) -> list[Any]:
    frames = range(len(inputs.clip))
    return [inputs.object_ids, *((results.image_digest(frame), inputs.label_digest(frame)) for frame in frames)]
