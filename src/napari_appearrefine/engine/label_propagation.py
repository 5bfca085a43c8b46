"""Masks carried along by nearest neighbours in feature space: a corrector that needs no training.

The label propagation of DINO (Caron et al., ICCV 2021), which OCLR (Xie et al., NeurIPS 2022) uses to refine its
masks at test time, started from the exemplars and run forwards and backwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.events import FrameLabels, Progress
from ..core.parameters import RefineParameters
from .builtin import BuiltinModel
from .checkpoints import DINO8, load_network
from .flow import resize_frame, working_size
from .interface import ClipInputs, RefinementModel
from .merging import render_labels
from .networks.inputs import normalised
from .networks.vit import DinoViT
from .published import PublishedModel
from .reuse import bytes_of

PAST_FRAMES = 7
NEIGHBOURHOOD = 12
"""Positions, up and down and to both sides, within which a position looks for its like in another frame."""
TOP = 5
"""How many positions of all other frames decide together."""
TEMPERATURE = 0.1


@dataclass(frozen=True)
class Tokens:
    """Features of one frame to compare positions by.

    Parameters
    ----------
    vectors : Tensor
        (p, c) float32 unit vectors, row by row.
    grid : tuple of int
        Rows and columns.
    """

    vectors: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True)
class _Features:
    base: Any
    tokens: Tokens

    @property
    def nbytes(self) -> int:
        return bytes_of(self.base) + self.tokens.vectors.nbytes


@dataclass(frozen=True)
class _Carried:
    """The labels of one frame, (p, Q) float32, and how far away the exemplar is that they come from, (Q,)."""

    vectors: Tensor
    labels: Tensor
    distance: Tensor


class PropagationModel:
    """Judges masks as another model does, and repairs them by propagation from their exemplars.

    Parameters
    ----------
    judge : RefinementModel
        Whose scores choose the exemplars.
    tokens : callable
        A frame (Y, X, 3) uint8 and the judge's features of it, to the features to compare by.
    """

    def __init__(self, judge: RefinementModel, tokens: Callable[[np.ndarray, Any], Tokens]) -> None:
        self.name = f"{judge.name}, propagated"
        self.spreads_exemplars = judge.spreads_exemplars
        self.most_rounds = 1
        self._judge = judge
        self._tokens = tokens

    def fitted_to(self, size: tuple[int, int], areas: Mapping[int, np.ndarray]) -> PropagationModel:
        """Return the model with its judge fitted to a clip."""
        judge = self._judge.fitted_to(size, areas)
        return self if judge is self._judge else PropagationModel(judge, self._tokens)

    def features(self, image: np.ndarray) -> _Features:
        """Compute the judge's features and those to compare by."""
        base = self._judge.features(image)
        return _Features(base, self._tokens(image, base))

    def score(self, inputs: ClipInputs) -> Generator[Progress, None, np.ndarray]:
        """Judge every mask as the judge does."""
        return self._judge.score(_as_judged(inputs))

    def confirmed(self, inputs: ClipInputs, exemplars: Mapping[int, Sequence[int]]) -> Mapping[int, Sequence[int]]:
        """Judge exemplars as the judge does."""
        return self._judge.confirmed(_as_judged(inputs), exemplars)

    def correct(
        self, inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> Iterator[FrameLabels | Progress]:
        """Repair every frame, in order, once the masks have been carried backwards through the whole clip.

        A frame gets what reaches it from the exemplar before it and from the one after it, the
        nearer one having more say. In its exemplar frames an object keeps the mask it has.
        """
        length = len(inputs.clip)
        backward: dict[int, tuple[np.ndarray, Tensor]] = {}
        for frame, carried in self._carry(inputs, exemplars, reversed(range(length))):
            backward[frame] = carried.labels.cpu().numpy().astype(np.float16), carried.distance
            yield Progress("Carrying masks back", len(backward), length)
        for frame, carried in self._carry(inputs, exemplars, range(length)):
            labels, distance = backward.pop(frame)
            from_behind = torch.from_numpy(labels.astype(np.float32)).to(carried.labels.device)
            yield FrameLabels(frame, self._render(inputs, frame, exemplars, carried, from_behind, distance))

    def _carry(
        self, inputs: ClipInputs, exemplars: Mapping[int, Sequence[int]], order: Iterable[int]
    ) -> Iterator[tuple[int, _Carried]]:
        past: deque[_Carried] = deque(maxlen=PAST_FRAMES)
        anchors: dict[int, _Carried] = {}
        near: Tensor | None = None
        for frame in order:
            tokens: Tokens = inputs.features(frame).tokens
            near = _neighbourhood(tokens) if near is None else near
            carried = _propagated(tokens, list(past), anchors, near, len(inputs.object_ids))
            for slot, object_id in enumerate(inputs.object_ids):
                if frame in exemplars[object_id]:
                    carried.labels[:, slot] = _coverage(inputs, frame, object_id, tokens)
                    carried.distance[slot] = 0
                    anchors[slot] = carried
            past.append(carried)
            yield frame, carried

    def _render(
        self,
        inputs: ClipInputs,
        frame: int,
        exemplars: Mapping[int, Sequence[int]],
        ahead: _Carried,
        labels_behind: Tensor,
        distance_behind: Tensor,
    ) -> np.ndarray:
        say, say_behind = 1 / (1 + ahead.distance), 1 / (1 + distance_behind)
        joined = (ahead.labels * say + labels_behind * say_behind) / (say + say_behind).clamp_min(1e-9)
        grid = inputs.features(frame).tokens.grid
        planes = joined.T.reshape(-1, *grid).cpu().numpy()
        ids = inputs.object_ids
        labels = render_labels(dict(zip(ids, planes, strict=True)), inputs.clip.size)
        own = [object_id for object_id in ids if frame in exemplars[object_id]]
        for object_id, plane in zip(own, inputs.planes(frame, own), strict=True):
            labels[labels == object_id] = 0
            labels[plane] = object_id
        return labels


def propagation_model(
    judge: BuiltinModel | PublishedModel, parameters: RefineParameters, device: torch.device
) -> PropagationModel:
    """Let a model judge, and carry masks along by its features, or by DINO ViT-S/8's if those are given.

    Raises
    ------
    UserError
        If the file with DINO's weights is not what it should be.
    """
    if isinstance(judge, PublishedModel):
        return PropagationModel(judge, dino_tokens(judge.dino8, device))
    if parameters.dino8 is not None:
        return PropagationModel(judge, dino_tokens(load_network(DINO8, parameters.dino8, device), device))
    return PropagationModel(judge, _builtin_tokens)


def _as_judged(inputs: ClipInputs) -> ClipInputs:
    def prepare(frame: int) -> Callable[[], Any]:
        features = inputs.prepare_features(frame)
        return lambda: features().base

    return replace(inputs, prepare_features=prepare)


def _builtin_tokens(_image: np.ndarray, features: Any) -> Tokens:
    rows, columns = features.levels[2].shape[-2:]
    return Tokens(features.keys.float(), (rows, columns))


def dino_tokens(network: DinoViT, device: torch.device) -> Callable[[np.ndarray, Any], Tokens]:
    """Return what computes the features of DINO at the working size, one for each of its patches."""

    def tokens(image: np.ndarray, _base: Any) -> Tokens:
        small = resize_frame(image, working_size(image.shape[:2]))
        pixels = torch.from_numpy(normalised(small)).to(device)[None]
        grid = small.shape[0] // network.patch, small.shape[1] // network.patch
        return Tokens(F.normalize(network(pixels)[0], dim=1), grid)

    return tokens


def _neighbourhood(tokens: Tokens) -> Tensor:
    """Return which positions lie near each other, (p, p) bool."""
    rows, columns = tokens.grid
    device = tokens.vectors.device
    y = torch.arange(rows, device=device).repeat_interleave(columns)
    x = torch.arange(columns, device=device).repeat(rows)
    return ((y[:, None] - y).abs() <= NEIGHBOURHOOD) & ((x[:, None] - x).abs() <= NEIGHBOURHOOD)


def _propagated(
    tokens: Tokens, past: Sequence[_Carried], anchors: Mapping[int, _Carried], near: Tensor, objects: int
) -> _Carried:
    """Give every position the labels of its best likenesses in the past frames and in each object's exemplar."""
    vectors = tokens.vectors
    labels = torch.zeros(len(vectors), objects, device=vectors.device)
    distance = torch.full((objects,), float("inf"), device=vectors.device)
    # An exemplar that has left the past frames is looked at by its own object alone.
    older = {id(anchor): anchor for anchor in anchors.values() if all(anchor is not each for each in past)}
    context = [*past, *older.values()]
    if context:
        similarities, sources = zip(*(_best_matches(vectors, each.vectors, near) for each in context), strict=True)
        found = [each.labels[source] for each, source in zip(context, sources, strict=True)]
    for slot, anchor in anchors.items():
        usable = [
            place
            for place, each in enumerate(context)
            if each is anchor or (place < len(past) and torch.isfinite(each.distance[slot]))
        ]
        similarity = torch.cat([similarities[place] for place in usable], dim=1)
        value = torch.cat([found[place][:, :, slot] for place in usable], dim=1)
        best, where = similarity.topk(min(TOP, similarity.shape[1]), dim=1)
        labels[:, slot] = (torch.softmax(best / TEMPERATURE, dim=1) * value.gather(1, where)).sum(dim=1)
        distance[slot] = (past[-1].distance[slot] if past else 0) + 1
    return _Carried(vectors, labels, distance)


def _best_matches(vectors: Tensor, others: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    similarity = (vectors @ others.T).masked_fill(~near, -1.0)
    best = similarity.topk(min(TOP, similarity.shape[1]), dim=1)
    return best.values, best.indices


def _coverage(inputs: ClipInputs, frame: int, object_id: int, tokens: Tokens) -> Tensor:
    """Return how much of each position an object's mask covers, (p,) float32."""
    plane = inputs.planes(frame, [object_id])[0].astype(np.float32)
    covered = cv2.resize(plane, tokens.grid[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(covered.ravel()).to(tokens.vectors.device)
