"""What motion says about each frame of a clip: residual flows to neighbours near and far, and how far to trust them."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

import cv2
import numpy as np

from ..core.clip import Clip
from ..core.read_ahead import ReadAhead
from .camera import camera_flow, fit_camera
from .flow import flow_pair, inconsistency, resize_frame, texture, to_grey, working_size

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

GAPS = (1, -1, 4, -4)
_CONSISTENT = 1.5
_FLAT_WINDOW = 5
_UNCHANGED = 1.5


@dataclass(frozen=True)
class MotionCues:
    """Motion at one frame, on the working grid; ``G`` runs over ``gaps``.

    Parameters
    ----------
    gaps : tuple of int
        To which neighbour each flow goes, in frames: 1 is the next frame, -1 the previous one.
    flow : ndarray
        (G, h, w, 2) float32 pixels of the grid, the camera's motion included.
    residual : ndarray
        (G, h, w, 2) float32 pixels, the camera's motion removed.
    inconsistency : ndarray
        (G, h, w) float32 pixels by which the flow there and back misses the start, at most 20.
    scale : ndarray
        (G,) float32 pixels, the noise (robust standard deviation) of the residual in the background.
    texture : ndarray
        (h, w) float32 grey levels a pixel; see :func:`flow.texture`.
    confidence : ndarray
        (h, w) float32 from 0 to 1: how far the picture shows enough for flow to be believed; see
        :func:`flow_confidence`. All 1 for flow computed elsewhere.
    """

    gaps: tuple[int, ...]
    flow: np.ndarray
    residual: np.ndarray
    inconsistency: np.ndarray
    scale: np.ndarray
    texture: np.ndarray
    confidence: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the working grid."""
        return self.flow.shape[1], self.flow.shape[2]


FlowBetween = Callable[[int, int], np.ndarray | None]
"""From one frame's index to another's: the flow (h, w, 2) between them, or None to have it measured."""

_Coming = tuple[Future[np.ndarray], Future[np.ndarray]]


