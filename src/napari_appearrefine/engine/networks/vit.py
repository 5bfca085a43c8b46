"""DINO's ViT-S, the published method's only source of appearance features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

CHANNELS = 384
_BLOCKS = 12
_HEADS = 6
_TRAINED_SIZE = 224  # pixels a side during DINO's training: sets the shape of the position table


class _PatchEmbedding(nn.Module):
    def __init__(self, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, CHANNELS, patch, stride=patch)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.proj = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, tokens: Tensor) -> Tensor:
        queries, keys, values = rearrange(self.qkv(tokens), "b k (s h c) -> s b h k c", s=3, h=_HEADS)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return self.proj(rearrange(mixed, "b h k c -> b k (h c)"))  # type: ignore[no-any-return]


class _FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(CHANNELS, 4 * CHANNELS)
        self.fc2 = nn.Linear(4 * CHANNELS, CHANNELS)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.attn = _Attention()
        self.norm2 = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.mlp = _FeedForward()

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))  # type: ignore[no-any-return]


class DinoViT(nn.Module):
    """ViT-S with the parameter names of DINO's public weights.

    Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers" (ICCV 2021).

    Parameters
    ----------
    patch : int
        Pixels a side of one token: 8 for the corrector's features, 16 for the selector's.
    """

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self._side = _TRAINED_SIZE // patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, CHANNELS))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self._side**2, CHANNELS))
        self.patch_embed = _PatchEmbedding(patch)
        self.blocks = nn.ModuleList(_Block() for _ in range(_BLOCKS))
        self.norm = nn.LayerNorm(CHANNELS, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the features of normalised images.

        Parameters
        ----------
        images : Tensor
            (B, 3, H, W) float32, H and W multiples of the patch.

        Returns
        -------
        Tensor
            (B, H * W / patch**2, 384): the last block's output after the final norm, row by row,
            without the class token.
        """
        patches = self.patch_embed.proj(images)
        tokens = rearrange(patches, "b c y x -> b (y x) c") + self._positions(*patches.shape[-2:])
        class_token = (self.cls_token + self.pos_embed[:, :1]).expand(len(images), -1, -1)
        tokens = torch.cat([class_token, tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, 1:]  # type: ignore[no-any-return]

    def _positions(self, rows: int, columns: int) -> Tensor:
        table = rearrange(self.pos_embed[:, 1:], "b (y x) c -> b c y x", y=self._side)
        # The 0.1 is DINO's guard against rounding; it also shifts the sampling points, so a plain target size differs.
        factors = ((rows + 0.1) / self._side, (columns + 0.1) / self._side)
        resized = F.interpolate(table, scale_factor=factors, mode="bicubic", align_corners=False)
        return rearrange(resized, "b c y x -> b (y x) c")
