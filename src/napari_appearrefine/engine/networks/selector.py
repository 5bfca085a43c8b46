"""The published selector: predicts where each mask of one object is wrong, seeing all frames together."""

from __future__ import annotations

from collections.abc import Generator

import torch
from einops import rearrange
from torch import Tensor, nn

from . import vit
from .attention import ClipTransformer
from .unet import UNetDecoder, UNetEncoder

_BASE, _LEVELS = 16, 5
_CHANNELS = _BASE * 2 ** (_LEVELS - 1)


class _Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = UNetEncoder(3, _BASE, _LEVELS, mask_channels=1)
        self.mlp = nn.Linear(_CHANNELS + vit.CHANNELS, _CHANNELS)
        self.transformer_enc = ClipTransformer(_CHANNELS)
        self.decoder = UNetDecoder(_BASE, _LEVELS - 1)


class Selector(nn.Module):
    """The selector in three parts, so that only the middle one needs the whole clip in memory.

    Source: "Appearance-Based Refinement for Object-Centric Motion Segmentation" (ECCV 2024).
    """

    def __init__(self) -> None:
        super().__init__()
        self.selector = _Body()

    def encode(self, rgb: Tensor, masks: Tensor) -> list[Tensor]:
        """Encode normalised frames (B, 3, H, W) with masks (B, 1, H, W) to five levels, finest first."""
        return self.selector.encoder(rgb, masks)  # type: ignore[no-any-return]

    def embed(self, bottleneck: Tensor, dino16: Tensor) -> Tensor:
        """Join the last level (B, 256, h, w) with DINO/16 features (B, h * w, 384) to (B, 256, h, w)."""
        rows = bottleneck.shape[2]
        tokens = torch.cat([rearrange(bottleneck, "b c y x -> b (y x) c"), dino16], dim=2)
        embedded: Tensor = self.selector.mlp(tokens)
        return rearrange(embedded, "b (y x) c -> b c y x", y=rows)

    def number_of_steps(self, frames: int) -> int:
        """Return how often :meth:`relate` gives way."""
        return self.selector.transformer_enc.number_of_steps(frames)

    def relate(self, embedded: Tensor) -> Generator[None, None, Tensor]:
        """Let the frames look at each other: (T, 256, h, w) to the same shape, giving way after every few frames."""
        return self.selector.transformer_enc.steps(embedded)

    def decode(self, related: Tensor, levels: list[Tensor]) -> Tensor:
        """Decode (B, 256, h, w) with what :meth:`encode` gave to the error map (B, 3, H, W), probabilities."""
        return self.selector.decoder(related, levels[:-1]).softmax(dim=1)  # type: ignore[no-any-return]


def error_sums(error_map: Tensor) -> Tensor:
    """Sum the error over all pixels: (B, 3, H, W) to (B,). Channels 0 and 2 are error, 1 is not."""
    summed = error_map.sum(dim=(2, 3))
    return summed[:, 0] + summed[:, 2]


def clip_scores(errors: Tensor, areas: Tensor) -> Tensor:
    """Turn error sums and mask areas (T,), in pixels of 128 x 224, into scores (T,) that sum to 1 over the clip."""
    return torch.softmax(-errors / (areas + 1), dim=0)
