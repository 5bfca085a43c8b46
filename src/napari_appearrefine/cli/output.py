"""Where results go: checked before anything is computed, written frame by frame as they come."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..core.clip import Clip
from ..core.errors import UserError
from ..core.events import Event, FrameLabels, Progress, Report
from ..files.atomic import check_no_other, explained_write_errors
from ..files.images import IMAGE_SUFFIXES
from ..files.masks import MaskFolderWriter
from ..files.report import write_json
from .progress import ProgressDisplay


def check_folder(folder: Path, clip: Clip, inputs: Sequence[Path], flag: str = "-o") -> None:
    """Check that masks of a clip can be written to a folder, without writing.

    Parameters
    ----------
    folder : Path
        The folder, which need not exist.
    clip : Clip
        The video; its frame names become file names.
    inputs : sequence of Path
        What is read; none of it may be the folder.
    flag : str
        The option that named the folder.

    Raises
    ------
    UserError
        If the folder is a file, cannot be made or written to, is one of the inputs, holds
        images that are no masks of this video, or something that is no file in the place of one.
    """
    check_other_folder(folder, inputs, flag)
    if folder.is_dir():
        known = {f"{name}.png" for name in clip.frame_names}
        pictures = (file.name for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        foreign = sorted(name for name in pictures if name not in known and not name.startswith("."))
        if foreign:
            raise UserError(
                f"{flag} {folder} already holds {foreign[0]}, which is no mask of {clip.name}; "
                "choose an empty folder, so that the results do not mix with other files."
            )
        for name in known:
            check_no_other(folder / name)


def check_other_folder(folder: Path, others: Sequence[Path], flag: str) -> None:
    """Check that a folder can be written to and is none of those that are used otherwise.

    Raises
    ------
    UserError
        If not.
    """
    for path in others:
        if _is_same(folder, path):
            raise UserError(f"{flag} {folder} is also what is read; choose another folder for the results.")
    check_plain_folder(folder, flag)


def check_is_not_around(folder: Path, others: Sequence[Path], flag: str) -> None:
    """Check that a folder, in which further ones will be made, holds none of what is used otherwise.

    Raises
    ------
    UserError
        If it does.
    """
    for path in others:
        if folder.resolve() in path.resolve().parents:
            raise UserError(f"{flag} {folder} holds {path}, which is used otherwise; choose another folder.")


def check_plain_folder(folder: Path, flag: str) -> None:
    """Check that a folder is there or can be made, and can be written to.

    Raises
    ------
    UserError
        If not.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{flag} {folder} is a file; choose a folder for the results.")
    _check_writable(folder, flag)


def check_file(file: Path | None, inputs: Sequence[Path], flag: str) -> None:
    """Check that a file can be written, without writing.

    Raises
    ------
    UserError
        If the path is a folder, a pipe or a device, one of the inputs, named like a frame or a mask, or in a place that
        cannot be written to.
    """
    if file is None:
        return
    if file.exists() and not file.is_file():
        kind = "folder" if file.is_dir() else "pipe or a device"
        raise UserError(f"{flag} {file} is a {kind}; choose a file name.")
    if file.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f"{flag} {file} has the name of an image; choose one that ends in .json.")
    for path in inputs:
        if _is_same(file, path):
            raise UserError(f"{flag} {file} would be written over what is read; choose another place.")
    _check_writable(file.parent, flag)


def write_frames(
    events: Iterator[Event],
    folder: Path,
    clip: Clip,
    display: ProgressDisplay,
    also: Callable[[FrameLabels], None] | None = None,
) -> Report | None:
    """Show the progress of a job and write every frame of labels as soon as it is there.

    The folder is made with the first frame, so a job that fails before leaves nothing behind. ``also``
    is told each frame that was written.

    Returns
    -------
    Report or None
        The report of the job, if it gave one.
    """
    writer: MaskFolderWriter | None = None
    report: Report | None = None
    with closing(cast(Any, events)):
        for event in events:
            if isinstance(event, Progress):
                display.show(event)
            elif isinstance(event, FrameLabels):
                if writer is None:
                    largest = np.iinfo(event.labels.dtype).max
                    writer = MaskFolderWriter(folder, clip.frame_names, clip.size, [largest])
                writer.write(event.frame, event.labels)
                if also is not None:
                    also(event)
            else:
                report = event
    return report


def write_report(file: Path | None, report: Any) -> None:
    """Write a report as JSON, if a file is given for it; its folder is made if it is not there.

    Raises
    ------
    UserError
        If the file or its folder cannot be written.
    """
    if file is not None:
        with explained_write_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, report)


@contextmanager
def kept_or_temporary(folder: Path | None) -> Iterator[Path]:
    """Give the folder, or where there is none a temporary one that is removed in the end."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="napari-appearrefine-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one.resolve() == other.resolve()


def _check_writable(folder: Path, flag: str) -> None:
    nearest = folder.absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UserError(f"{flag} {folder} cannot be made because {nearest} is not a folder; choose another place.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {folder} cannot be written to; choose a place that you may write to.")
