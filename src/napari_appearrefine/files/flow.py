"""Optical flow in Middlebury .flo files, alone and in folders as OCLR's tools write them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core.errors import UserError
from .names import natural_key

_MAGIC = 202021.25
_LARGEST_SIDE = 1 << 16
_UNKNOWN = 1e9


def read_flo(path: str | Path) -> np.ndarray:
    """Read a .flo file.

    The format is that of the Middlebury flow benchmark: float32 202021.25, int32 width, int32
    height, then (height, width, 2) float32, all little-endian.

    Returns
    -------
    ndarray
        (Y, X, 2) float32: motion in pixels to the right and downwards.

    Raises
    ------
    UserError
        If the file is missing or is not a whole .flo file.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            width, height = (int(side) for side in np.frombuffer(head[4:12], "<i4")) if len(head) == 12 else (0, 0)
            if head[:4] != np.float32(_MAGIC).astype("<f4").tobytes():
                raise UserError(f"{path} is not an optical flow (.flo) file; compute the flow again.")
            if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
                raise UserError(f"{path} gives an impossible size ({width} x {height}); compute the flow again.")
            length = width * height * 8
            # The length is compared first: a damaged size must not make us ask for gigabytes.
            values = file.read() if os.fstat(file.fileno()).st_size == 12 + length else b""
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    if len(values) != length:
        raise UserError(f"{path} is cut off or damaged; compute the flow again.")
    return np.frombuffer(values, "<f4").reshape(height, width, 2).astype(np.float32)


class FlowFolder:
    """The flow of one clip to its next or previous frames, read frame by frame.

    Parameters
    ----------
    root : str or Path
        Folder that holds ``Flows_gap1/<clip>/00000.flo`` and ``Flows_gap-1/<clip>/...``; one
        folder may stand between the two (``Flows_gap1/480p/<clip>``).
    clip_name : str
        Name of the clip's folder.
    frame_names : sequence of str
        The clip's frames. A file belongs to the frame it is named after; if the names differ,
        files belong to frames in sorted order.
    gap : int
        Frames between the two of a flow: 1 to the next frame, -1 to the previous one.

    Raises
    ------
    UserError
        If there is no such folder, or a frame that must have a flow has none.
    """

    def __init__(self, root: str | Path, clip_name: str, frame_names: Sequence[str], gap: int) -> None:
        if gap == 0:
            raise ValueError("a flow must lead to another frame, so gap cannot be 0")
        self.folder = _clip_folder(Path(root), clip_name, gap)
        self._files = _files_of_frames(self.folder, clip_name, list(frame_names), gap)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, frame: int) -> np.ndarray | None:
        """Return (Y, X, 2) float32, 0 where a file says that it is unknown; None where there is no frame to flow to."""
        path = self._files[frame]
        if path is None:
            return None
        flow = read_flo(path)
        # Values above 1e9 are the benchmark's mark for flow that is unknown.
        return np.where((np.abs(flow) < _UNKNOWN).all(-1, keepdims=True), flow, np.float32(0))


def _clip_folder(root: Path, clip_name: str, gap: int) -> Path:
    parent = root / f"Flows_gap{gap}"
    if not parent.is_dir():
        raise UserError(f"{root} holds no folder {parent.name}; choose the folder that holds Flows_gap1.")
    if (parent / clip_name).is_dir():
        return parent / clip_name
    candidates = [folder / clip_name for folder in sorted(parent.iterdir()) if (folder / clip_name).is_dir()]
    if not candidates:
        raise UserError(f"{parent} holds no folder {clip_name}; name the flow's folder after the video.")
    if len(candidates) > 1:
        raise UserError(f"{parent} holds {clip_name} more than once ({candidates[0]}, {candidates[1]}); keep one.")
    return candidates[0]


def _files_of_frames(folder: Path, clip_name: str, frame_names: list[str], gap: int) -> list[Path | None]:
    files = sorted(
        (path for path in folder.glob("*.flo") if not path.name.startswith(".")), key=lambda p: natural_key(p.stem)
    )
    count = len(frame_names)
    # The first frames (gap < 0) or the last ones (gap > 0) have nothing to flow to.
    needed = range(max(0, -gap), min(count, count - gap))
    by_name = {path.stem: path for path in files}
    if set(by_name) <= set(frame_names):
        missing = [frame_names[frame] for frame in needed if frame_names[frame] not in by_name]
        if missing:
            raise UserError(f"{folder} lacks {missing[0]}.flo; compute the flow of every frame of {clip_name}.")
        return [by_name.get(name) for name in frame_names]
    if len(files) == count:
        return list(files)
    if len(files) == len(needed):
        return [files[frame - needed.start] if frame in needed else None for frame in range(count)]
    raise UserError(
        f"{folder} holds {len(files)} flow files but {clip_name} has {count} frames; compute the flow of every frame."
    )