def iterate_motion_cues(
    clip: Clip,
    gaps: Sequence[int] = GAPS,
    *,
    size: tuple[int, int] | None = None,
    flow_between: FlowBetween | None = None,
    workers: int = 1,
) -> Generator[tuple[int, np.ndarray, MotionCues], None, None]:
    """Compute the cues of every frame, decoding each frame once and measuring each flow once.

    The next few frames are worked on in other threads while the caller uses this one. Memory is
    flat: a few frames and flows at the working size, however long the clip. At the ends
    of the clip a neighbour that does not exist is replaced by the opposite one, its flow negated;
    where neither exists, by the nearest gap that does, its flow scaled.

    Parameters
    ----------
    clip : Clip
        At least two frames.
    gaps : sequence of int
        Distances to the neighbours in frames, none 0.
    size : tuple of int, optional
        The working size; :func:`flow.working_size` of the clip by default.
    flow_between : callable, optional
        Gives flows computed elsewhere, in pixels of the working grid; called from other threads.
    workers : int
        Threads that measure, besides the one that decodes; the result is the same for any number.

    Yields
    ------
    frame : int
        Index, ascending.
    image : ndarray
        (h, w, 3) uint8, the frame at the working size.
    cues : MotionCues
        Its cues.

    Raises
    ------
    ValueError
        If the clip has a single frame or a gap is 0.
    """
    if len(clip) < 2 or 0 in gaps:
        raise ValueError("motion needs two frames and gaps other than 0")
    size = size or working_size(clip.size)
    reach = max(abs(gap) for gap in gaps)

    def measure(pair: tuple[int, int], image: np.ndarray, other: np.ndarray) -> np.ndarray:
        given = flow_between(*pair) if flow_between else None
        return _measured(image, other, pair[1] - pair[0]) if given is None else given

    def assemble(image: np.ndarray, others: Mapping[int, np.ndarray], flows: Mapping[int, _Coming]) -> MotionCues:
        # Never waits in vain: the pool takes its work up in order, and the flows came first.
        arrived = {gap: (there.result(), back.result()) for gap, (there, back) in flows.items()}
        return _assemble(image, others, arrived, gaps, flow_between is not None)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="motion-cues")
    with closing(ReadAhead(lambda frame: resize_frame(clip.rgb(frame), size), len(clip))) as read:
        images: _Recent[int, np.ndarray] = _Recent(read, 4 * reach)
        # A pair of frames is used first by the earlier and again, |gap| frames on, by the later one: both ways, and
        # those that begin with each frame in between.
        flows: dict[int, _Recent[tuple[int, int], Future[np.ndarray]]] = {
            distance: _Recent(
                lambda pair: pool.submit(measure, pair, images(pair[0]), images(pair[1])), 4 * (distance + 1)
            )
            for distance in range(1, reach + 1)
        }
        coming: deque[tuple[int, np.ndarray, Future[MotionCues]]] = deque()
        try:
            for frame in range(len(clip)):
                for following in range(frame + reach if frame else 0, min(frame + reach + 1, len(clip))):
                    images(following)
                wanted = _gaps_within(len(clip), frame, gaps)
                others = {gap: images(frame + gap) for gap in wanted}
                near = {
                    gap: (flows[abs(gap)]((frame, frame + gap)), flows[abs(gap)]((frame + gap, frame)))
                    for gap in wanted
                }
                coming.append((frame, images(frame), pool.submit(assemble, images(frame), others, near)))
                if len(coming) >= workers:
                    yield _arrived(*coming.popleft())
            while coming:
                yield _arrived(*coming.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _measured(image: np.ndarray, other: np.ndarray, gap: int) -> np.ndarray:
    # Motion over several frames is long and its outlines are blurred by what it covers: on real clips
    # the masks came out as good without the finest scale there.
    return flow_pair(image, other, fine=abs(gap) == 1)


def _arrived(frame: int, image: np.ndarray, cues: Future[MotionCues]) -> tuple[int, np.ndarray, MotionCues]:
    return frame, image, cues.result()


def _gaps_within(length: int, frame: int, gaps: Sequence[int]) -> list[int]:
    inside = [gap for gap in gaps if 0 <= frame + gap < length]
    unserved = {abs(gap) for gap in gaps} - {abs(gap) for gap in inside}
    if unserved and not inside:
        farthest = length - 1 - frame if length - 1 - frame >= frame else -frame
        inside.append(farthest)
    return inside


def _assemble(
    image: np.ndarray,
    neighbours: Mapping[int, np.ndarray],
    flows: Mapping[int, tuple[np.ndarray, np.ndarray]],
    gaps: Sequence[int],
    trusted: bool,
) -> MotionCues:
    grey = to_grey(image)
    # Flow from elsewhere may well know about flat regions.
    confidence = np.ones(grey.shape, np.float32) if trusted else flow_confidence(grey)
    flat = confidence < 0.5
    any_flat, all_sure = bool(flat.any()), bool((confidence == 1).all())
    rows = [*gaps, *(gap for gap in flows if gap not in gaps)]
    flow, residual = np.empty((2, len(rows), *grey.shape, 2), np.float32)
    missed, scales = np.empty((len(rows), *grey.shape), np.float32), np.empty(len(rows), np.float32)
    for gap, (there, back) in flows.items():
        row = rows.index(gap)
        flow[row], missed[row] = there, inconsistency(there, back)
        weights, still = confidence * (missed[row] < _CONSISTENT), there
        if any_flat:
            # A flat region that stays as it is says, if anything, that the camera rests. Where there is
            # little else, the camera would follow the objects.
            rests = flat & _unchanged(grey, to_grey(neighbours[gap]))
            weights, still = np.where(rests, 1 - confidence, weights), np.where(rests[..., None], 0, there)
        parameters, scales[row] = fit_camera(still, weights)
        np.subtract(there, camera_flow(parameters, grey.shape), out=residual[row])
        if not all_sure:
            residual[row] *= confidence[..., None]
    for row, gap in enumerate(gaps):
        if gap not in flows:
            source = _stand_in(gap, flows)
            other, factor = rows.index(source), np.float32(gap / source)
            flow[row], residual[row] = flow[other] * factor, residual[other] * factor
            missed[row], scales[row] = missed[other], scales[other] * abs(factor)
    return MotionCues(
        gaps=tuple(gaps),
        flow=flow[: len(gaps)],
        residual=residual[: len(gaps)],
        inconsistency=missed[: len(gaps)],
        scale=scales[: len(gaps)],
        texture=texture(grey),
        confidence=confidence,
    )


def flow_confidence(grey: np.ndarray) -> np.ndarray:
    """Judge where a picture shows enough for flow to be believed.

    In most pictures this is everywhere: flow in small flat regions follows what surrounds them, and rightly so.
    But where most of the picture is one flat, noisy ground, as under a microscope, the flow there is made up.

    Parameters
    ----------
    grey : ndarray
        (h, w) uint8.

    Returns
    -------
    ndarray
        (h, w) float32 from 0 to 1.
    """
    structure = texture(grey, _FLAT_WINDOW)
    # Over the whole picture every other pixel tells the same.
    sample = structure[::2, ::2]
    floor, top = (max(float(value), 1e-3) for value in np.percentile(sample, (25, 95)))
    # A ground of noise alone has texture within a narrow range, far below that of the objects on it; of natural
    # pictures at most 64 % lie below 1.7 times the lower quartile, of cells on a dark ground 69 to 78 %.
    narrow = np.clip((np.mean(sample < 1.7 * floor) - 0.62) / 0.06, 0, 1)
    far_below = np.clip((top / floor - 4) / 2, 0, 1)
    if narrow * far_below == 0:
        return np.ones(grey.shape, np.float32)
    # Half-way between the two on a logarithmic scale; a higher limit keeps halos small.
    fourth_power = (structure / (floor * top) ** 0.5) ** 4
    return np.asarray(1 - narrow * far_below / (1 + fourth_power), np.float32)


def _unchanged(grey: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Tell where a picture, mostly flat, stays as it is but for its noise: (h, w) bool."""
    difference = cv2.blur(cv2.absdiff(grey, other).astype(np.float32), (9, 9))
    return np.asarray(difference <= _UNCHANGED * float(np.median(difference)))


def _stand_in(gap: int, there: Mapping[int, object]) -> int:
    if gap in there:
        return gap
    if -gap in there:
        return -gap
    return min(there, key=lambda other: (abs(abs(other) - abs(gap)), other * gap < 0))


class _Recent(Generic[_Key, _Value]):
    """Values of the keys asked for last."""

    def __init__(self, compute: Callable[[_Key], _Value], capacity: int) -> None:
        self._compute = compute
        self._capacity = capacity
        self._kept: OrderedDict[_Key, _Value] = OrderedDict()

    def __call__(self, key: _Key) -> _Value:
        if key not in self._kept:
            self._kept[key] = self._compute(key)
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
