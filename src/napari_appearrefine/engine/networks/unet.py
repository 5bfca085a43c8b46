"""The U-Net encoder and decoder that selector, corrector and OCLR share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

_NORM_EPSILON = 1e-5


class _InstanceNorm(nn.Module):
    """InstanceNorm without parameters, that keeps the layout of channels last on a CPU.

    torch's own copies such images to and fro; its batch norm does not, but sums in a way that is off by 1e-3
    where a channel is nearly constant, as it is over an empty mask.
    """

    def forward(self, images: Tensor) -> Tensor:
        if images.device.type != "cpu" or not images.is_contiguous(memory_format=torch.channels_last):
            return F.instance_norm(images, eps=_NORM_EPSILON)
        # In place, like the activation that follows: nothing else reads what a convolution gave.
        rows = rearrange(images, "b c y x -> b (y x) c").float()
        rows -= rows.mean(dim=1, keepdim=True)
        rows *= (rows.square().mean(dim=1, keepdim=True) + _NORM_EPSILON).rsqrt()
        return rearrange(rows.to(images.dtype), "b (y x) c -> b c y x", y=images.shape[2])


class ConvBlock(nn.Module):
    """Twice: 3x3 convolution without bias, InstanceNorm without parameters, LeakyReLU(0.01).

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    name : str
        What the parameter names of the two convolutions start with.
    """

    def __init__(self, inputs: int, outputs: int, name: str) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for index, channels in ((1, inputs), (2, outputs)):
            layers[f"{name}conv{index}"] = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
            layers[f"{name}norm{index}"] = _InstanceNorm()
            layers[f"{name}relu{index}"] = nn.LeakyReLU(0.01, inplace=True)
        self.conv_block = nn.Sequential(layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        return self.conv_block(images)  # type: ignore[no-any-return]


class UNetEncoder(nn.Module):
    """Levels of blocks with 2x2 max pooling between them.

    Parameters
    ----------
    image_channels : int
        Channels of the image, or of the flow.
    base : int
        Channels of level 1; each further level has twice as many.
    levels : int
        Levels with the last one, which is called the bottleneck.
    mask_channels : int
        Channels of a mask that enters through a block of its own; 0 for none.
    """

    def __init__(self, image_channels: int, base: int, levels: int, mask_channels: int = 0) -> None:
        super().__init__()
        if mask_channels:
            self.encoder1_rgb = ConvBlock(image_channels, base, "enc1_r")
            self.encoder1_mask = ConvBlock(mask_channels, base, "enc1_m")
        self.encoder1 = ConvBlock(2 * base if mask_channels else image_channels, base, "enc1")
        names = [f"enc{level}" for level in range(2, levels)] + ["bottleneck"]
        for exponent, name in enumerate(names):
            module = name.replace("enc", "encoder")
            self.add_module(module, ConvBlock(base * 2**exponent, base * 2 ** (exponent + 1), name))
        self._deeper = [name.replace("enc", "encoder") for name in names]

    def forward(self, image: Tensor, mask: Tensor | None = None, levels: int | None = None) -> list[Tensor]:
        """Encode images, with a mask if the encoder was made for one.

        Parameters
        ----------
        image : Tensor
            (B, image_channels, H, W); H and W must halve evenly at each level.
        mask : Tensor, optional
            (B, mask_channels, H, W) of 0 and 1.
        levels : int, optional
            How many levels to compute; all by default.

        Returns
        -------
        list of Tensor
            Output of each level, finest first.
        """
        if mask is not None:
            image = torch.cat([self.encoder1_rgb(image), self.encoder1_mask(mask)], dim=1)
        outputs = [self.encoder1(image)]
        for name in self._deeper[: None if levels is None else levels - 1]:
            outputs.append(self.get_submodule(name)(F.max_pool2d(outputs[-1], 2)))
        return outputs


class UNetDecoder(nn.Module):
    """Transposed convolutions back to full size, each joined with the encoder's output of that size.

    Parameters
    ----------
    base : int
        Channels at full size.
    levels : int
        How often the size doubles; the input has ``base * 2**levels`` channels.
    outputs : int
        Channels of the result.
    """

    def __init__(self, base: int, levels: int, outputs: int = 3) -> None:
        super().__init__()
        self._levels = levels
        for level in range(levels, 0, -1):
            coarse, fine = base * 2**level, base * 2 ** (level - 1)
            self.add_module(f"upconv{level}", nn.ConvTranspose2d(coarse, fine, 2, stride=2))
            self.add_module(f"decoder{level}", ConvBlock(coarse, fine, f"dec{level}"))
        self.conv = nn.Conv2d(base, outputs, 1)

    def forward(self, coarse: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Decode (B, base * 2**levels, h, w) with the encoder's levels, finest first, to (B, outputs, H, W) logits."""
        for level in range(self._levels, 0, -1):
            upsampled = self.get_submodule(f"upconv{level}")(coarse)
            coarse = self.get_submodule(f"decoder{level}")(torch.cat([upsampled, skips[level - 1]], dim=1))
        return self.conv(coarse)  # type: ignore[no-any-return]
