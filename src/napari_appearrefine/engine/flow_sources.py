"""Where flow comes from when it is not measured pair by pair: folders of .flo files, or a clip read as a sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np
import torch

from ..core.clip import Clip
from ..files.flow import FlowFolder
from .flow import flow_pair, resize_flow, resize_frame, working_size
from .motion_cues import FlowBetween


def flow_between_measured(measured: MeasuredFlow, size: tuple[int, int]) -> FlowBetween:
    """Return the function that measures flows and gives them on a working grid of ``size``."""

    def between(frame: int, other: int) -> np.ndarray | None:
        flow = measured(frame, other)
        return None if flow is None else resize_flow(flow, size)

    return between


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


class MeasuredFlow:
    """Measures the flow between two frames of a clip at a size of its own.

    Parameters
    ----------
    clip : Clip
        The video.
    measure : callable
        Two (h, w, 3) uint8 images to (h, w, 2) float32.
    size : tuple of int
        Height and width that the images are brought to first.
    """

    def __init__(
        self, clip: Clip, measure: Callable[[np.ndarray, np.ndarray], np.ndarray], size: tuple[int, int]
    ) -> None:
        self._clip = clip
        self._measure = measure
        self._size = size

    def __call__(self, frame: int, other: int) -> np.ndarray | None:
        """Return the flow from a frame to another one in pixels of ``size``, or None if it is not in the clip."""
        if not 0 <= other < len(self._clip):
            return None
        return self._measure(*(resize_frame(self._clip.rgb(index), self._size) for index in (frame, other)))


def measured_flow(clip: Clip, method: str, device: torch.device) -> MeasuredFlow:
    """Return what measures the flow of a clip.

    Parameters
    ----------
    method : {"dis", "raft"}
        DIS of OpenCV, or RAFT of torchvision.
    device : torch.device
        Where RAFT computes.

    Raises
    ------
    UserError
        If torchvision or its weights are not there.
    """
    if method == "raft":
        from .raft import Raft, raft_size

        return MeasuredFlow(clip, Raft.load(device), raft_size(clip.size))
    return MeasuredFlow(clip, partial(flow_pair, smooth=True), working_size(clip.size))


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


def flow_sequence(clip: Clip, gap: int, source: Path | MeasuredFlow) -> FlowSequence:
    """Return the flow of each frame to the one ``gap`` away: read from a folder, or measured.

    Raises
    ------
    UserError
        If a folder or a frame's file is missing.
    """
    if isinstance(source, Path):
        return FlowSequence(len(clip), FlowFolder(source, clip.name, clip.frame_names, gap).__getitem__)
    return FlowSequence(len(clip), lambda frame: source(frame, frame + gap))
