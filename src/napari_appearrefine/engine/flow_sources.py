"""Where flow comes from when it is not measured pair by pair: folders of .flo files, or a clip read as a sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from ..core.clip import Clip
from ..files.flow import FlowFolder
from .flow import flow_pair, resize_flow, resize_frame, working_size
from .motion_cues import FlowBetween


def flow_between_from(root: Path, clip: Clip, size: tuple[int, int]) -> FlowBetween:
    """Return the function that gives the flows which a folder holds, on a working grid of ``size``.

    Raises
    ------
    UserError
        If a folder or a frame's file is missing.
    """
    folders = {gap: FlowFolder(root, clip.name, clip.frame_names, gap) for gap in (1, -1)}

    def between(frame: int, other: int) -> np.ndarray | None:
        folder = folders.get(other - frame)
        flow = None if folder is None else folder[frame]
        return None if flow is None else resize_flow(flow, size)

    return between


class FlowSequence(Sequence[np.ndarray | None]):
    """The flow of each frame of a clip, computed or read when asked for.

    Parameters
    ----------
    length : int
        Frames of the clip.
    read : callable
        Frame to (Y, X, 2) float32, or None where there is no frame to flow to.
    """

    def __init__(self, length: int, read: Callable[[int], np.ndarray | None]) -> None:
        self._length = length
        self._read = read

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, frame: int) -> np.ndarray | None: ...

    @overload
    def __getitem__(self, frame: slice) -> Sequence[np.ndarray | None]: ...

    def __getitem__(self, frame: int | slice) -> np.ndarray | Sequence[np.ndarray | None] | None:
        """Return the flow of one frame."""
        if isinstance(frame, slice):
            return [self[index] for index in range(*frame.indices(self._length))]
        if not 0 <= frame < self._length:
            raise IndexError(frame)
        return self._read(frame)


def flow_sequence(clip: Clip, gap: int, root: Path | None = None) -> FlowSequence:
    """Return the flow of each frame to the one ``gap`` away: read from a folder, or measured.

    Raises
    ------
    UserError
        If a folder or a frame's file is missing.
    """
    if root is not None:
        return FlowSequence(len(clip), FlowFolder(root, clip.name, clip.frame_names, gap).__getitem__)
    size = working_size(clip.size)

    def measure(frame: int) -> np.ndarray | None:
        if not 0 <= frame + gap < len(clip):
            return None
        return flow_pair(resize_frame(clip.rgb(frame), size), resize_frame(clip.rgb(frame + gap), size))

    return FlowSequence(len(clip), measure)
