"""What a model must offer to be used for refinement: features, score, correct. A new model is one new file."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..core.clip import Clip, FrameSource
from ..core.events import FrameLabels, Progress
from ..core.guidance import Guidance
from ..core.labels import as_labels, label_dtype, planes_of
from .digests import digest

if TYPE_CHECKING:
    from .reuse import Reuse


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
    prepare_features : callable
        Frame index to what gives :meth:`features` of that frame, in whatever thread; itself it is called in the
        thread that reads the video.
    reuse : Reuse
        Finds what earlier runs computed, and keeps what this one does.
    masks_name : str
        What to call the masks in messages.
    guidance : Guidance
        What a person decided. Exemplars already follow it and settled pixels are put back whatever a
        model gives; a model may also weigh true masks as what they are.
    still : frozenset of int
        Frames that the last round hardly changed, or in which all is settled; a model may give their masks as they are.
    """

    clip: Clip
    masks: FrameSource
    areas: Mapping[int, np.ndarray]
    prepare_features: Callable[[int], Callable[[], Any]]
    reuse: Reuse
    masks_name: str = "masks"
    guidance: Guidance = field(default_factory=Guidance)
    still: frozenset[int] = frozenset()
    _label_digests: dict[int, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def object_ids(self) -> list[int]:
        """Ids of the objects, ascending."""
        return list(self.areas)

    def features(self, frame: int) -> Any:
        """Return whatever the model's own ``features`` returned for a frame."""
        return self.prepare_features(frame)()

    def planes(self, frame: int, object_ids: Sequence[int] | None = None) -> np.ndarray:
        """Return the masks of one frame as (Q, Y, X) bool, one plane an object."""
        return planes_of(self.labels(frame), self.object_ids if object_ids is None else object_ids)

    def labels(self, frame: int) -> np.ndarray:
        """Return the masks of one frame as (Y, X) uint16 labels."""
        return as_labels(self.masks[frame], self.masks_name, frame)

    def label_digest(self, frame: int) -> bytes:
        """Return a digest of the masks of one frame."""
        if frame not in self._label_digests:
            labels = self.labels(frame)
            largest = int(labels.max())
            # Of as few bytes as hold them: those of a single object are bits.
            fewest = np.packbits(labels > 0) if largest <= 1 else labels.astype(label_dtype([largest]))
            self._label_digests[frame] = digest([labels.shape, largest, fewest])
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
