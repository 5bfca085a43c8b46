"""The building block of the built-in networks, and how its results grow."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Sequential):
    """Two 3 x 3 convolutions with group norm and ReLU, (b, inputs, h, w) to (b, outputs, h, w)."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        groups = max(outputs // 12, 1)
        while outputs % groups:
            groups -= 1
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False),
            nn.GroupNorm(groups, outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(groups, outputs),
            nn.ReLU(inplace=True),
        )


def grow(x: Tensor, like: Tensor) -> Tensor:
    """Interpolate planes (b, c, h, w) to the height and width of others."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
