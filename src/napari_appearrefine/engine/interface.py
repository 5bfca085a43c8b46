"""What a model must offer to be used for refinement: features, score, correct. A new model is one new file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..core.clip import Clip, FrameSource
from ..core.events import FrameLabels, Progress
from ..core.guidance import Guidance
from ..core.labels import as_labels, planes_of
from .digests import digest


@dataclass(frozen=True)
class Found:
    """The answer to a question for results of an earlier run.

    Parameters
    ----------
    kind : str
        What they are.
    key : bytes
        Digest of all that they depend on.
    arrays : tuple of ndarray, or None
        The results; None if they have to be computed.
    """

    kind: str
    key: bytes
    arrays: tuple[np.ndarray, ...] | None


class Results(Protocol):
    """What earlier runs computed."""

    def image_digest(self, frame: int) -> bytes:
        """Return a digest of the pixels of a frame."""

    def result(
        self, kind: str, parts: Iterable[Any], compute: Callable[[], tuple[np.ndarray, ...]]
    ) -> tuple[np.ndarray, ...]:
        """Return arrays that depend on the model and on ``parts`` alone, computed now if they are not kept."""

    def find(self, kind: str, parts: Iterable[Any]) -> Found:
        """Look for arrays that depend on the model and on ``parts`` alone."""

    def keep(self, found: Found, arrays: tuple[np.ndarray, ...], seconds: float) -> None:
        """Keep what was not found and took so long to compute; may be called from any thread."""

    def recall(self, kind: str, parts: Iterable[Any]) -> Any | None:
        """Return what was remembered for the model and ``parts``, or None."""

    def remember(self, kind: str, parts: Iterable[Any], value: Any, size: int) -> None:
        """Keep a value of ``size`` bytes, which nobody may change, for :meth:`recall`."""


@dataclass(frozen=True)
class ClipInputs:
    """What a model reads of one clip, frame by frame.

    Parameters
    ----------
    clip : Clip
        The video.
    masks : FrameSource
        (T, Y, X) label maps of the video's size.
    areas : dict of int to ndarray
        Object id, ascending, to (T,) areas in pixels, from :func:`core.labels.object_areas`.
    features : callable
        Frame index to whatever the model's own ``features`` returned for that frame.
    masks_name : str
        What to call the masks in messages.
    guidance : Guidance
        What a person decided. Exemplars already follow it and settled pixels are put back whatever a
        model gives; a model may also weigh true masks as what they are.
    reuse : Results, optional
        Where results of earlier runs are, if any are kept.
    """

    clip: Clip
    masks: FrameSource
    areas: Mapping[int, np.ndarray]
    features: Callable[[int], Any]
    masks_name: str = "masks"
    guidance: Guidance = field(default_factory=Guidance)
    reuse: Results | None = None
    _label_digests: dict[int, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def object_ids(self) -> list[int]:
        """Ids of the objects, ascending."""
        return list(self.areas)

    def planes(self, frame: int, object_ids: Sequence[int] | None = None) -> np.ndarray:
        """Return the masks of one frame as (Q, Y, X) bool, one plane an object."""
        return planes_of(self.labels(frame), self.object_ids if object_ids is None else object_ids)

    def labels(self, frame: int) -> np.ndarray:
        """Return the masks of one frame as (Y, X) uint16 labels."""
        return as_labels(self.masks[frame], self.masks_name, frame)

    def label_digest(self, frame: int) -> bytes:
        """Return a digest of the masks of one frame."""
        if frame not in self._label_digests:
            self._label_digests[frame] = digest([self.labels(frame)])
        return self._label_digests[frame]


class RefinementModel(Protocol):
    """A selector and a corrector that share features.

    Attributes
    ----------
    name : str
        Short name for reports.
    spreads_exemplars : bool
        Whether exemplars are kept apart in time (True) or are plainly the best scores (False).
    most_rounds : int
        How often correcting what was corrected helps at most.
    """

    name: str
    spreads_exemplars: bool
    most_rounds: int

    def fitted_to(self, size: tuple[int, int], areas: Mapping[int, np.ndarray]) -> RefinementModel:
        """Return the model fitted to a clip of a size (height, width) with objects of these areas; often itself."""

    def features(self, image: np.ndarray) -> Any:
        """Compute what the model needs of one frame's appearance; (Y, X, 3) uint8 in, anything out."""

    def score(self, inputs: ClipInputs) -> Generator[Progress, None, np.ndarray]:
        """Judge every mask; yield progress, return (T, Q) float32, higher is better."""

    def confirmed(self, inputs: ClipInputs, exemplars: Mapping[int, Sequence[int]]) -> Mapping[int, Sequence[int]]:
        """Return the exemplars of each object id without those that masks which a person made speak against."""

    def correct(
        self, inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> Iterator[FrameLabels | Progress]:
        """Repair every frame from the exemplars of each object id; frames may come in any order, each once.

        Progress is given only for work before the first frame.
        """


class FeatureCache:
    """Features of the frames used last, within a limit of memory.

    Parameters
    ----------
    compute : callable
        Frame index to features.
    size_of : callable
        Features to bytes.
    limit : int
        Bytes to keep at most; the frames used longest ago leave first.
    """

    def __init__(self, compute: Callable[[int], Any], size_of: Callable[[Any], int], limit: int = 1 << 29) -> None:
        self._compute = compute
        self._size_of = size_of
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def __call__(self, frame: int) -> Any:
        """Return the features of a frame, computed now if they are not kept."""
        if frame in self._kept:
            self._kept.move_to_end(frame)
            return self._kept[frame]
        features = self._compute(frame)
        self._kept[frame] = features
        self._bytes += self._size_of(features)
        while self._bytes > self._limit and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= self._size_of(oldest)
        return features
