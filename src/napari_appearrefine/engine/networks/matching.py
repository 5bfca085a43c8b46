"""The built-in refinement network: match a frame against exemplars, then draw the mask from the frame's own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import LEVEL_CHANNELS
from .blocks import Block, grow

KEY_CHANNELS = 64
KEY_STRIDE = 8
TEMPERATURES = (0.1, 0.025)
MATCH_CHANNELS = 3 * len(TEMPERATURES)
_FLOOR = 1e-6
_RESPONSES_AT_ONCE = 1 << 17
_FEW_COLUMNS = 8


@dataclass(frozen=True)
class Memory:
    """What the exemplars of one or more objects look like.

    Parameters
    ----------
    keys : Tensor
        (m, 64) unit vectors, one a position of an exemplar.
    inside, outside : Tensor
        (m, o) weights: how much each position counts as object ``o``, and as not ``o``.
    frames : Tensor
        (m,) int64, the frame that each position comes from.
    """

    keys: Tensor
    inside: Tensor
    outside: Tensor
    frames: Tensor


def match(queries: Tensor, keys: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """Compare every position of a frame with every remembered position, for all objects at once.

    At a coarse and a fine temperature s, the evidence for a set of positions with weights w is
    ``s * log sum_i w_i exp((similarity_i - 1) / s)``, a soft maximum of the similarity. Cost and
    memory are those of one product for all objects, whatever their number.

    Parameters
    ----------
    queries : Tensor
        (..., p, c) unit vectors.
    keys : Tensor
        (..., m, c) unit vectors.
    inside, outside : Tensor
        (..., m, o) non-negative weights.

    Returns
    -------
    Tensor
        (..., o, 6, p) float32: for each temperature the share of the inside among all matches in
        0..1, the evidence inside and the evidence outside.
    """
    sums = _responses(queries, keys, torch.cat([inside, outside], -1))
    return _maps([each.chunk(2, -1) for each in sums])


def match_by_frame(queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """Compare a frame with one object's memory, and let each remembered frame vote on where the object is.

    A frame's vote at a position is the share of the inside among what resembles it there, at the fine temperature.
    So what most frames agree on decides, however well a single wrong one resembles this frame.

    Parameters
    ----------
    queries : Tensor
        (p, c) unit vectors.
    memory : Memory
        What is remembered of one object.

    Returns
    -------
    maps : Tensor
        (1, 6, p) float32 as of :func:`match`.
    votes : Tensor
        (p,) float32 from 0 to 1: mean vote of the frames in which the object is, by how much they count.
    """
    frames, origin = torch.unique(memory.frames, return_inverse=True)
    of_frame = F.one_hot(origin, len(frames)).float()
    inside, outside = memory.inside * of_frame, memory.outside * of_frame
    sums = [each.chunk(2, -1) for each in _responses(queries, memory.keys, torch.cat([inside, outside], -1))]
    maps = _maps([(within.sum(-1, keepdim=True), without.sum(-1, keepdim=True)) for within, without in sums])
    within, without = sums[-1]
    weights = (inside + outside).sum(0) * (inside.sum(0) > 0)
    votes = (within + _FLOOR) / (within + without + 2 * _FLOOR)
    return maps, (votes @ weights) / weights.sum()


def _responses(queries: Tensor, keys: Tensor, weights: Tensor) -> list[Tensor]:
    """Return for each temperature the weighted sums of ``exp((similarity - 1) / temperature)``, (..., p, columns)."""
    # A few rows at a time stay in the processor's cache: three times as quick as all at once.
    rows = max(_RESPONSES_AT_ONCE // keys.shape[-2], 1)
    parts = [_responses_of_rows(part, keys, weights) for part in queries.split(rows, -2)]
    return [torch.cat(each, -2) for each in zip(*parts, strict=True)]


def _responses_of_rows(queries: Tensor, keys: Tensor, weights: Tensor) -> list[Tensor]:
    first = TEMPERATURES[0]
    # In place: memory that is taken anew for every step costs as much as the arithmetic.
    coarse = ((queries / first) @ keys.transpose(-1, -2)).float().sub_(1 / first).exp_()
    evidence = _weighted(coarse, weights)
    # exp(x / 0.025) is the fourth power of exp(x / 0.1): two squarings instead of another exp.
    fine = coarse.square().square() if coarse.requires_grad else coarse.square_().square_()
    return [evidence, _weighted(fine, weights)]


def _weighted(responses: Tensor, weights: Tensor) -> Tensor:
    if weights.shape[-1] > _FEW_COLUMNS:
        return responses @ weights
    # The product of few columns takes half the time where they come first.
    columns = weights.transpose(-1, -2).contiguous()
    return (columns @ responses.transpose(-1, -2)).transpose(-1, -2)


def _maps(sums: Sequence[tuple[Tensor, ...]]) -> Tensor:
    """Turn sums (..., p, o) inside and outside at each temperature into the maps of :func:`match`."""
    maps = []
    for temperature, (within, without) in zip(TEMPERATURES, sums, strict=True):
        within, without = within + _FLOOR, without + _FLOOR
        maps += [within / (within + without), temperature * within.log(), temperature * without.log()]
    return torch.stack(maps, -3).movedim(-1, -3)


class MatchingNetwork(nn.Module):
    """Keys for matching, and a U-Net that turns matches, the frame's rough mask and its pixels into a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.key_8 = nn.Conv2d(LEVEL_CHANNELS[2], KEY_CHANNELS, 1)
        self.key_16 = nn.Conv2d(LEVEL_CHANNELS[3], KEY_CHANNELS, 1)
        self.key_32 = nn.Conv2d(LEVEL_CHANNELS[4], KEY_CHANNELS, 1)
        self.key_context = nn.Sequential(
            nn.Conv2d(KEY_CHANNELS, 96, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(96, KEY_CHANNELS, 3, padding=1)
        )
        self.image_2 = nn.Conv2d(LEVEL_CHANNELS[0], 12, 1)
        self.image_4 = nn.Conv2d(LEVEL_CHANNELS[1], 24, 1)
        self.image_8 = nn.Conv2d(LEVEL_CHANNELS[2], 32, 1)
        self.image_16 = nn.Conv2d(LEVEL_CHANNELS[3], 64, 1)
        self.image_32 = nn.Conv2d(LEVEL_CHANNELS[4], 64, 1)
        self.down_8 = Block(32 + MATCH_CHANNELS + 2, 80)
        self.down_16 = Block(80 + 64, 112)
        self.down_32 = Block(112 + 64, 128)
        self.up_16 = Block(128 + 112, 96)
        self.up_8 = Block(96 + 80, 64)
        self.up_4 = Block(64 + 24 + 2, 40)
        self.up_2 = Block(40 + 12 + 2, 24)
        self.output_2 = nn.Conv2d(24, 1, 1)
        self.edge = nn.Sequential(
            nn.Conv2d(24 + 3 + 2, 12, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(12, 1, 3, padding=1)
        )

    def keys(self, features: list[Tensor]) -> Tensor:
        """Return unit vectors (b, 64, h / 8, w / 8) whose products measure likeness, from strides 8, 16 and 32."""
        eighth, *coarser = features
        keys = self.key_8(eighth)
        for level, projection in zip(coarser, (self.key_16, self.key_32), strict=True):
            keys = keys + F.interpolate(projection(level), size=eighth.shape[-2:], mode="bilinear", align_corners=False)
        keys = keys + self.key_context(keys)
        return F.normalize(keys.float(), dim=1)

    def image_levels(self, features: list[Tensor]) -> list[Tensor]:
        """Project the pyramid (strides 2 to 32) once, for any number of objects."""
        projections = (self.image_2, self.image_4, self.image_8, self.image_16, self.image_32)
        return [projection(level) for projection, level in zip(projections, features, strict=True)]

    def forward(self, image: Tensor, levels: list[Tensor], matches: Tensor, masks: Tensor) -> Tensor:
        """Draw the masks.

        Parameters
        ----------
        image : Tensor
            (b, 3, h, w) RGB in 0..1.
        levels : list of Tensor
            From :meth:`image_levels`, batch b.
        matches : Tensor
            (b, 6, h / 8, w / 8) from :func:`match`.
        masks : Tensor
            (b, 2, h, w) float: the rough mask of the object, which may be wrong, and those of all
            other objects.

        Returns
        -------
        Tensor
            (b, 1, h, w) logits.
        """
        at_2, at_4, at_8 = _reduced(masks)
        at_8 = _fitted(at_8, levels[2])
        eighth = self.down_8(torch.cat([levels[2], matches.to(levels[2].dtype), at_8.to(levels[2].dtype)], 1))
        sixteenth = self.down_16(torch.cat([_halve(eighth, levels[3]), levels[3]], 1))
        x = self.down_32(torch.cat([_halve(sixteenth, levels[4]), levels[4]], 1))
        x = self.up_16(torch.cat([grow(x, sixteenth), sixteenth], 1))
        x = self.up_8(torch.cat([grow(x, eighth), eighth], 1))
        x = self.up_4(torch.cat([grow(x, levels[1]), levels[1], at_4.to(x.dtype)], 1))
        x = self.up_2(torch.cat([grow(x, levels[0]), levels[0], at_2.to(x.dtype)], 1))
        coarse = grow(self.output_2(x), image)
        fine = self.edge(torch.cat([grow(x, image), image.to(x.dtype) - 0.5, masks.to(x.dtype)], 1))
        logits: Tensor = coarse + fine
        return logits


def _halve(x: Tensor, like: Tensor) -> Tensor:
    return _fitted(F.avg_pool2d(x, 2, ceil_mode=True), like)


def _fitted(x: Tensor, like: Tensor) -> Tensor:
    return x if x.shape[-2:] == like.shape[-2:] else F.interpolate(x, size=like.shape[-2:])


def _reduced(masks: Tensor) -> list[Tensor]:
    """Average masks over 2 x 2, 4 x 4 and 8 x 8 pixels, in their own layout."""
    # Planes this few are averaged in half the time where each lies in one piece.
    channels_last = masks.is_contiguous(memory_format=torch.channels_last)
    averages = [masks.contiguous()]
    for _ in range(3):
        averages.append(F.avg_pool2d(averages[-1], 2))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return [each.contiguous(memory_format=layout) for each in averages[1:]]
