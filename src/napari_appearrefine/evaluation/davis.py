"""Evaluates masks against the truth as the official DAVIS-2017 evaluator does, one frame in memory at a time.

Rules: S. Caelles et al., "The 2019 DAVIS Challenge on VOS: Unsupervised Multi-Object Segmentation",
arXiv 1905.00737, and the released evaluation code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..core.clip import FrameSource
from ..core.errors import UserError
from ..core.labels import as_labels
from .measures import frame_measures
from .results import ClipResult, EvaluationResult, ObjectResult

TASKS = ("unsupervised", "semi-supervised")
MOST_PROPOSALS = 20
VOID = 255


def evaluate_folders(
    truth: Path | str, prediction: Path | str, task: str = "unsupervised", clips: Sequence[str] | None = None
) -> EvaluationResult:
    """Evaluate one clip or a folder of clips.

    Parameters
    ----------
    truth, prediction : path
        Each one clip's masks (a folder of images, or a file that
        :func:`napari_appearrefine.files.masks.open_masks` reads), or a folder of such folders. Where one is a
        single clip and the other a folder of clips, the clip of the same name is taken.
    task : {"unsupervised", "semi-supervised"}
        See :func:`evaluate_clip`.
    clips : sequence of str, optional
        Evaluate only these clips of the truth.

    Returns
    -------
    EvaluationResult

    Raises
    ------
    UserError
        If a folder is missing or empty, a clip or a frame is missing in the prediction, sizes or lengths
        differ, or a prediction holds more than 20 objects (unsupervised).
    """
    from ..files.masks import open_masks

    _check_task(task)
    results = [
        evaluate_clip(open_masks(true), open_masks(predicted), task, name, str(true), str(predicted))
        for name, true, predicted in _paired_clips(Path(truth), Path(prediction), clips)
    ]
    return EvaluationResult(task, results)


def evaluate_clip(
    truth: FrameSource,
    prediction: FrameSource,
    task: str = "unsupervised",
    name: str = "clip",
    truth_name: str = "The truth",
    prediction_name: str = "The prediction",
) -> ClipResult:
    """Evaluate the masks of one clip.

    Measured are the objects whose ids do not exceed the highest in the first true frame. Masks
    with no other value than 0 and 255 hold one object; beside other ids, 255 in the truth is void.
    Frames are paired by name if both sources have a ``frame_names`` attribute and share names,
    in their order otherwise.

    Parameters
    ----------
    truth, prediction : FrameSource
        (T, Y, X) label maps. Read twice, one frame at a time.
    task : {"unsupervised", "semi-supervised"}
        Unsupervised: all frames count, void pixels do not; objects are matched by the Hungarian
        method on mean J&F; at most 20 objects may be predicted. Semi-supervised: ids are taken as they are,
        the first and last frame are left out, void is background.
    name : str
        What to call the clip in results.
    truth_name, prediction_name : str
        What to call the masks in messages.

    Returns
    -------
    ClipResult

    Raises
    ------
    UserError
        If the two do not belong together, the truth holds no object, or too many are predicted.
    """
    _check_task(task)
    supervised = task == "semi-supervised"
    _check_sizes(truth, prediction, truth_name, prediction_name)
    pairs = _paired_frames(truth, prediction, truth_name, prediction_name, supervised)
    true = _Masks.scan(truth, truth_name, range(len(truth)))
    predicted = _Masks.scan(prediction, prediction_name, [index for _, index in pairs])
    truth_ids, left_out = _objects_to_measure(true)
    proposals = list(predicted.ids)
    if not supervised and len(proposals) > MOST_PROPOSALS:
        raise UserError(
            f"{prediction_name} holds {len(proposals)} objects; the unsupervised task allows {MOST_PROPOSALS} at most: "
            "remove the smallest, or use the semi-supervised task if the ids are those of the truth."
        )
    # Negative ids are in no frame: proposals that are empty, as many as the official evaluator adds.
    proposals += [-1 - missing for missing in range(len(truth_ids) - len(proposals))]
    if supervised:
        proposals = truth_ids
    matches = [(index, index) for index in range(len(truth_ids))] if supervised else None

    region = np.empty((len(pairs), len(truth_ids), len(proposals)))
    contour = np.empty_like(region)
    for row, (true_frame, predicted_frame) in enumerate(pairs):
        labels = true.labels(true_frame)
        void = None if supervised or true.binary else labels == VOID
        region[row], contour[row] = frame_measures(
            labels, truth_ids, predicted.labels(predicted_frame), proposals, void, matches
        )
    if matches is None:
        # The official evaluator has proposals in rows: with equal measures the same one must win.
        rows, columns = linear_sum_assignment(-(region.mean(0) + contour.mean(0)).T / 2)
        matches = sorted((int(column), int(row)) for row, column in zip(rows, columns, strict=True))
    return ClipResult(
        name,
        len(pairs),
        [
            ObjectResult(
                true.shown_id(truth_ids[own]),
                predicted.shown_id(proposals[other]) if proposals[other] in predicted.ids else None,
                region[:, own, other],
                contour[:, own, other],
            )
            for own, other in matches
        ],
        left_out,
    )


@dataclass(frozen=True)
class _Masks:
    """Label maps whose ids are known; binary ones (0 and 255) read as 0 and 1."""

    source: FrameSource
    name: str
    ids: list[int]
    first_ids: list[int]
    binary: bool

    @classmethod
    def scan(cls, source: FrameSource, name: str, frames: Sequence[int]) -> _Masks:
        """Find the ids of the given frames."""
        found = [_ids_of(as_labels(source[frame], name, frame)) for frame in frames]
        ids = sorted(set().union(*found))
        binary = ids == [VOID]
        return cls(source, name, [1] if binary else ids, sorted(found[0]) if found and not binary else [], binary)

    def labels(self, frame: int) -> np.ndarray:
        labels = as_labels(self.source[frame], self.name, frame)
        return (labels > 0).astype(np.uint16) if self.binary else labels

    def shown_id(self, object_id: int) -> int:
        return VOID if self.binary else object_id


def _ids_of(labels: np.ndarray) -> set[int]:
    return {int(label) for label in np.flatnonzero(np.bincount(labels.ravel())) if label}


def _objects_to_measure(true: _Masks) -> tuple[list[int], list[int]]:
    """Return the ids to measure and those left out: as officially, the first frame decides, if it holds any object."""
    ids = [object_id for object_id in true.ids if true.binary or object_id != VOID]
    if not ids:
        raise UserError(f"{true.name} holds no object in any frame; there is nothing to measure against.")
    first = [object_id for object_id in true.first_ids if object_id != VOID]
    highest = max(first or ids)
    return [object_id for object_id in ids if object_id <= highest], [i for i in ids if i > highest]


def _check_task(task: str) -> None:
    if task not in TASKS:
        raise UserError(f"The task {task!r} is not known; choose {' or '.join(TASKS)}.")


def _check_sizes(truth: FrameSource, prediction: FrameSource, truth_name: str, prediction_name: str) -> None:
    for source, name in ((truth, truth_name), (prediction, prediction_name)):
        if len(source.shape) != 3 or min(source.shape) == 0:
            raise UserError(f"{name} has the shape {tuple(source.shape)}; masks must be (time, height, width).")
    if tuple(truth.shape[1:]) != tuple(prediction.shape[1:]):
        raise UserError(
            f"{prediction_name} is {prediction.shape[2]} x {prediction.shape[1]} pixels but {truth_name} is "
            f"{truth.shape[2]} x {truth.shape[1]}; give masks of the same size."
        )


def _paired_frames(
    truth: FrameSource, prediction: FrameSource, truth_name: str, prediction_name: str, supervised: bool
) -> list[tuple[int, int]]:
    """Pair the frames to evaluate as (index in the truth, index in the prediction)."""
    evaluated = list(range(len(truth)))[1:-1] if supervised else list(range(len(truth)))
    if not evaluated:
        raise UserError(
            f"{truth_name} has {len(truth)} frames; the semi-supervised task leaves the first and the last out, so it "
            "needs 3 at least: use the unsupervised task."
        )
    names, predicted_names = getattr(truth, "frame_names", None), getattr(prediction, "frame_names", None)
    if names and predicted_names and not set(names).isdisjoint(predicted_names):
        where = {name: index for index, name in enumerate(predicted_names)}
        missing = [names[frame] for frame in evaluated if names[frame] not in where]
        if missing:
            raise UserError(
                f"{prediction_name} has no mask for frame {missing[0]}"
                + (f" and {len(missing) - 1} others" if len(missing) > 1 else "")
                + f" of {truth_name}; give one mask for each frame of the truth."
            )
        return [(frame, where[names[frame]]) for frame in evaluated]
    if len(truth) != len(prediction):
        raise UserError(
            f"{prediction_name} has {len(prediction)} frames but {truth_name} has {len(truth)}; "
            "give one mask for each frame of the truth, with the same file names."
        )
    return [(frame, frame) for frame in evaluated]


def _paired_clips(truth: Path, prediction: Path, clips: Sequence[str] | None) -> list[tuple[str, Path, Path]]:
    """List (name, truth, prediction) of the clips to evaluate."""
    true, predicted = _clips_in(truth), _clips_in(prediction)
    if true is None and predicted is None:
        return [(truth.stem, truth, prediction)]
    if true is None:
        true = {truth.stem: truth}
    if predicted is None:
        predicted = {prediction.stem: prediction}
        true = {name: path for name, path in true.items() if name == prediction.stem}
        if not true:
            raise UserError(
                f"{prediction} holds the masks of one clip, but {truth} has no clip {prediction.stem!r}; "
                "give one clip's folder for both, or a folder of clips for both."
            )
    wanted = list(true) if clips is None else list(clips)
    for name in wanted:
        if name not in true:
            raise UserError(f"{truth} has no clip {name!r}; it has {', '.join(true)}.")
        if name not in predicted:
            raise UserError(f"{prediction} has no masks for the clip {name!r}; add the folder {prediction / name}.")
    return [(name, true[name], predicted[name]) for name in wanted]


def _clips_in(path: Path) -> dict[str, Path] | None:
    """Return the clips of a folder of clips by name; None for one clip's own folder or file."""
    from ..files.mask_folder import MASK_SUFFIXES

    if not path.exists():
        raise UserError(f"{path} does not exist; check the path.")
    if not path.is_dir():
        return None
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if not entries:
        raise UserError(f"{path} is empty; give a folder of masks, or a folder of such folders.")
    folders = {entry.name: entry for entry in entries if entry.is_dir()}
    images = sum(entry.suffix.lower() in MASK_SUFFIXES for entry in entries)
    # Other folders may lie beside a clip's masks, and a picture beside the folders of clips.
    return folders if len(folders) > images else None
