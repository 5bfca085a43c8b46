"""The building block of the built-in networks."""

from __future__ import annotations

from torch import nn


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
