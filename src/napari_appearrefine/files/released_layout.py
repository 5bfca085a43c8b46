"""The folders of the released program: which clips a data set has, where they lie, where results go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ..core.clip import Clip
from ..core.errors import UserError
from .images import IMAGE_SUFFIXES, image_kind
from .mask_folder import MASK_SUFFIXES, MaskFolder
from .names import existing, natural_key, numbered_files
from .video import open_video

DATASETS = ("DAVIS17m", "YTVOS18m", "folder")
_PACKAGED = {"DAVIS17m": "davis17m_sequences.json", "YTVOS18m": "ytvos18m_sequences.json"}


@dataclass(frozen=True)
class ReleasedClip:
    """One clip, opened and checked.

    Parameters
    ----------
    clip : Clip
        Its frames.
    masks : MaskFolder
        (T, y, x) masks to refine, one for each frame, of any size.
    truth : Path or None
        Folder of its true masks.
    size : tuple of int
        Height and width of the result: the truth's, or the frames' where there is no truth.
    fingerprint : str
        Changes when a frame or a mask does: SHA-256 of the files' names, sizes and times.
    """

    clip: Clip
    masks: MaskFolder
    truth: Path | None
    size: tuple[int, int]
    fingerprint: str


@dataclass(frozen=True)
class ResultFolders:
    """Where the results of a data set go.

    Parameters
    ----------
    root : Path
        ``<save_dir>/<dataset>_<prefix>``.
    dataset : str
        Name of the data set.
    """

    root: Path
    dataset: str

    def masks(self, clip: str) -> Path:
        """Return the folder of a clip's refined masks."""
        return self.root / f"{self.dataset}_mask" / clip

    def regions(self, clip: str) -> Path:
        """Return the folder of a clip's maps of regions."""
        return self.root / f"{self.dataset}_semanmask" / clip

    def report(self, clip: str) -> Path:
        """Return the file that says how a clip was refined."""
        return self.root / f"{self.dataset}_report" / f"{clip}.json"

    def are_complete(self, clip: str, frame_names: Sequence[str]) -> bool:
        """Whether every frame of a clip has both of its files."""
        folders = (self.masks(clip), self.regions(clip))
        return all((folder / f"{name}.png").is_file() for folder in folders for name in frame_names)


def clip_names(dataset: str, images: Path, sequences: Path | None = None) -> list[str]:
    """List the clips of a data set.

    Parameters
    ----------
    dataset : str
        DAVIS17m: the 30 of the validation split; YTVOS18m: the 120 of YouTubeVOS2018-motion; folder:
        every folder below ``images``.
    images : Path
        Folder of folders of frames.
    sequences : Path, optional
        A JSON file with a list of other names.

    Raises
    ------
    UserError
        If the folder or the list cannot be used, or the data set is not known.
    """
    if not existing(images).is_dir():
        raise UserError(f"{images} is a file; give the folder that holds one folder of frames for each clip.")
    if dataset not in DATASETS:
        raise UserError(f"The data set {dataset!r} is not known; choose {', '.join(DATASETS)}.")
    if sequences is not None:
        return _listed(sequences)
    if dataset in _PACKAGED:
        packaged = files("napari_appearrefine") / "data" / _PACKAGED[dataset]
        names: list[str] = json.loads(packaged.read_text(encoding="utf-8"))
        return names
    found = [path.name for path in images.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not found:
        raise UserError(f"{images} holds no folders; give the folder that holds one folder of frames for each clip.")
    return sorted(found, key=natural_key)


def open_released_clip(name: str, images: Path, masks: Path, truth: Path | None) -> ReleasedClip:
    """Open one clip.

    Parameters
    ----------
    name : str
        Name of its folders.
    images, masks, truth : Path
        Folders of such folders.

    Raises
    ------
    UserError
        If a folder is missing, holds nothing usable, or lacks a frame.
    """
    frames_folder, masks_folder = _folder_of(name, images, "frames"), _folder_of(name, masks, "masks")
    clip = open_video(frames_folder)
    _check_frames_of_masks(masks_folder, clip, frames_folder)
    rough = MaskFolder(masks_folder, clip)
    if rough.without_file:
        raise UserError(
            f"{masks_folder} has no mask for the frame {_first_of(rough.without_file)}; give one for each frame."
        )
    truth_folder = None if truth is None else _folder_of(name, truth, "true masks")
    if truth_folder is not None:
        _check_frames_of_masks(truth_folder, clip, frames_folder)
    size = clip.size if truth_folder is None else _size_of(truth_folder)
    fingerprint = _fingerprint(frames_folder, masks_folder)
    return ReleasedClip(clip, rough, truth_folder, size, fingerprint)


def _check_frames_of_masks(folder: Path, clip: Clip, frames_folder: Path) -> None:
    """Refuse masks without a frame: paired in order, as elsewhere, they would be laid on other frames."""
    frames = set(clip.frame_names)
    without_frame = [path.stem for path in numbered_files(folder, MASK_SUFFIXES) if path.stem not in frames]
    if without_frame:
        raise UserError(
            f"{frames_folder} has no frame {_first_of(without_frame)}, for which {folder} has a mask; "
            "add it, or remove the mask."
        )


def _first_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _listed(sequences: Path) -> list[str]:
    try:
        names = json.loads(existing(sequences).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{sequences} is no JSON file; give a list of clips' names.") from error
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise UserError(f'{sequences} must hold a list of clips\' names, such as ["dog", "cows"].')
    if any(Path(name).name != name for name in names):
        raise UserError(f"{sequences} holds paths; give the names of the clips' folders alone.")
    return list(dict.fromkeys(names))


def _folder_of(name: str, parent: Path, what: str) -> Path:
    folder = parent / name
    if not folder.is_dir():
        raise UserError(f"{parent} holds no folder {name} with its {what}; add it.")
    return folder


def _size_of(folder: Path) -> tuple[int, int]:
    there = numbered_files(folder, IMAGE_SUFFIXES)
    if not there:
        raise UserError(f"{folder} holds no masks; give the true masks of the clip, or leave the truth out.")
    return image_kind(there[0]).size


def _fingerprint(*folders: Path) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in numbered_files(folder, IMAGE_SUFFIXES):
            state = path.stat()
            digest.update(f"{path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()
