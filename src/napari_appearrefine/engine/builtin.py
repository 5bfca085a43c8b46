"""The built-in model: judges masks by what the clip agrees on, and repairs them by matching against exemplars."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.events import FrameLabels, Progress
from ..core.labels import label_dtype
from .builtin_memory import NearbyMemories, Weights, exemplar_weights, influence, reused, weights_near
from .builtin_weights import inference_dtype, load_part
from .flow import resize_frame, working_size
from .interface import ClipInputs
from .merging import merge_with_input
from .networks.backbone import Backbone
from .networks.matching import KEY_STRIDE, MatchingNetwork, Memory, match
from .propagation import TruthAlongMotion

_WITNESSES = 12
_POSITIONS = 6144
_TRAINED_POSITIONS = 1536
_OBJECTS_AT_ONCE = 8
_NO_SAY = float(np.log(0.8 / 0.2))


@dataclass(frozen=True)
class FrameFeatures:
    """What the model keeps of a frame: pixels at the working size, projected features and keys.

    Parameters
    ----------
    image : ndarray
        (h, w, 3) uint8.
    levels : list of Tensor
        (1, c, h / s, w / s) for strides 2 to 32, half precision where the device has it.
    keys : Tensor
        (p, 64) unit vectors.
    """

    image: np.ndarray
    levels: list[Tensor]
    keys: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of memory that these features take."""
        tensors = [*self.levels, self.keys]
        return self.image.nbytes + sum(tensor.nbytes for tensor in tensors)


