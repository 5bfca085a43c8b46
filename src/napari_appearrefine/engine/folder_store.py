"""A folder of small files, found by a name made of all that their content depends on, within a limit of space."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from pathlib import Path

from ..core.errors import UserError
from ..files.atomic import atomic_path

_log = logging.getLogger(__name__)


class FolderStore:
    """Bytes by name, which several processes may read and write at once.

    A file appears whole or not at all, and any file may vanish at any time. When the folder grows
    beyond its limit, or takes more than half of what is free on the disk, the files used longest ago
    are removed, but none that this store has used: where those alone fill the folder, no more are kept.
    A run over a long video would otherwise remove each file shortly before it needs it again.

    Parameters
    ----------
    folder : Path
        Where; made when the first file is written.
    limit : int
        Bytes.
    suffix : str
        Ending of the files' names.
    """

    def __init__(self, folder: Path, limit: int, suffix: str) -> None:
        self._folder = folder
        self._limit = limit
        self._suffix = suffix
        self._unchecked = limit
        self._writable = True
        self._began = time.time_ns()

    def read(self, name: str) -> bytes | None:
        """Return what is kept under a name, or None."""
        path = self._path(name)
        try:
            # Copied, not mapped: another process may remove the file meanwhile, which some systems
            # refuse for a file that is mapped.
            data = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return data

    def write(self, name: str, data: bytes) -> None:
        """Keep bytes; where the disk takes no more, nothing is kept from then on, and a run goes on."""
        if not self._writable:
            return
        self._unchecked += len(data)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._unchecked > self._limit // 20:
                self._unchecked = 0
                self._writable = self._make_room(len(data))
            if self._writable:
                with atomic_path(self._path(name)) as beside:
                    beside.write_bytes(data)
        except (OSError, UserError) as error:
            _log.warning("%s are not kept for the next run: %s", self._folder.name.capitalize(), error)
            self._writable = False

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{self._suffix}"

    def _make_room(self, size: int) -> bool:
        """Remove old files, a little more than needed so that it is not needed again at once; tell if there is room."""
        entries = []
        for path in self._folder.glob(f"*{self._suffix}"):
            with contextlib.suppress(OSError):
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        total = size + sum(length for _, length, _ in entries)
        room = min(self._limit, (total + shutil.disk_usage(self._folder).free) // 2)
        if total <= room:
            return True
        for used, length, path in sorted(entries):
            if total <= room * 9 // 10 or used >= self._began:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= length
        return total <= room
