"""How well each object can be followed from frame to frame: how far a correction of it would reach."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

import cv2
import numpy as np

from ..core.clip import Clip, FrameSource
from ..core.events import Progress
from ..core.labels import as_labels
from .flow import flow_pair, inconsistency, resize_frame, working_size
from .reuse import Reuse, RunStore

_PIXELS = 2.0
_UNKNOWN = 0.5


def motion_links(
    clip: Clip, masks: FrameSource, object_ids: Sequence[int], store: RunStore | None = None
) -> Generator[Progress, None, dict[int, np.ndarray]]:
    """Measure how well objects can be followed from each frame to the next.

    A pixel can be followed as far as the optical flow there and back returns to it:
    ``1 / (1 + (miss / 2 pixels)^2)``.

    Parameters
    ----------
    clip : Clip
        The video.
    masks : FrameSource
        (T, Y, X) labels, as good as they are by now.
    object_ids : sequence of int
        The objects.
    store : RunStore, optional
        Keeps the motion for the next time; masks may have changed then.

    Yields
    ------
    Progress
        One step a frame.

    Returns
    -------
    dict of int to ndarray
        Object id to (T - 1,) float64 in 0..1: the mean over its pixels in frame t or in frame t + 1,
        whichever is less; 0.5 where it is in neither. For :func:`core.suggestion.next_to_fix`.
    """
    links = {object_id: np.full(max(len(clip) - 1, 0), _UNKNOWN) for object_id in object_ids}
    size = working_size(clip.size)
    before: np.ndarray | None = None
    with closing((store or RunStore(result_bytes=0)).start(None, clip)) as reuse:
        for frame in range(len(clip)):
            labels = cv2.resize(as_labels(masks[frame]), size[::-1], interpolation=cv2.INTER_NEAREST)
            if before is not None:
                there, back = _reliabilities(clip, frame - 1, size, reuse)
                for object_id, values in links.items():
                    sides = (there[before == object_id], back[labels == object_id])
                    means = [float(side.mean()) / 255 for side in sides if side.size]
                    values[frame - 1] = min(means, default=_UNKNOWN)
            before = labels
            yield Progress("Following motion", frame + 1, len(clip))
    return links


def _reliabilities(clip: Clip, frame: int, size: tuple[int, int], reuse: Reuse) -> tuple[np.ndarray, ...]:
    """Return how well each pixel of a frame is found again in the next, and the other way round, (h, w) uint8 each."""

    def compute() -> tuple[np.ndarray, ...]:
        one, other = (resize_frame(clip.rgb(index), size) for index in (frame, frame + 1))
        there, back = flow_pair(one, other, smooth=True), flow_pair(other, one, smooth=True)
        misses = inconsistency(there, back), inconsistency(back, there)
        return tuple((255 / (1 + (miss / _PIXELS) ** 2)).astype(np.uint8) for miss in misses)

    return reuse.result("reliability", [reuse.image_digest(frame), reuse.image_digest(frame + 1)], compute)
