"""Files appear whole or not at all: written beside, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import UserError

_REASONS = {
    errno.ENOSPC: "there is no space left on the disk: free some or choose another place",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another place",
    errno.EFBIG: "the disk does not take a file this large: choose another place",
    errno.EACCES: "you may not write there: choose another place or change its permissions",
    errno.EPERM: "you may not write there: choose another place or change its permissions",
    errno.EROFS: "the disk is read-only: choose another place",
    errno.ENOENT: "its folder does not exist: create the folder or choose another one",
    errno.ENOTDIR: "a part of its path is a file, not a folder: choose another path",
    errno.EISDIR: "a folder of that name is there: choose another name",
    errno.EEXIST: "a file of that name is in the way: choose another name",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}


@contextlib.contextmanager
def explained_write_errors(path: str | Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into a sentence about ``path``.

    Raises
    ------
    UserError
        If the block raised an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}: choose another place")
        raise UserError(f"{path} cannot be written, {reason}.") from error


def check_no_other(path: Path) -> None:
    """Check that there is a file or nothing at a path; a file renamed to that of a device would take its place.

    Raises
    ------
    UserError
        If there is a folder, a pipe or a device.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is {'a folder' if path.is_dir() else 'a pipe or a device'}; give the name of a file.")


@contextlib.contextmanager
def atomic_path(path: str | Path, through_link: bool = True) -> Iterator[Path]:
    """Give a path to write to that becomes ``path`` when the block ends well.

    Parameters
    ----------
    path : str or Path
        The file to write or to replace; its folder must exist.
    through_link : bool
        Where the path is a link, whether to replace the file that it leads to, or the link itself.

    Yields
    ------
    Path
        A hidden name in the same folder with the same suffix. If the block raises, that file is
        removed and whatever was at ``path`` stays as it was.

    Raises
    ------
    UserError
        If the place cannot be written to (no space, no permission, a folder or a device of that name).
    """
    target = Path(os.path.realpath(path) if through_link else path)
    with explained_write_errors(path):
        check_no_other(target)
    beside = target.with_name(f".{secrets.token_hex(6)}.part{target.suffix}")
    try:
        with explained_write_errors(path):
            yield beside
            os.replace(beside, target)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
