"""The built-in motion network: residual flow and appearance of one frame to the probability of moving objects."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..motion_cues import GAPS, MotionCues
from .backbone import LEVEL_CHANNELS
from .blocks import Block, grow

_CAMERA_GAPS = (0, 2)
"""Places in ``GAPS``: one near and one far; the opposite gaps show the same camera turned round."""
CUE_CHANNELS = 3 * len(GAPS) + 2 + 2 * len(_CAMERA_GAPS)
_SIDEWAYS = [3 * gap for gap in range(len(GAPS))] + [CUE_CHANNELS - 2 * place for place in (2, 1)]
_FLOW_CHANNELS = (24, 32, 48, 64, 96)
_IMAGE_CHANNELS = (12, 16, 32, 64, 96)
_DECODER_CHANNELS = (24, 40, 64, 96)


def cue_channels(cues: MotionCues) -> np.ndarray:
    """Turn the motion of one frame into the network's input.

    For each gap the residual flow in units of the background's noise, compressed by asinh so that
    a running dog and a crawling snail look alike, and the inconsistency; then the texture and the
    logarithm of the noise at the first gap; then the camera's motion, near and far, in the same units: what
    stands nearer or farther than the rest moves along with it, and under a resting camera not at all.

    Returns
    -------
    ndarray
        (C, h / 2, w / 2) float16.
    """
    height, width = cues.size
    half = (width // 2, height // 2)
    channels = []
    for residual, missed, scale in zip(cues.residual, cues.inconsistency, cues.scale, strict=True):
        small = cv2.resize(residual, half, interpolation=cv2.INTER_AREA)
        channels += _compressed(small, scale)
        channels.append(np.log(1 + cv2.resize(missed, half, interpolation=cv2.INTER_AREA)))
    channels.append(np.log(1 + cv2.resize(cues.texture, half, interpolation=cv2.INTER_AREA)) * 0.5)
    channels.append(np.full(half[::-1], np.log(float(cues.scale[0]) + 0.05), np.float32))
    doubted = bool((cues.confidence < 1).any())
    for gap in _CAMERA_GAPS:
        camera = cues.flow[gap] - cues.residual[gap]
        if doubted:
            # Where flow is not believed, no motion of the camera is told from it either.
            camera *= cues.confidence[..., None]
        small = cv2.resize(camera, half, interpolation=cv2.INTER_AREA)
        channels += _compressed(small, cues.scale[gap])
    # NumPy takes ten times as long for it.
    return torch.from_numpy(np.stack(channels)).half().numpy()


def _compressed(flow: np.ndarray, noise: np.floating) -> list[np.ndarray]:
    """Return half the asinh of both components of a flow (h, w, 2), in units of the background's noise."""
    length = np.abs(flow) / np.float32(noise + 0.3)
    # NumPy's own asinh takes five times as long, and its log1p as its log.
    values = np.log(length + np.sqrt(length * length + 1)) * np.float32(0.5)
    return list(np.copysign(values, flow).transpose(2, 0, 1))


def mirror_cues(cues: Tensor) -> Tensor:
    """Mirror cue channels (b, c, h, w) left to right: the horizontal flow changes its sign."""
    flipped = cues.flip(-1).clone()
    flipped[:, _SIDEWAYS] *= -1
    return flipped


class MotionNetwork(nn.Module):
    """A U-Net over flow whose levels also see the image's features."""

    def __init__(self) -> None:
        super().__init__()
        inputs = CUE_CHANNELS
        self.flow_blocks = nn.ModuleList()
        for channels in _FLOW_CHANNELS:
            self.flow_blocks.append(Block(inputs, channels))
            inputs = channels
        self.image_blocks = nn.ModuleList(
            nn.Conv2d(features, channels, 1) for features, channels in zip(LEVEL_CHANNELS, _IMAGE_CHANNELS, strict=True)
        )
        self.decoder = nn.ModuleList()
        inputs = _FLOW_CHANNELS[-1] + _IMAGE_CHANNELS[-1]
        self.bottom = Block(inputs, 128, dilation=2)
        inputs = 128
        for level in (3, 2, 1, 0):
            outputs = _DECODER_CHANNELS[level]
            self.decoder.append(Block(inputs + _FLOW_CHANNELS[level] + _IMAGE_CHANNELS[level], outputs))
            inputs = outputs
        self.output = nn.Conv2d(inputs, 1, 1)

    def forward(self, cues: Tensor, features: list[Tensor]) -> Tensor:
        """Compute the logits of "a moving object is here".

        Parameters
        ----------
        cues : Tensor
            (b, C, h / 2, w / 2) from :func:`cue_channels`.
        features : list of Tensor
            The backbone's pyramid of the (b, 3, h, w) image.

        Returns
        -------
        Tensor
            (b, 1, h / 2, w / 2) logits.
        """
        flow_levels = []
        x = cues
        for level, block in enumerate(self.flow_blocks):
            x = block(F.avg_pool2d(x, 2, ceil_mode=True) if level else x)
            flow_levels.append(x)
        image_levels = [block(level) for block, level in zip(self.image_blocks, features, strict=True)]
        x = self.bottom(torch.cat([flow_levels[-1], image_levels[-1]], 1))
        for level, block in zip((3, 2, 1, 0), self.decoder, strict=True):
            flow = flow_levels[level]
            x = block(torch.cat([grow(x, flow), flow, image_levels[level]], 1))
        logits: Tensor = self.output(x)
        return logits
