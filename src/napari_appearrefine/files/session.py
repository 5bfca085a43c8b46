"""The session of a video in a folder beside it: saved often, whole after a crash at any moment, never a pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..core.clip import Clip, FrameSource, spread_frames
from ..core.errors import UserError
from ..core.events import Report
from ..core.review import ReviewTable
from .atomic import atomic_path, explained_write_errors
from .report import json_text

FORMAT = "napari-appearrefine session"
VERSION = 1
SUFFIX = ".appearrefine"
_FRAMES_A_FILE = 16
_GENERATIONS = 3
_FRAMES_LOOKED_AT = 16
_MANIFEST = "session-{:08d}.json"
_DATA = "data"


@dataclass
class Session:
    """Everything that is needed to go on where a person stopped.

    Parameters
    ----------
    masks : dict of str to FrameSource
        Labels by name, (T, Y, X) uint8 or uint16 each, such as ``rough``, ``refined`` and ``proposal``.
    review : ReviewTable
        Marks, qualities, provenance and runs.
    parameters : dict
        Settings of the last run, JSON-ready.
    view : dict
        State of layers and viewer, JSON-ready.
    arrays : dict of str to ndarray
        Small arrays of numbers, such as the decisions about a proposal.
    report : Report, optional
        What the last run told.
    """

    masks: dict[str, FrameSource]
    review: ReviewTable
    parameters: dict[str, Any] = field(default_factory=dict)
    view: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    report: Report | None = None


@dataclass(frozen=True)
class OpenedSession:
    """A session that was read.

    Parameters
    ----------
    session : Session
        Its masks are writable arrays.
    generation : int
        The number of the save that was read.
    saved : str
        When it was saved, ISO 8601 in UTC.
    warnings : list of str
        Sentences for the person: the video is another one now, a newer save was unreadable.
    """

    session: Session
    generation: int
    saved: str
    warnings: list[str]


def session_folder(video: str | Path) -> Path:
    """Return where the session of a video is kept: its own name with ``.appearrefine`` added, beside it."""
    path = Path(os.path.abspath(Path(video).expanduser()))
    return path.with_name(path.name + SUFFIX)


def video_fingerprint(clip: Clip) -> dict[str, Any]:
    """Return what tells whether a video's content is the same: its shape and the pixels of 16 frames.

    Returns
    -------
    dict
        ``shape``, ``dtype`` and ``frames``, an index to a digest of the frame as it is stored.
    """
    images = {frame: clip.raw(frame) for frame in spread_frames(len(clip), _FRAMES_LOOKED_AT)}
    return {
        "shape": list(clip.shape),
        "dtype": str(images[0].dtype),
        "frames": {str(frame): _digest(image) for frame, image in images.items()},
    }


class SessionFolder:
    """A folder that holds the last three saves of a session.

    Arrays are immutable files named after a digest of their content, so a save writes only what changed;
    then one JSON file, written beside and renamed, makes them a session. See ``docs/session.md``.

    Parameters
    ----------
    folder : str or Path
        From :func:`session_folder`; made with the first save. One process may save to it at a time; its threads
        wait for each other.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._files: dict[str, list[str]] = {}
        self._report: tuple[Report, str] | None = None
        self._lock = threading.Lock()

    def exists(self) -> bool:
        """Whether something was saved here."""
        return bool(self._generations())

    def set_aside(self) -> Path:
        """Keep what was saved here under another name, the first free one of ``<name>.1``, ``<name>.2``, and so on.

        Returns
        -------
        Path
            The folder that it is in now.

        Raises
        ------
        UserError
            If the folder cannot be renamed.
        """
        with self._lock, explained_write_errors(self.folder):
            names = (self.folder.with_name(f"{self.folder.name}.{number}") for number in count(1))
            aside = next(path for path in names if not path.exists())
            self.folder.rename(aside)
            self._files, self._report = {}, None
        return aside

    def save(
        self,
        session: Session,
        fingerprint: Mapping[str, Any],
        changed: Mapping[str, Collection[int]] | None = None,
        is_current: Callable[[], bool] = lambda: True,
    ) -> int | None:
        """Save a session as a new generation.

        Parameters
        ----------
        session : Session
            What to save.
        fingerprint : mapping
            The video's, from :func:`video_fingerprint`.
        changed : mapping of str to collection of int, optional
            For each masks' name the frames that changed since this object saved last; all frames are looked at
            if it is not given or the name is missing.
        is_current : callable, optional
            Asked when all masks were read: whether they are still what the rest of the session says of them.
            If not, nothing becomes a session, and the next save writes only what changed meanwhile.

        Returns
        -------
        int or None
            The number of the generation; None if the masks changed while they were read.

        Raises
        ------
        UserError
            If the folder cannot be written to.
        """
        with self._lock:
            return self._save(session, fingerprint, changed or {}, is_current)

    def load(self, clip: Clip | None = None) -> OpenedSession:
        """Read the newest save that is whole.

        Parameters
        ----------
        clip : Clip, optional
            The video as it is now, to be compared with that of the session.

        Raises
        ------
        UserError
            If nothing was saved here, no save is readable, or it was made by a newer version.
        """
        generations = sorted(self._generations(), reverse=True)
        if not generations:
            raise UserError(f"{self.folder} holds no session; open the video and start a new one.")
        problem: Exception | None = None
        for generation in generations:
            try:
                manifest = self._manifest(generation)
                session = self._read(manifest)
            except UserError:
                raise
            except Exception as error:  # Damaged files raise nearly anything; the next older save may be whole.
                problem = problem or error
                continue
            warnings = [] if problem is None else [f"The last save in {self.folder} was damaged; an older one is open."]
            warnings += _changes_of_video(manifest["video"], clip)
            return OpenedSession(session, generation, str(manifest["saved"]), warnings)
        raise UserError(f"No save in {self.folder} is readable ({problem}); rename the folder and start again.")

    def _save(
        self,
        session: Session,
        fingerprint: Mapping[str, Any],
        changed: Mapping[str, Collection[int]],
        is_current: Callable[[], bool],
    ) -> int | None:
        with explained_write_errors(self.folder):
            (self.folder / _DATA).mkdir(parents=True, exist_ok=True)
            self._remove_unfinished()
        cells, facts = session.review.to_arrays()
        files = {name: self._save_masks(name, masks, changed.get(name)) for name, masks in session.masks.items()}
        report = None if session.report is None else self._save_report(session.report)
        self._files = files
        if not is_current():
            return None
        generation = max(self._generations(), default=0) + 1
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "generation": generation,
            "saved": datetime.now(UTC).isoformat(timespec="seconds"),
            "video": dict(fingerprint),
            "masks": {
                name: {
                    "shape": [int(length) for length in session.masks[name].shape],
                    "dtype": str(np.dtype(session.masks[name].dtype)),
                    "frames_a_file": _FRAMES_A_FILE,
                    "files": kept,
                }
                for name, kept in files.items()
            },
            "review": {**facts, "file": self._save_arrays(cells)},
            "arrays": self._save_arrays(session.arrays) if session.arrays else None,
            "parameters": session.parameters,
            "view": session.view,
            "report": report,
        }
        text = json_text(manifest).encode()
        _write_to_disk(self.folder / _MANIFEST.format(generation), lambda file: file.write(text))
        self._remove_old()
        return generation

    def _generations(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        names = (path.name for path in self.folder.glob("session-*.json"))
        numbers = (name.removeprefix("session-").removesuffix(".json") for name in names)
        return [int(number) for number in numbers if number.isdecimal()]

    def _manifest(self, generation: int) -> dict[str, Any]:
        text = (self.folder / _MANIFEST.format(generation)).read_text(encoding="utf-8")
        manifest: dict[str, Any] = json.loads(text)
        if manifest["format"] != FORMAT:
            raise ValueError("it is no session")
        if manifest["version"] > VERSION:
            raise UserError(f"{self.folder} was saved by a newer napari-appearrefine; update it to open this session.")
        return manifest

    def _read(self, manifest: Mapping[str, Any]) -> Session:
        masks: dict[str, FrameSource] = {}
        for name, kept in manifest["masks"].items():
            labels = np.zeros(kept["shape"], np.dtype(kept["dtype"]))
            step = int(kept["frames_a_file"])
            for place, file in enumerate(kept["files"]):
                labels[place * step : (place + 1) * step] = self._load_arrays(file)["labels"]
            masks[name] = labels
        review = ReviewTable.from_arrays(self._load_arrays(manifest["review"]["file"]), manifest["review"])
        arrays = self._load_arrays(manifest["arrays"]) if manifest["arrays"] else {}
        report = self._load_report(manifest["report"]) if manifest["report"] else None
        return Session(masks, review, dict(manifest["parameters"]), dict(manifest["view"]), arrays, report)

    def _save_masks(self, name: str, masks: FrameSource, changed: Collection[int] | None) -> list[str]:
        count = -(-len(masks) // _FRAMES_A_FILE)
        known = self._files.get(name, [])
        dirty = None if changed is None else {frame // _FRAMES_A_FILE for frame in changed}
        files = []
        for place in range(count):
            if dirty is not None and place not in dirty and len(known) == count:
                files.append(known[place])
                continue
            frames = range(place * _FRAMES_A_FILE, min((place + 1) * _FRAMES_A_FILE, len(masks)))
            files.append(self._save_arrays({"labels": np.stack([np.asarray(masks[frame]) for frame in frames])}))
        return files

    def _save_arrays(self, arrays: Mapping[str, np.ndarray]) -> str:
        name = _digest_all(arrays)
        self._save_data(f"{name}.npz", lambda file: np.savez_compressed(file, **dict(arrays)))  # type: ignore[arg-type]
        return name

    def _load_arrays(self, name: str) -> dict[str, np.ndarray]:
        # Opened here, because numpy leaves a file open that turns out not to be an archive.
        with open(self.folder / _DATA / f"{name}.npz", "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        if _digest_all(arrays) != name:
            raise ValueError(f"{name}.npz has changed")
        return arrays

    def _save_report(self, report: Report) -> str:
        if self._report is not None and self._report[0] is report:
            return self._report[1]
        text = json_text(report.to_json()).encode()
        name = _digest(np.frombuffer(text, np.uint8))
        self._save_data(f"{name}.json", lambda file: file.write(text))
        self._report = report, name
        return name

    def _load_report(self, name: str) -> Report:
        text = (self.folder / _DATA / f"{name}.json").read_bytes()
        if _digest(np.frombuffer(text, np.uint8)) != name:
            raise ValueError(f"{name}.json has changed")
        return Report.from_json(json.loads(text))

    def _save_data(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        path = self.folder / _DATA / name
        if not path.exists():
            _write_to_disk(path, write)

    def _remove_unfinished(self) -> None:
        for folder in (self.folder, self.folder / _DATA):
            for path in folder.glob(".*.part.*"):
                path.unlink(missing_ok=True)

    def _remove_old(self) -> None:
        generations = sorted(self._generations(), reverse=True)
        for generation in generations[_GENERATIONS:]:
            with contextlib.suppress(OSError):
                (self.folder / _MANIFEST.format(generation)).unlink()
        wanted: set[str] = set()
        for generation in generations[:_GENERATIONS]:
            try:
                wanted |= set(_files_of(self._manifest(generation)))
            except Exception:  # A damaged one refers to nothing that could be read.
                continue
        for path in (self.folder / _DATA).iterdir():
            if path.stem not in wanted:
                with contextlib.suppress(OSError):
                    path.unlink()


def _write_to_disk(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all, a power cut included: it has its name when it is on the disk."""
    with atomic_path(path) as beside, open(beside, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _files_of(manifest: Mapping[str, Any]) -> Iterable[str]:
    for kept in manifest["masks"].values():
        yield from kept["files"]
    yield manifest["review"]["file"]
    yield from filter(None, (manifest["arrays"], manifest["report"]))


def _changes_of_video(stored: Mapping[str, Any], clip: Clip | None) -> list[str]:
    if clip is None:
        return []
    now = video_fingerprint(clip)
    if now == stored:
        return []
    if now["shape"] != stored["shape"]:
        return [
            f"{clip.name} has the shape {tuple(now['shape'])} now, but had {tuple(stored['shape'])} when its session "
            "was saved; the masks may not fit."
        ]
    return [f"The pixels of {clip.name} are not those that the session was saved with; its masks may not fit."]


def _digest(array: np.ndarray) -> str:
    return _digest_all({"": array})


def _digest_all(arrays: Mapping[str, np.ndarray]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        state.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        state.update(array.data)
    return state.hexdigest()
