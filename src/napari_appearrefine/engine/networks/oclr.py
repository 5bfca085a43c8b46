"""OCLR: from optical flow alone to the masks of three objects and their order in depth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import Tensor, nn

from ...core.events import run_to_end
from .attention import HEADS, Attention, ClipTransformer, DeviationNorm, Position
from .unet import UNetDecoder, UNetEncoder

QUERIES = 3
_BASE, _LEVELS = 32, 5
_CHANNELS = _BASE * 2 ** (_LEVELS - 1)


@dataclass(frozen=True)
class Layers:
    """The layers that OCLR sees in a group of frames.

    Parameters
    ----------
    amodal : Tensor
        (T, 3, H, W) float32 probability that an object is there, in front or hidden.
    order : Tensor
        (3,) float32; the object with the lowest value is in front.
    """

    amodal: Tensor
    order: Tensor


class _DecoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = DeviationNorm(_CHANNELS)
        self.norm2 = DeviationNorm(_CHANNELS)
        self.norm3 = DeviationNorm(_CHANNELS)
        self.self_attn = Attention(_CHANNELS)
        self.multihead_attn = Attention(_CHANNELS)
        self.linear1 = nn.Linear(_CHANNELS, _CHANNELS)
        self.linear2 = nn.Linear(_CHANNELS, _CHANNELS)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        queries = self.norm1(queries + self.self_attn(queries, queries))
        queries = self.norm2(queries + self.multihead_attn(queries, tokens))
        return self.norm3(queries + self.linear2(F.relu(self.linear1(queries))))  # type: ignore[no-any-return]


class _Stack(nn.Module):
    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_DecoderLayer() for _ in range(layers))


class _QueryDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transformer_decoder = _Stack()
        self.encoder_time = Position(1, _CHANNELS)
        self.motion_embed = nn.Embedding(QUERIES, _CHANNELS)

    def forward(self, tokens: Tensor, frames: int) -> Tensor:
        queries: Tensor = repeat(self.motion_embed.weight, "q c -> q t c", t=frames) + self.encoder_time(frames)
        queries = rearrange(queries, "q t c -> (q t) c")
        for layer in self.transformer_decoder.layers:
            queries = layer(queries, tokens)
        return rearrange(queries, "(q t) c -> q t c", t=frames)


class _HeatMap(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(QUERIES * HEADS, _CHANNELS), nn.ReLU())


class _ClassHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(_CHANNELS, _CHANNELS), nn.ReLU(), nn.Linear(_CHANNELS, 1))


class Oclr(nn.Module):
    """Flow to layered masks.

    Source: "Segmenting Moving Objects via an Object-Centric Layered Representation" (NeurIPS 2022).
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = UNetEncoder(4, _BASE, _LEVELS)
        self.transformer_enc = ClipTransformer(_CHANNELS)
        self.transformer_dec = _QueryDecoder()
        self.heatmap = _HeatMap()
        self.classhead = _ClassHead()
        self.decoder_am = UNetDecoder(_BASE, _LEVELS - 1, QUERIES)

    def forward(self, flow: Tensor) -> Layers:
        """Segment a group of frames.

        Parameters
        ----------
        flow : Tensor
            (T, 4, H, W) float32 in pixels of H x W: u and v to the next frame, u and v to the previous one.
        """
        frames = len(flow)
        # Frame by frame, as frames are independent but in the transformer, to keep the finest levels small.
        levels = [self.encoder(each) for each in flow[:, None]]
        tokens = run_to_end(self.transformer_enc.steps(torch.cat([each[-1] for each in levels])))
        queries = self.transformer_dec(rearrange(tokens, "t c y x -> (t y x) c"), frames)
        per_head = einsum(
            rearrange(queries, "q t (h c) -> q t h c", h=HEADS),
            rearrange(tokens, "t (h c) y x -> t y x h c", h=HEADS),
            "q t h c, t y x h c -> t y x q h",
        )
        maps = self.heatmap.mlp(rearrange(per_head, "t y x q h -> t y x (q h)"))
        coarse = rearrange(maps, "t y x c -> t c y x")
        logits = [self.decoder_am(coarse[t : t + 1], levels[t][:-1]) for t in range(frames)]
        order = self.classhead.mlp(queries.amax(dim=1))[:, 0]
        return Layers(torch.cat(logits).sigmoid(), order)


def modal_masks(layers: Layers) -> Tensor:
    """Resolve occlusion: (T, 3, H, W) bool, each pixel with the frontmost object that is there (> 0.5)."""
    amodal = layers.amodal > 0.5
    modal = torch.zeros_like(amodal)
    free = torch.ones_like(amodal[:, 0])
    for query in layers.order.argsort(stable=True).tolist():
        modal[:, query] = amodal[:, query] & free
        free &= ~amodal[:, query]
    return modal
