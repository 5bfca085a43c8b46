"""The built-in motion network as a foreground model for masks from motion."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import torch

from .builtin_weights import channels_last, inference_dtype, load_part
from .device import autocast
from .foreground import Foreground
from .motion_cues import MotionCues
from .networks.backbone import Backbone
from .networks.motion import MotionNetwork, cue_channels
from .retreat import is_out_of_memory

_log = logging.getLogger(__name__)

_LOOKS_LEVEL = 2
"""Stride 8 of the backbone: of its levels the one by which objects of a clip are told apart best."""


class MotionForeground:
    """Finds moving objects in a frame from its residual flow and its appearance."""

    name = "builtin"

    def __init__(self, backbone: Backbone, network: MotionNetwork, device: torch.device) -> None:
        self._backbone = backbone
        self._network = network
        self._device = device
        self._dtype = inference_dtype(device)

    def foreground(self, image: np.ndarray, cues: MotionCues) -> Foreground:
        """Find what moves by itself.

        Where the memory of a graphics card is used up, the CPU goes on.
        """
        try:
            return self._foreground(image, cues)
        except RuntimeError as error:
            if self._device.type == "cpu" or not is_out_of_memory(error):
                raise
        _log.warning("The memory of the graphics card was used up, so the rest was computed on the CPU.")
        self._device = torch.device("cpu")
        self._dtype = inference_dtype(self._device)
        for network in (self._backbone, self._network):
            channels_last(network, self._device)
        return self._foreground(image, cues)

    def _foreground(self, image: np.ndarray, cues: MotionCues) -> Foreground:
        pixels = torch.from_numpy(image).to(self._device).permute(2, 0, 1)[None].float() / 255
        channels = torch.from_numpy(cue_channels(cues)).to(self._device)[None].float()
        with (
            torch.inference_mode(),
            autocast(self._device, self._dtype),
        ):
            features = self._backbone(pixels.contiguous(memory_format=torch.channels_last))
            logits = self._network(channels.contiguous(memory_format=torch.channels_last), features)
        probability = logits.float().sigmoid()[0, 0].cpu().numpy()
        full = cv2.resize(probability, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return Foreground(np.asarray(full, np.float32), features[_LOOKS_LEVEL][0].float().cpu().numpy())


def load_motion_network(device: torch.device) -> MotionForeground:
    """Load the packaged motion network.

    Raises
    ------
    FileNotFoundError
        If the package was built without weights.
    """
    backbone, network = Backbone(), MotionNetwork()
    load_part(backbone, "backbone", device)
    load_part(network, "motion", device)
    return MotionForeground(backbone, network, device)
