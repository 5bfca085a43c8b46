"""The published corrector: repairs the masks of seven frames from the appearance of exemplars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import Tensor, nn

from . import vit
from .attention import HEADS, Attention, DeviationNorm, Position, SlotAttention, grid
from .unet import UNetDecoder, UNetEncoder

OBJECTS = 3
SLOTS = 4
WINDOW = 7
_BASE, _LEVELS = 64, 4
_CHANNELS = vit.CHANNELS
_MIXED = _BASE * 2 ** (_LEVELS - 1)


@dataclass(frozen=True)
class ObjectExemplars:
    """The exemplars of one object.

    Parameters
    ----------
    frames : Tensor
        (N,) int64 index in the clip.
    scores : Tensor
        (N,) float32 the selector's.
    masks : Tensor
        (N, H, W) float32 of 0 and 1.
    dino8 : Tensor
        (N, h * w, 384) float32.
    """

    frames: Tensor
    scores: Tensor
    masks: Tensor
    dino8: Tensor


@dataclass(frozen=True)
class Memory:
    """All that a window needs of the exemplars of three objects; the same for every window of a clip.

    Parameters
    ----------
    queries : Tensor
        (3, 384) mean feature of each object.
    frames : Tensor
        (K,) int64 frame that each key comes from.
    keys_and_values : list of tuple of Tensor
        For each layer, (heads, K, channels a head) keys and values.
    """

    queries: Tensor
    frames: Tensor
    keys_and_values: list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Corrected:
    """What the corrector says about a window.

    Parameters
    ----------
    logits : Tensor
        (wanted, 3, H, W) of each object's mask.
    queries : Tensor
        (7, 7, 384) the 3 object and 4 background queries of each frame, as (query, frame, channel).
    """

    logits: Tensor
    queries: Tensor


class _DecoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = DeviationNorm(_CHANNELS)
        self.norm2 = DeviationNorm(_CHANNELS)
        self.norm3 = DeviationNorm(_CHANNELS)
        self.norm4 = DeviationNorm(_CHANNELS)
        self.norm5 = DeviationNorm(_CHANNELS)
        self.self_attn = Attention(_CHANNELS)
        self.multihead_attn = SlotAttention(_CHANNELS)
        self.linear1 = nn.Linear(_CHANNELS, _CHANNELS)
        self.linear2 = nn.Linear(_CHANNELS, _CHANNELS)
        self.multihead_attn2 = SlotAttention(_CHANNELS)
        self.linear2_1 = nn.Linear(_CHANNELS, _CHANNELS)
        self.linear2_2 = nn.Linear(_CHANNELS, _CHANNELS)

    def forward(
        self, queries: Tensor, target: Tensor, own: Tensor, exemplars: tuple[Tensor, Tensor], same: Tensor
    ) -> Tensor:
        queries = self.norm1(queries + self.self_attn(queries, queries))
        seen = self.multihead_attn.attend(queries, *self.multihead_attn.keys_and_values(target), own)
        queries = self.norm2(queries + seen)
        queries = self.norm3(queries + self.linear2(F.relu(self.linear1(queries))))
        queries = self.norm4(queries + self.multihead_attn2.attend(queries, *exemplars, same))
        return self.norm5(queries + self.linear2_2(F.relu(self.linear2_1(queries))))  # type: ignore[no-any-return]


class _Layers(nn.Module):
    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_DecoderLayer() for _ in range(layers))


class _HeatMap(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(HEADS, _MIXED), nn.ReLU())


class _QueryDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slots_embedding = nn.Embedding(SLOTS, _CHANNELS)
        self.encoder_querytime = Position(2, _CHANNELS)
        self.encoder_positime = Position(3, _CHANNELS)
        self.transformer_decoder = _Layers()
        self.heatmap = _HeatMap()


class _GlobalCorrector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transdec = _QueryDecoder()
        self.encoder_posi = Position(2, _CHANNELS)
        self.mlp = nn.Sequential(nn.Linear(_CHANNELS, _CHANNELS), nn.ReLU())
        self.mlp_feat = nn.Linear(_CHANNELS, _CHANNELS)  # unused at inference; in every released checkpoint
        self.mlp_mask1 = nn.Sequential(nn.Linear(_CHANNELS, _MIXED), nn.ReLU())
        self.mlp_mask2 = nn.Linear(_MIXED, 1)


class _FrameEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder_rgbmask = UNetEncoder(3, _BASE, _LEVELS, mask_channels=OBJECTS)
        self.encoder_posi = Position(2, _CHANNELS)
        self.encoder_queryinfo = Position(1, _CHANNELS)


class _MaskDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder_m = UNetDecoder(_BASE, _LEVELS - 1)
        self.mlp_mix = nn.Linear(OBJECTS * _MIXED, _MIXED)


class Corrector(nn.Module):
    """The corrector: exemplars of three objects once, then any number of windows of seven frames.

    Source: "Appearance-Based Refinement for Object-Centric Motion Segmentation" (ECCV 2024).
    """

    def __init__(self) -> None:
        super().__init__()
        self.rgbmaskenc = _FrameEncoder()
        self.rgbglobalcorrector = _GlobalCorrector()
        self.rgbmaskdec = _MaskDecoder()

    def remember(self, objects: Sequence[ObjectExemplars], size: tuple[int, int]) -> Memory:
        """Prepare the exemplars of three objects.

        Parameters
        ----------
        objects : sequence of ObjectExemplars
            Three; an object that is not there has empty masks.
        size : tuple of int
            Rows and columns of the DINO/8 features.
        """
        encoder = self.rgbmaskenc
        coordinates = grid(OBJECTS + SLOTS, device=encoder.encoder_posi.proj.weight.device)[:OBJECTS]
        tokens = []
        for coordinate, exemplars in zip(coordinates, objects, strict=True):
            masks = F.interpolate(exemplars.masks[:, None], size=size, mode="bilinear", align_corners=False) > 0.5
            inside = rearrange(masks, "n 1 y x -> n (y x) 1").to(exemplars.dino8.dtype)
            marked = inside * encoder.encoder_queryinfo.proj(coordinate)
            tokens.append(exemplars.dino8 + encoder.encoder_posi(*size) + marked)
        keys = torch.cat([rearrange(each, "n k c -> (n k) c") for each in tokens])
        frames = torch.cat([each.frames for each in objects])
        return Memory(
            queries=torch.stack([_object_query(each, size) for each in objects]),
            frames=repeat(frames, "n -> (n k)", k=size[0] * size[1]),
            keys_and_values=[layer.multihead_attn2.keys_and_values(keys) for layer in self._layers()],
        )

    def forward(
        self, rgb: Tensor, masks: Tensor, dino8: Tensor, frames: Tensor, memory: Memory, wanted: int = WINDOW
    ) -> Corrected:
        """Correct the masks of one window.

        Parameters
        ----------
        rgb : Tensor
            (7, 3, H, W) normalised frames.
        masks : Tensor
            (7, 3, H, W) float32 of 0 and 1, one plane an object.
        dino8 : Tensor
            (7, h * w, 384).
        frames : Tensor
            (7,) int64 index in the clip.
        memory : Memory
            The exemplars.
        wanted : int
            Decode only this many frames, from the first: the others take part, but a later window
            decodes them again, or they are repeats that pad a short clip.
        """
        times, rows, columns = len(rgb), rgb.shape[2] // 8, rgb.shape[3] // 8
        decoder = self.rgbglobalcorrector.transdec
        target = rearrange(dino8, "t k c -> (t k) c") + decoder.encoder_positime(times, rows, columns)
        starts = torch.cat([memory.queries, decoder.slots_embedding.weight])
        queries = repeat(starts, "q c -> (q t) c", t=times) + decoder.encoder_querytime(len(starts), times)

        window = torch.arange(times, device=rgb.device)
        own = _pairs_of_the_same(window, window.repeat_interleave(rows * columns), len(starts))
        same = _pairs_of_the_same(frames, memory.frames, len(starts))
        for layer, exemplars in zip(self._layers(), memory.keys_and_values, strict=True):
            queries = layer(queries, target, own, exemplars, same)
        queries = rearrange(queries, "(q t) c -> q t c", t=times)
        target = rearrange(target, "(t y x) c -> t y x c", t=times, y=rows)
        logits = self._masks(rgb[:wanted], masks[:wanted], queries[:OBJECTS, :wanted], target[:wanted])
        return Corrected(logits, queries)

    def semantic_probabilities(self, queries: Tensor, size: tuple[int, int]) -> Tensor:
        """Spread every query over space: (7, T, 384) to probabilities (T, 7, H, W), objects first, then background.

        Parameters
        ----------
        queries : Tensor
            As in :class:`Corrected`.
        size : tuple of int
            H and W.
        """
        parts = self.rgbglobalcorrector
        rows, columns = size[0] // 8, size[1] // 8
        spread = queries[:, :, None] + parts.encoder_posi(rows, columns)
        logits = parts.mlp_mask2(parts.mlp_mask1(parts.mlp(spread)))
        coarse = rearrange(logits, "q t (y x) 1 -> t q y x", y=rows).softmax(dim=1)
        return F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)

    def _layers(self) -> list[_DecoderLayer]:
        return list(self.rgbglobalcorrector.transdec.transformer_decoder.layers)  # type: ignore[arg-type]

    def _masks(self, rgb: Tensor, masks: Tensor, queries: Tensor, target: Tensor) -> Tensor:
        per_head = einsum(
            rearrange(queries, "q t (h c) -> q t h c", h=HEADS),
            rearrange(target, "t y x (h c) -> t y x h c", h=HEADS),
            "q t h c, t y x h c -> t y x q h",
        )
        maps = rearrange(self.rgbglobalcorrector.transdec.heatmap.mlp(per_head), "t y x q c -> t y x (q c)")
        mixed = rearrange(self.rgbmaskdec.mlp_mix(maps), "t y x c -> t c y x")
        logits = []
        # One frame at a time: frames are independent here, and the finest level takes 15 MB a frame and tensor.
        for frame in range(len(rgb)):
            part = slice(frame, frame + 1)
            # The released network also has a bottleneck level, whose output nothing uses.
            skips = self.rgbmaskenc.encoder_rgbmask(rgb[part], masks[part], levels=_LEVELS - 1)
            logits.append(self.rgbmaskdec.decoder_m(mixed[part], skips))
        return torch.cat(logits)


def _object_query(exemplars: ObjectExemplars, size: tuple[int, int]) -> Tensor:
    masks = rearrange(F.interpolate(exemplars.masks[:, None], size=size, mode="nearest"), "n 1 y x -> n (y x) 1")
    means = (masks * exemplars.dino8).sum(dim=1) / (masks.sum(dim=1) + 1e-12)
    weights = exemplars.scores / (exemplars.scores.sum() + 1e-12)
    return (weights[:, None] * means).sum(dim=0)


def _pairs_of_the_same(times: Tensor, keys: Tensor, queries: int) -> Tensor:
    """Return (K, Q) bool: which keys are of the time of which query, for queries in the order (query, time)."""
    return (keys[:, None] == times).repeat(1, queries)