class BuiltinModel:
    """A selector and a corrector in one matching network.

    Scoring repairs each mask from *witnesses*, frames spread over the clip whose masks are taken as
    they are, and measures how much of the mask survives: faults differ from frame to frame, the
    object stays. Correcting repairs each mask from its exemplars.
    """

    name = "builtin"
    spreads_exemplars = True

    def __init__(self, backbone: Backbone, network: MatchingNetwork, device: torch.device) -> None:
        self._backbone = backbone
        self._network = network
        self._device = device
        self._dtype = inference_dtype(device)

    @classmethod
    def load(cls, device: torch.device) -> BuiltinModel:
        """Load the packaged weights.

        Raises
        ------
        FileNotFoundError
            If the package was built without weights.
        """
        backbone, network = Backbone(), MatchingNetwork()
        load_part(backbone, "backbone", device)
        load_part(network, "matching", device)
        return cls(backbone, network, device)

    def features(self, image: np.ndarray) -> FrameFeatures:
        """Compute what the model needs of a frame; (Y, X, 3) uint8."""
        small = resize_frame(image, working_size(image.shape[:2]))
        with torch.inference_mode(), self._precision():
            pyramid = self._backbone(self._pixels(small))
            levels = [level.to(self._dtype) for level in self._network.image_levels(pyramid)]
            keys = self._network.keys(pyramid)[0].flatten(1).T.to(self._dtype)
        return FrameFeatures(small, levels, keys.contiguous())

    def score(self, inputs: ClipInputs) -> Generator[Progress, None, np.ndarray]:
        """Judge every mask by the repair that its witnesses propose.

        Returns
        -------
        ndarray
            (T, Q) float32: estimated IoU of each mask, 0 for an empty one.
        """
        witnesses = {
            object_id: _spread(np.flatnonzero(area), area, _WITNESSES) for object_id, area in inputs.areas.items()
        }
        ones = {object_id: dict.fromkeys(frames, 1.0) for object_id, frames in witnesses.items()}
        memory = self._remember(inputs, ones)
        scores = np.zeros((len(inputs.clip), len(inputs.areas)), np.float32)
        for frame in range(len(inputs.clip)):
            scores[frame] = self._scored(inputs, frame, memory, ones)
            yield Progress("Scoring masks", frame + 1, len(inputs.clip))
        return scores

    def correct(
        self, inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> Iterator[FrameLabels]:
        """Repair every frame, in order."""
        weights = exemplar_weights(inputs, scores, exemplars)
        memories = NearbyMemories(lambda chosen: self._remember(inputs, chosen))
        truth = self._truth_of(inputs)
        for frame in range(len(inputs.clip)):
            chosen = weights_near(frame, weights)
            labels, quality = self._corrected(inputs, frame, memories, chosen, truth)
            yield FrameLabels(frame, labels, dict(zip(inputs.object_ids, quality.tolist(), strict=True)))

    def explain(
        self, inputs: ClipInputs, frame: int, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> tuple[np.ndarray, dict[int, dict[int, float]]]:
        """Return what the exemplars make of one frame, and whose evidence it is.

        Returns
        -------
        likely : ndarray
            (Q, h, w) float32 probability of each object on the working grid.
        influence : dict of int to dict of int to float
            Object id to exemplar frame to its share of the evidence.
        """
        weights = weights_near(frame, exemplar_weights(inputs, scores, exemplars))
        memory, features = self._remember(inputs, weights), inputs.features(frame)
        likely = self._repair(features, self._masks(inputs, frame), memory, frame)
        likely = with_say(likely, self._truth_of(inputs).say(frame))
        size = features.levels[2].shape[-2:]
        places = F.interpolate(torch.from_numpy(likely)[None], size=size, mode="area")[0].flatten(1) > 0.5
        return likely, influence(features.keys, memory, places, inputs.object_ids)

    def _scored(self, inputs: ClipInputs, frame: int, memory: Memory, weights: Weights) -> np.ndarray:
        def compute() -> tuple[np.ndarray]:
            masks = self._masks(inputs, frame)
            return (estimated_iou(masks, self._repair(inputs.features(frame), masks, memory, frame)),)

        return reused(inputs, "score", frame, weights, compute)[0]

    def _corrected(
        self, inputs: ClipInputs, frame: int, memories: NearbyMemories, weights: Weights, truth: TruthAlongMotion
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the (Y, X) labels of a repaired frame, and the (Q,) IoU that they are expected to have."""

        def compute() -> tuple[np.ndarray, np.ndarray]:
            masks = self._masks(inputs, frame)
            likely = self._repair(inputs.features(frame), masks, memories(weights), frame)
            say = truth.say(frame)
            repaired = with_say(trust_good_masks(masks, likely), say)
            given = np.asarray(inputs.masks[frame]).astype(label_dtype(inputs.object_ids))
            planes = dict(zip(inputs.object_ids, repaired, strict=True))
            quality = estimated_iou((repaired > 0.5).astype(np.float32), with_say(likely, say))
            return merge_with_input(planes, given), quality

        labels, quality = reused(inputs, "correction", frame, weights, compute, truth.depends_on(frame))
        return labels, quality

    def _truth_of(self, inputs: ClipInputs) -> TruthAlongMotion:
        return TruthAlongMotion(
            inputs, lambda frame: inputs.features(frame).image, lambda frame: self._masks(inputs, frame)
        )

    def _precision(self) -> torch.autocast:
        return torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32)

    def _pixels(self, image: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(image).to(self._device).permute(2, 0, 1)[None].float() / 255
        return pixels.contiguous(memory_format=torch.channels_last)

    def _masks(self, inputs: ClipInputs, frame: int) -> np.ndarray:
        """Return the masks of a frame at the working size, (Q, h, w) float32 coverage in 0..1."""
        height, width = working_size(inputs.clip.size)
        return np.stack(
            [
                cv2.resize(plane.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
                for plane in inputs.planes(frame)
            ]
        )

    def _remember(self, inputs: ClipInputs, weights: Mapping[int, Mapping[int, float]]) -> Memory:
        """Collect the positions of all frames that any object uses, thinned out far from the objects."""
        frames = sorted({frame for chosen in weights.values() for frame in chosen})
        budget = max(_POSITIONS // max(len(frames), 1), 64)
        keys, inside, outside, origins = [], [], [], []
        for frame in frames:
            features = inputs.features(frame)
            coverage = F.avg_pool2d(torch.from_numpy(self._masks(inputs, frame))[None], KEY_STRIDE, ceil_mode=True)[0]
            size = features.levels[2].shape[-2:]
            coverage = F.interpolate(coverage[None], size=size)[0].flatten(1).T
            trust = torch.tensor([chosen.get(frame, 0.0) for chosen in weights.values()])
            kept, share = _thin_out(coverage.amax(1), size, budget)
            keys.append(features.keys[kept.to(self._device)])
            inside.append(coverage[kept] * trust * share[:, None])
            outside.append((1 - coverage[kept]) * trust * share[:, None])
            origins.append(torch.full((len(kept),), frame))
        within, without = torch.cat(inside), torch.cat(outside)
        # The network learned from 1536 positions an object; evidence grows with their number.
        mean_trust = torch.tensor([float(np.mean(list(chosen.values()))) for chosen in weights.values()])
        scale = _TRAINED_POSITIONS * mean_trust / (within + without).sum(0).clamp_min(1e-6)
        return Memory(
            torch.cat(keys),
            (within * scale).float().to(self._device),
            (without * scale).float().to(self._device),
            torch.cat(origins).to(self._device),
        )

    def _repair(self, features: FrameFeatures, masks: np.ndarray, memory: Memory, frame: int) -> np.ndarray:
        """Return the probability (Q, h, w) float32 of each object; masks nobody can speak for stay."""
        others = memory.frames != frame
        inside, outside = memory.inside[others], memory.outside[others]
        height, width = masks.shape[1:]
        given = torch.from_numpy(masks)
        result = given.clone()
        speaks = (inside.sum(0) > 0).cpu()
        everyone = given.sum(0).clamp(0, 1)
        image = self._pixels(features.image)
        # The comparison of all positions is the same for every object: once a frame, not once a group.
        with torch.inference_mode(), self._precision():
            matches = match(features.keys, memory.keys[others], inside, outside)
        matches = matches.unflatten(-1, features.levels[2].shape[-2:])
        for start in range(0, len(masks), _OBJECTS_AT_ONCE):
            slots = [slot for slot in range(start, min(start + _OBJECTS_AT_ONCE, len(masks))) if speaks[slot]]
            if not slots:
                continue
            with torch.inference_mode(), self._precision():
                hints = torch.stack([given[slots], (everyone - given[slots]).clamp(0, 1)], 1).to(self._device)
                many = len(slots)
                logits = self._network(
                    image.expand(many, -1, -1, -1),
                    [level.expand(many, -1, -1, -1) for level in features.levels],
                    matches[slots],
                    hints,
                )
            result[slots] = logits.float().sigmoid()[:, 0, :height, :width].cpu()
        return result.numpy()


def estimated_iou(masks: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """Estimate the IoU of masks with the truth that a repair expects.

    Parameters
    ----------
    masks : ndarray
        (Q, h, w) float32 coverage in 0..1.
    likely : ndarray
        (Q, h, w) float32 probability of each object.

    Returns
    -------
    ndarray
        (Q,) float32; 0 for an empty mask, which is never good.
    """
    overlap = (masks * likely).sum((1, 2))
    return np.asarray(overlap / np.maximum(np.maximum(masks, likely).sum((1, 2)), 1e-6), np.float32)


def trust_good_masks(masks: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """Let a mask that is good as a whole have more say where it and its repair differ.

    The better the estimated IoU is, the more certain a repair must be to change a pixel: its
    log-odds must exceed by how much those of the estimate exceed those of an IoU of 0.8. At 0.95
    that is a probability of 0.83, at 0.8 and below 0.5.

    Parameters
    ----------
    masks, likely : ndarray
        (Q, h, w) float32 coverage of the given masks, and probability of the repaired ones.

    Returns
    -------
    ndarray
        (Q, h, w) float32 probability.
    """
    quality = np.clip(estimated_iou(masks, likely), 0.5, 0.98)
    say = np.maximum(np.log(quality / (1 - quality)) - _NO_SAY, 0)
    odds = np.log(np.clip(likely, 1e-6, None) / np.clip(1 - likely, 1e-6, None))
    shifted = odds + say[:, None, None] * (2 * masks - 1)
    return np.asarray(1 / (1 + np.exp(-np.clip(shifted, -30, 30))), np.float32)


def with_say(probability: np.ndarray, say: np.ndarray | None) -> np.ndarray:
    """Add to the log-odds of a probability; shapes alike, or None for nothing."""
    if say is None:
        return probability
    odds = np.log(np.clip(probability, 1e-4, None) / np.clip(1 - probability, 1e-4, None)) + say
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -30, 30))), np.float32)


def _spread(present: np.ndarray, area: np.ndarray, count: int) -> list[int]:
    """Choose frames spread evenly over those where an object is present, the fullest of each stretch."""
    stretches = np.array_split(present, min(count, len(present)))
    return [int(stretch[np.argsort(area[stretch], kind="stable")[len(stretch) // 2]]) for stretch in stretches]


def _thin_out(coverage: Tensor, size: tuple[int, ...], budget: int) -> tuple[Tensor, Tensor]:
    """Keep positions on and beside objects first; return their indices and how many each stands for."""
    near = F.max_pool2d(coverage.reshape(1, 1, *size), 3, 1, 1).flatten() > 0.02
    kept, share = [], []
    for chosen, room in ((near.nonzero()[:, 0], budget * 2 // 3), ((~near).nonzero()[:, 0], budget // 3)):
        if not len(chosen):
            continue
        taken = chosen[torch.linspace(0, len(chosen) - 1, min(len(chosen), max(room, 1))).round().long()]
        kept.append(taken)
        share.append(torch.full((len(taken),), len(chosen) / len(taken)))
    return torch.cat(kept), torch.cat(share)
