"""Masks from optical flow by OCLR: the flow as it wants it, and groups of frames as it was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from .checkpoints import OCLR, load_network
from .networks.inputs import HEIGHT, WIDTH
from .networks.oclr import Layers, Oclr, modal_masks

GROUP = 30
"""Frames that are segmented together."""

Flow = np.ndarray | None


@dataclass(frozen=True)
class FrameLayers:
    """What OCLR sees in one frame.

    Parameters
    ----------
    modal : ndarray
        (3, 128, 224) bool, what is visible of each object; planes do not overlap.
    amodal : ndarray
        (3, 128, 224) bool, the whole of each object, hidden parts included.
    depth : ndarray
        (3,) int64, 0 for the frontmost object.
    """

    modal: np.ndarray
    amodal: np.ndarray
    depth: np.ndarray


class OclrModel:
    """OCLR with its weights.

    Parameters
    ----------
    network : Oclr
        The network.
    device : torch.device
        Where to compute.
    """

    def __init__(self, network: Oclr, device: torch.device) -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.device = device

    @classmethod
    def load(cls, checkpoint: Path, device: torch.device) -> OclrModel:
        """Load the published checkpoint.

        Raises
        ------
        UserError
            If the file is missing or not a checkpoint of OCLR.
        """
        return cls(load_network(OCLR, checkpoint, device), device)

    def layers(self, flow_next: Sequence[Flow], flow_previous: Sequence[Flow], frames: range) -> Layers:
        """Segment the frames of one group; arguments as of :meth:`frames`."""
        flows = np.stack([network_flow(flow_next[frame], flow_previous[frame]) for frame in frames])
        return self.network(torch.from_numpy(flows).to(self.device))  # type: ignore[no-any-return]

    def frames(self, flow_next: Sequence[Flow], flow_previous: Sequence[Flow]) -> Iterator[tuple[int, FrameLayers]]:
        """Segment a clip, group by group.

        Parameters
        ----------
        flow_next, flow_previous : sequence of (Y, X, 2) float32 or None
            Flow of each frame to the next and to the previous one, (u, v) in pixels of its own
            grid, of any size; read when needed. None where there is no such frame.

        Yields
        ------
        tuple of int and FrameLayers
            Frame, ascending, and what is seen in it. Within a group of 30 frames a plane is one
            object; between groups planes may change places.
        """
        for group, final in frame_groups(len(flow_next)):
            layers = self.layers(flow_next, flow_previous, group)
            modal, amodal = modal_masks(layers).cpu().numpy(), (layers.amodal > 0.5).cpu().numpy()
            depth = layers.order.argsort(stable=True).argsort().cpu().numpy()
            for frame in final:
                place = frame - group.start
                yield frame, FrameLayers(modal[place], amodal[place], depth)


def frame_groups(frames: int) -> list[tuple[range, range]]:
    """Divide a clip into groups of 30 frames; the last is shifted back to end at the last frame.

    Returns
    -------
    list of tuple of range
        The frames of each group, and those of them that no later group computes again.
    """
    starts = [max(min(start, frames - GROUP), 0) for start in range(0, frames, GROUP)]
    return [
        (range(start, min(start + GROUP, frames)), range(start, following))
        for start, following in zip(starts, [*starts[1:], frames], strict=True)
    ]


def network_flow(to_next: Flow, to_previous: Flow) -> np.ndarray:
    """Return one frame's flow as OCLR wants it.

    Parameters
    ----------
    to_next, to_previous : ndarray or None
        (Y, X, 2) float32, or None where there is no such frame: the other one negated then, and
        rest where neither is there.

    Returns
    -------
    ndarray
        (4, 128, 224) float32, u and v to the next frame, u and v to the previous one, in pixels of that grid.
    """
    if to_next is None:
        to_next = -to_previous if to_previous is not None else np.zeros((HEIGHT, WIDTH, 2), np.float32)
    if to_previous is None:
        to_previous = -to_next
    both = [np.moveaxis(_small_flow(flow), -1, 0) for flow in (to_next, to_previous)]
    return np.concatenate(both)


def _small_flow(flow: np.ndarray) -> np.ndarray:
    height, width = flow.shape[:2]
    resized = cv2.resize(np.asarray(flow, np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return resized * np.array([WIDTH / width, HEIGHT / height], np.float32)
