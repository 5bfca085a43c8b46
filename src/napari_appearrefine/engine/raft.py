"""RAFT optical flow, through torchvision where that is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..core.errors import UserError

_SHORTER_SIDE = 480
_MULTIPLE = 8
_SMALLEST_SIDE = 128


def raft_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which RAFT measures: the shorter side 480 at most, both multiples of 8 from 128 on."""
    scale = min(1.0, _SHORTER_SIDE / min(size))
    height, width = (max(_SMALLEST_SIDE, round(side * scale / _MULTIPLE) * _MULTIPLE) for side in size)
    return height, width


class Raft:
    """RAFT (Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020).

    Parameters
    ----------
    network : Module
        Takes two (1, 3, h, w) float32 images in -1..1 and gives a list of ever better flows.
    device : torch.device
        Where to compute.
    """

    def __init__(self, network: Any, device: torch.device) -> None:
        self._network = network.to(device).eval().requires_grad_(False)
        self._device = device

    @classmethod
    def load(cls, device: torch.device) -> Raft:
        """Load torchvision's large RAFT with its default weights, which torchvision fetches the first time.

        Raises
        ------
        UserError
            If torchvision is not installed, or its weights can be neither found nor fetched.
        """
        try:
            from torchvision.models.optical_flow import Raft_Large_Weights, raft_large
        except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
            raise UserError(
                f"--flow raft needs torchvision, which cannot be used here ({error}); install the torchvision that "
                "fits the installed torch, or choose --flow dis."
            ) from error
        try:
            network = raft_large(weights=Raft_Large_Weights.DEFAULT, progress=False)
        except (OSError, RuntimeError) as error:  # no connection; a damaged file
            raise UserError(
                f"The weights of RAFT could not be fetched by torchvision ({error}); connect to the internet for the "
                "first run, or choose --flow dis."
            ) from error
        return cls(network, device)

    def __call__(self, image: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Measure the flow from one (h, w, 3) uint8 image to another: (h, w, 2) float32 in pixels."""
        with torch.inference_mode():
            flows = self._network(self._tensor(image), self._tensor(other))
        flow: np.ndarray = flows[-1][0].permute(1, 2, 0).float().cpu().numpy()
        return flow

    def _tensor(self, image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image).to(self._device).permute(2, 0, 1)[None].float() / 127.5 - 1
