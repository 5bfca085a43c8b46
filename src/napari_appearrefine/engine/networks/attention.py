"""Attention as the published networks use it: between other frames, between all tokens, and over slots."""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

HEADS = 8
_EXCLUDED = -1e9
FRAMES_A_STEP = 8
"""Frames whose queries are computed between two yields: few enough to cancel quickly, many enough to be fast."""


def grid(*lengths: int, device: torch.device | None = None) -> Tensor:
    """Return the coordinates of a grid: (product of lengths, number of axes), each axis from -1 to 1 inclusive."""
    axes = [torch.linspace(-1, 1, length, device=device) for length in lengths]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


class Position(nn.Module):
    """A learned linear embedding of coordinates.

    Parameters
    ----------
    axes : int
        Coordinates a point has.
    channels : int
        Channels of the embedding.
    """

    def __init__(self, axes: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(axes, channels)

    def forward(self, *lengths: int) -> Tensor:
        """Embed every point of a grid: (product of lengths, channels)."""
        return self.proj(grid(*lengths, device=self.proj.weight.device))  # type: ignore[no-any-return]


class DeviationNorm(nn.Module):
    """Layer norm that divides by (unbiased standard deviation + 1e-5) instead of sqrt(variance + eps)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalise over the last axis."""
        deviation, mean = torch.std_mean(tokens, dim=-1, keepdim=True)
        return self.weight * (tokens - mean) / (deviation + 1e-5) + self.bias


class Attention(nn.Module):
    """Multi-head attention between all tokens; base of the other two kinds.

    The rows of ``in_proj_weight`` are queries, keys, values; heads split the channels in blocks.

    Parameters
    ----------
    channels : int
        Channels of tokens, keys and values; a multiple of 8, the number of heads.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * channels))
        self.out_proj = nn.Linear(channels, channels)

    def _project(self, tokens: Tensor, part: int) -> Tensor:
        channels = tokens.shape[-1]
        rows = slice(part * channels, (part + 1) * channels)
        projected = F.linear(tokens, self.in_proj_weight[rows], self.in_proj_bias[rows])
        return rearrange(projected, "k (h c) -> h k c", h=HEADS)

    def queries(self, tokens: Tensor) -> Tensor:
        """Project (K, channels) tokens to (heads, K, channels / heads) queries."""
        return self._project(tokens, 0)

    def keys_and_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Project (K, channels) tokens to keys and values, (heads, K, channels / heads) each."""
        return self._project(tokens, 1), self._project(tokens, 2)

    def join(self, mixed: Tensor) -> Tensor:
        """Join the heads, (heads, K, channels / heads) to (K, channels), through the output projection."""
        return self.out_proj(rearrange(mixed, "h k c -> k (h c)"))  # type: ignore[no-any-return]

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        """Let (Q, channels) tokens attend to (K, channels) others."""
        keys, values = self.keys_and_values(others)
        mixed = F.scaled_dot_product_attention(self.queries(tokens)[None], keys[None], values[None])
        return self.join(mixed[0])


class OtherFramesAttention(Attention):
    """Self-attention in which a token sees every token except those of its own frame."""

    def steps(self, tokens: Tensor, frames: int) -> Generator[None, None, Tensor]:
        """Compute the attention, giving way after every few frames.

        Memory grows with the number of tokens, not with its square: queries go frame by frame, and
        as attention does not depend on the order of the keys, the keys of "every other frame" are one
        contiguous run of the keys written twice in a row. No mask is needed and nothing is copied.

        Parameters
        ----------
        tokens : Tensor
            (frames * tokens a frame, channels), frame by frame.
        frames : int
            Number of frames.

        Returns
        -------
        Tensor
            Of the shape of ``tokens``.
        """
        keys, values = (part.repeat(1, 2, 1)[None] for part in self.keys_and_values(tokens))
        queries = self.queries(tokens)[None]
        size = len(tokens) // frames
        mixed = torch.empty_like(queries)
        for frame in range(frames):
            own = slice(frame * size, (frame + 1) * size)
            if frames == 1:
                # Softmax of equal scores (-1e9 each) is what the published formula gives when all are excluded.
                mixed[:, :, own] = values[:, :, :size].mean(dim=2, keepdim=True)
            else:
                other = slice((frame + 1) * size, (frame + frames) * size)
                mixed[:, :, own] = F.scaled_dot_product_attention(
                    queries[:, :, own], keys[:, :, other], values[:, :, other]
                )
            if (frame + 1) % FRAMES_A_STEP == 0 or frame + 1 == frames:
                yield
        return self.join(mixed[0])


class SlotAttention(Attention):
    """Attention in which the queries compete for each key.

    Softmax over all queries for each key and head, then each query's weights divided by their sum
    over the keys (Locatello et al., "Object-Centric Learning with Slot Attention", NeurIPS 2020).
    """

    def attend(self, tokens: Tensor, keys: Tensor, values: Tensor, excluded: Tensor) -> Tensor:
        """Let tokens attend to keys and values that are projected already.

        Parameters
        ----------
        tokens : Tensor
            (Q, channels).
        keys, values : Tensor
            (heads, K, channels / heads).
        excluded : Tensor
            (K, Q) bool, the pairs that must not meet.

        Returns
        -------
        Tensor
            (Q, channels); a query with no key left gets the projection of zero.
        """
        queries = self.queries(tokens)
        # Keys first, so that the softmax runs along memory; the sum over keys divides their mixture, which
        # is far smaller than the weights.
        scores = keys @ (queries / math.sqrt(queries.shape[-1])).transpose(1, 2)
        weights = scores.masked_fill_(excluded, _EXCLUDED).softmax(dim=2)
        mixed = weights.transpose(1, 2) @ values
        return self.join(mixed / weights.sum(dim=1).clamp_min(1e-12)[..., None])


class EncoderLayer(nn.Module):
    """Post-norm transformer layer over the tokens of all frames, each seeing the other frames.

    Parameters
    ----------
    channels : int
        Channels of tokens and of the feed-forward layer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = DeviationNorm(channels)
        self.norm2 = DeviationNorm(channels)
        self.self_attn = OtherFramesAttention(channels)
        self.linear1 = nn.Linear(channels, channels)
        self.linear2 = nn.Linear(channels, channels)

    def steps(self, tokens: Tensor, frames: int) -> Generator[None, None, Tensor]:
        """Map (frames * tokens a frame, channels) to the same shape, giving way after every few frames."""
        mixed = yield from self.self_attn.steps(tokens, frames)
        tokens = self.norm1(tokens + mixed)
        return self.norm2(tokens + self.linear2(F.relu(self.linear1(tokens))))  # type: ignore[no-any-return]


class _Layers(nn.Module):
    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(channels) for _ in range(layers))


class ClipTransformer(nn.Module):
    """Position in (t, y, x), then three encoder layers over all frames of a clip.

    Parameters
    ----------
    channels : int
        Channels of the tokens.
    """

    def __init__(self, channels: int, layers: int = 3) -> None:
        super().__init__()
        self.encoder_positime = Position(3, channels)
        self.transformer_encoder = _Layers(channels, layers)

    def number_of_steps(self, frames: int) -> int:
        """Return how often :meth:`steps` gives way."""
        return len(self.transformer_encoder.layers) * math.ceil(frames / FRAMES_A_STEP)

    def steps(self, tokens: Tensor) -> Generator[None, None, Tensor]:
        """Relate the tokens of all frames: (T, channels, h, w) to the same shape, giving way after every few frames."""
        frames, _, rows, columns = tokens.shape
        flat: Tensor = rearrange(tokens, "t c y x -> (t y x) c") + self.encoder_positime(frames, rows, columns)
        for layer in self.transformer_encoder.layers:
            assert isinstance(layer, EncoderLayer)
            flat = yield from layer.steps(flat, frames)
        return rearrange(flat, "(t y x) c -> t c y x", t=frames, y=rows)
