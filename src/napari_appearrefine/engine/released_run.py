"""One clip as the released program treats it: whole or in parts, to any size, with the map of regions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import cv2
import numpy as np

from .. import __version__
from ..core.clip import Clip, FrameSource, SourcePart
from ..core.errors import UserError
from ..core.events import Progress, Report
from ..core.labels import object_areas
from .interface import ClipInputs, RefinementModel
from .published import CorrectedFrame, PublishedModel
from .resources import Resources
from .reuse import RunStore
from .selection import select_exemplars

LONGEST_PART = 100
_FEATURES = Resources(1 << 29)


def released_parts(frames: int) -> list[range]:
    """Divide a clip as the released loader divides those of YouTube-VOS.

    ``F // 100 + 1`` parts of ``F // parts`` frames each; the last one takes what is left.
    """
    count = frames // LONGEST_PART + 1
    length = frames // count
    starts = [place * length for place in range(count)]
    return [range(start, stop) for start, stop in zip(starts, [*starts[1:], frames], strict=True)]


def refine_as_released(
    clip: Clip,
    masks: FrameSource,
    model: PublishedModel,
    *,
    exemplars: int,
    size: tuple[int, int],
    parts: Sequence[range],
    masks_name: str = "masks",
    repair: RefinementModel | None = None,
) -> Iterator[Progress | CorrectedFrame | Report]:
    """Refine the masks of a clip, each part by itself.

    Parameters
    ----------
    clip : Clip
        The frames.
    masks : FrameSource
        (T, y, x) label maps, of any size.
    model : PublishedModel
        The networks.
    exemplars : int
        Frames that serve as examples, for each object and part.
    size : tuple of int
        Height and width of the result.
    parts : sequence of range
        The frames that are seen together, from :func:`released_parts` or the whole clip.
    masks_name : str
        What to call the masks in messages.
    repair : RefinementModel, optional
        What repairs the masks instead of the published corrector, which then gives the map of regions alone.

    Yields
    ------
    Progress, CorrectedFrame, Report
        Frames in order; the report at the end.

    Raises
    ------
    UserError
        If no mask holds an object.
    """
    started = time.perf_counter()
    areas = object_areas(masks, masks_name)
    if not areas:
        raise UserError(f"{masks_name} holds no object in any frame; give the masks that are to be refined.")
    scores: list[np.ndarray] = []
    chosen: dict[int, list[int]] = {object_id: [] for object_id in areas}
    for part in parts:
        frames = clip.part(part)
        # An object keeps its id and its place in the network also in a part where it never shows.
        in_part = {object_id: area[part.start : part.stop] for object_id, area in areas.items()}
        with closing(RunStore(result_bytes=0).start(model, frames, _FEATURES)) as reuse:
            inputs = ClipInputs(frames, SourcePart(masks, part), in_part, reuse.prepare_features, reuse, masks_name)
            of_part = yield from model.score(inputs)
            scores.append(of_part)
            best = select_exemplars(of_part, inputs.areas, exemplars)
            for object_id, best_frames in best.items():
                chosen[object_id] += [part[frame] for frame in best_frames]
            results: Iterator[Progress | CorrectedFrame]
            results = model.correct_frames(inputs, of_part, best, size, regions=True)
            if repair is not None:
                results = _repaired(repair, inputs, of_part, best, results)
            for result in results:
                if isinstance(result, Progress):
                    yield result
                    continue
                frame = part[result.frame]
                yield CorrectedFrame(frame, result.labels, result.regions)
                yield Progress("Correcting frames", frame + 1, len(clip))
    yield Report(
        frames=len(clip),
        objects=list(areas),
        scores=[[round(float(score), 6) for score in row] for row in np.concatenate(scores)],
        exemplars=chosen,
        seconds=round(time.perf_counter() - started, 3),
        model=(repair or model).name,
        device=model.device.type,
        version=__version__,
        details={"parts": [[part.start, part.stop] for part in parts]},
    )


def _repaired(
    repair: RefinementModel,
    inputs: ClipInputs,
    scores: np.ndarray,
    exemplars: Mapping[int, Sequence[int]],
    released: Iterator[Progress | CorrectedFrame],
) -> Iterator[Progress | CorrectedFrame]:
    """Put the labels of another corrector, for masks of the frames' size, in the place of the published one's."""
    with closing(RunStore(result_bytes=0).start(repair, inputs.clip, _FEATURES)) as reuse:
        masks = _MasksAtSize(inputs.masks, inputs.clip.size)
        inputs = replace(inputs, masks=masks, prepare_features=reuse.prepare_features, reuse=reuse)
        for event in repair.correct(inputs, scores, exemplars):
            if isinstance(event, Progress):
                yield event
                continue
            result = next(released)
            assert isinstance(result, CorrectedFrame)
            assert result.frame == event.frame
            yield replace(result, labels=_resized(event.labels, result.labels.shape))


class _MasksAtSize:
    def __init__(self, masks: FrameSource, size: tuple[int, int]) -> None:
        self._masks = masks
        self.shape = (len(masks), *size)
        self.dtype = masks.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frame: int) -> np.ndarray:
        return _resized(np.asarray(self._masks[frame]), self.shape[1:])


def _resized(labels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return labels if labels.shape == size else cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)
