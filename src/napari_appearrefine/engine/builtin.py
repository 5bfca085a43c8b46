"""The built-in model: judges masks by what the clip agrees on, and repairs them by matching against exemplars."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import cache, cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from ..core.events import FrameLabels, Progress
from ..core.labels import label_dtype
from .absence import frames_of_guesses, gap_at, guess
from .builtin_memory import Arrays, Weights, exemplar_weights, influence, reused, weights_near
from .builtin_weights import inference_dtype, load_calibration, load_part
from .calibration import Calibration
from .colour_edges import Picture
from .device import autocast
from .digests import digest, weights_digest
from .flow import DRAWING_SIDE, resize_frame, working_size
from .interface import ClipInputs
from .networks.backbone import Backbone
from .networks.matching import MatchingNetwork, Memory
from .object_drawing import DrawnFrame, FrameFeatures, ObjectDrawer
from .object_masks import Plane, coverage_of_all, object_planes
from .object_memory import ObjectMemories, RememberedFrame, coarse_coverage
from .propagation import TruthAlongMotion
from .repair import Repair, repaired
from .side_by_side import side_by_side
from .trust import estimated_iou, with_say

Remembered = Callable[[Weights], list[Memory | None]]
"""From the frames that teach, and how much each counts, to the memory of every object."""

_WITNESSES = 12
# Soft IoU with what the true frames would draw, from which on an exemplar is confirmed.
_AGREES = 0.85
# Of the working grid, in pixels: see working_side.
_LEAST_ACROSS = 24
_LARGEST_SIDE = 720
_SIDE_STEP = 16


class BuiltinModel:
    """A selector and a corrector in one matching network.

    Scoring draws each object from *witnesses*, frames spread over the clip whose masks are taken as
    they are, and measures how much of the mask survives: faults differ from frame to frame, the
    object stays. Correcting draws each object from its exemplars.

    Parameters
    ----------
    backbone, network : Module
        Ready for inference on ``device``.
    device : device
        Where to compute.
    side : int
        Shorter side of the working grid in pixels.
    calibration : Calibration, optional
        From raw estimates to IoUs.
    """

    name = "builtin"
    spreads_exemplars = True
    most_rounds = 3

    def __init__(
        self,
        backbone: Backbone,
        network: MatchingNetwork,
        device: torch.device,
        side: int = DRAWING_SIDE,
        calibration: Calibration | None = None,
    ) -> None:
        self._backbone = backbone
        self._network = network
        self._device = device
        self._dtype = inference_dtype(device)
        # Half the memory and disk; of a clip's pixels fewer than one in ten thousand come out otherwise.
        self._kept_dtype = torch.float16 if self._dtype == torch.float32 else self._dtype
        self._side = side
        self._calibration = calibration or Calibration.none()
        self._drawer = ObjectDrawer(network, device, self._dtype)
        self._fitted = {side: self}

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
        return cls(backbone, network, device, calibration=load_calibration())

    def fitted_to(self, size: tuple[int, int], areas: Mapping[int, np.ndarray]) -> BuiltinModel:
        """Return the model with a working grid on which the objects of a clip are not too small.

        Parameters
        ----------
        size : tuple of int
            Height and width of the video.
        areas : mapping of int to ndarray
            Object id to (T,) areas in pixels.
        """
        side = working_side(size, areas)
        if side not in self._fitted:
            fitted = BuiltinModel(self._backbone, self._network, self._device, side, self._calibration)
            fitted._fitted = self._fitted
            self._fitted[side] = fitted
        return self._fitted[side]

    def features(self, image: np.ndarray) -> FrameFeatures:
        """Compute what the model needs of a frame; (Y, X, 3) uint8."""
        small = resize_frame(image, working_size(image.shape[:2], self._side))
        with torch.inference_mode(), autocast(self._device, self._dtype):
            pyramid = self._backbone(self._pixels(small))
            levels = [level.to(self._kept_dtype) for level in self._network.image_levels(pyramid)]
            keys = self._network.keys(pyramid[2:])[0].flatten(1).T.to(self._kept_dtype)
        return FrameFeatures(small, levels, keys.contiguous())

    @cached_property
    def features_id(self) -> str:
        """What features depend on besides the frame."""
        return f"builtin 3 {self._side} {self._dtype} {weights_digest(self._backbone, self._network)}"

    @cached_property
    def results_id(self) -> str:
        """What results depend on besides the inputs and the code."""
        calibration = digest([self._calibration.estimate, self._calibration.iou, self._calibration.spread])
        return f"4 {self.features_id} {self._device.type} {calibration.hex()}"

    def pack(self, features: FrameFeatures) -> dict[str, Tensor]:
        """Turn features into tensors for the disk."""
        # As they lie in memory, with the channels last.
        levels = {f"level{place}": level.cpu().permute(0, 2, 3, 1) for place, level in enumerate(features.levels)}
        return {"image": torch.from_numpy(features.image), "keys": features.keys.cpu(), **levels}

    def unpack(self, kept: Mapping[str, Tensor]) -> FrameFeatures:
        """Turn tensors from the disk into features."""
        levels = [kept[f"level{place}"].permute(0, 3, 1, 2).to(self._device) for place in range(len(kept) - 2)]
        return FrameFeatures(kept["image"].numpy(), levels, kept["keys"].to(self._device))

    def score(self, inputs: ClipInputs) -> Generator[Progress, None, np.ndarray]:
        """Judge every mask by the repair that its witnesses propose.

        Returns
        -------
        ndarray
            (T, Q) float32: estimated IoU of each mask with the truth, calibrated so that it means the
            same in every video; 0 for an empty one.
        """
        return self._calibration((yield from self.raw_scores(inputs)))[0]

    def uncertainty(self, scores: np.ndarray) -> np.ndarray:
        """Return the standard deviation of the true IoU of masks with such scores, (T, Q) float32."""
        return self._calibration.spread_at(scores)

    def raw_scores(self, inputs: ClipInputs) -> Generator[Progress, None, np.ndarray]:
        """Judge every mask, without calibration: the soft IoU of each mask and its repair, (T, Q) float32."""
        witnesses = {
            object_id: dict.fromkeys(_spread(np.flatnonzero(area), area, _WITNESSES), 1.0)
            for object_id, area in inputs.areas.items()
        }
        memories = self._memories(inputs)
        scores = np.zeros((len(inputs.clip), len(inputs.areas)), np.float32)
        threads = torch.get_num_threads()

        @cache
        def see_witnesses() -> None:
            frames = sorted(set().union(*witnesses.values()))
            for _ in side_by_side(frames, inputs.prepare_features, self._device, threads):
                pass

        def remembered(weights: Weights) -> list[Memory | None]:
            # Whatever frame comes first needs all witnesses, and would compute one after the other.
            see_witnesses()
            return memories(weights)

        def prepare(frame: int) -> Callable[[], Arrays]:
            return self._scoring(inputs, frame, remembered, witnesses)

        for frame, (row,) in enumerate(side_by_side(range(len(inputs.clip)), prepare, self._device)):
            scores[frame] = row
            yield Progress("Scoring masks", frame + 1, len(inputs.clip))
        return scores

    def confirmed(self, inputs: ClipInputs, exemplars: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
        """Leave out exemplars whose masks are not what the true frames alone would draw there.

        A fault that is the same in all frames, such as a reflection that every mask includes, looks right to a
        clip that agrees on it. A true frame does not have it, and must not be outvoted by exemplars that do.
        """
        true: dict[int, dict[int, float]] = {
            key: dict.fromkeys(sorted(inputs.guidance.true_exemplars_of(key)), 1.0) for key in exemplars
        }
        left = {key: list(chosen) for key, chosen in exemplars.items()}
        doubted: dict[int, list[int]] = {}
        for key, chosen in exemplars.items():
            for frame in set(chosen) - inputs.guidance.exemplars_of(key) if true[key] else ():
                doubted.setdefault(frame, []).append(key)
        memories = self._memories(inputs)

        def prepare(frame: int) -> Callable[[], Arrays]:
            judges = weights_near(frame, {key: true[key] if key in doubted[frame] else {} for key in exemplars})
            return self._scoring(inputs, frame, memories, judges, "judgement")

        frames = sorted(doubted)
        for frame, (agreement,) in zip(frames, side_by_side(frames, prepare, self._device), strict=True):
            for key in doubted[frame]:
                if agreement[inputs.object_ids.index(key)] < _AGREES:
                    left[key].remove(frame)
        return left

    def correct(
        self, inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> Iterator[FrameLabels]:
        """Repair every frame, in order, but those that the last round left as they were."""
        weights = exemplar_weights(inputs, scores, exemplars)
        memories, truth = self._memories(inputs), self._truth_of(inputs)

        def prepare(frame: int) -> Callable[[], Arrays]:
            if frame in inputs.still:
                as_it_is = inputs.labels(frame).astype(label_dtype(inputs.object_ids)), scores[frame]
                return lambda: as_it_is
            return self._correction(inputs, frame, memories, weights_near(frame, weights), truth)

        for frame, arrays in enumerate(side_by_side(range(len(inputs.clip)), prepare, self._device)):
            labels, quality = arrays
            yield FrameLabels(frame, labels, dict(zip(inputs.object_ids, quality.tolist(), strict=True)))

    def explain(
        self, inputs: ClipInputs, frame: int, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> tuple[Repair, dict[int, dict[int, float]]]:
        """Return what the exemplars make of one frame, as a round of correction does, and whose evidence it is.

        Returns
        -------
        repair : Repair
            The repaired frame.
        influence : dict of int to dict of int to float
            Object id to exemplar frame to its share of the evidence, where the repaired frame has the object.
        """
        weights = weights_near(frame, exemplar_weights(inputs, scores, exemplars))
        memories, features = self._memories(inputs)(weights), inputs.features(frame)
        drawn = self._drawing(inputs, frame, memories, self._truth_of(inputs).say(frame))()
        repair = self._repaired(inputs, inputs.clip.rgb(frame), drawn)
        planes = object_planes(repair.labels, inputs.object_ids, features.size)
        shares: dict[int, dict[int, float]] = {}
        for object_id, plane, memory in zip(inputs.object_ids, planes, memories, strict=True):
            places = coarse_coverage(plane, features.grid, features.size) > 0.5
            queries = features.keys.to(self._device, self._dtype)[torch.from_numpy(places).to(self._device)]
            shares[object_id] = {} if memory is None else influence(queries, memory)
        return repair, shares

    def _scoring(
        self, inputs: ClipInputs, frame: int, memories: Remembered, weights: Weights, kind: str = "score"
    ) -> Callable[[], Arrays]:
        """Return what computes the (Q,) estimates of a frame."""

        def prepare() -> Callable[[], Arrays]:
            draw = self._drawing(inputs, frame, memories(weights))

            def judge() -> Arrays:
                drawn = draw()
                pairs = zip(drawn.masks, drawn.likely, strict=True)
                return (np.array([estimated_iou(*pair) for pair in pairs], np.float32),)

            return judge

        return reused(inputs, kind, frame, weights, prepare, self._guesses_from(inputs, frame))

    def _correction(
        self, inputs: ClipInputs, frame: int, memories: ObjectMemories, weights: Weights, truth: TruthAlongMotion
    ) -> Callable[[], Arrays]:
        """Return what computes the (Y, X) labels of a repaired frame, and the (Q,) IoU that they should have."""

        def prepare() -> Callable[[], Arrays]:
            draw, image = self._drawing(inputs, frame, memories(weights), truth.say(frame)), inputs.clip.rgb(frame)

            def correct() -> Arrays:
                repair = self._repaired(inputs, image, draw())
                return repair.labels, self._calibration(repair.expected)[0]

            return correct

        guesses = self._guesses_from(inputs, frame)
        return reused(inputs, "correction", frame, weights, prepare, [guesses, truth.depends_on(frame)])

    def _repaired(self, inputs: ClipInputs, image: np.ndarray, drawn: DrawnFrame) -> Repair:
        picture = Picture(image, drawn.image)
        return repaired(picture, drawn.given, inputs.object_ids, drawn.masks, drawn.likely)

    def _guesses_from(self, inputs: ClipInputs, frame: int) -> list[tuple[int, np.ndarray]]:
        """Return the frames and masks that guesses at the objects missing in a frame depend on."""
        others = frames_of_guesses(list(inputs.areas.values()), frame)
        return [(other, inputs.labels(other)) for other in others]

    def _truth_of(self, inputs: ClipInputs) -> TruthAlongMotion:
        size = working_size(inputs.clip.size)

        @lru_cache(maxsize=_WITNESSES)
        def mask_of(frame: int, slot: int) -> np.ndarray:
            (plane,) = object_planes(inputs.labels(frame), [inputs.object_ids[slot]], size)
            return np.zeros(size, np.float32) if plane is None else plane.on(size)

        @lru_cache(maxsize=2)
        def image_of(frame: int) -> np.ndarray:
            return resize_frame(inputs.features(frame).image, size)

        return TruthAlongMotion(inputs, image_of, mask_of, torch.get_num_threads())

    def _grid(self, inputs: ClipInputs) -> tuple[int, int]:
        return working_size(inputs.clip.size, self._side)

    def _memories(self, inputs: ClipInputs) -> ObjectMemories:
        size = self._grid(inputs)

        @lru_cache(maxsize=_WITNESSES)
        def frame_of(frame: int) -> RememberedFrame:
            features = inputs.features(frame)
            planes = object_planes(inputs.labels(frame), inputs.object_ids, size)
            return RememberedFrame(features.keys.to(self._device, self._dtype), features.grid, planes)

        return ObjectMemories(frame_of, size)

    def _drawing(
        self,
        inputs: ClipInputs,
        frame: int,
        memories: Sequence[Memory | None],
        say: Mapping[int, np.ndarray] | None = None,
    ) -> Callable[[], DrawnFrame]:
        """Return what draws a frame.

        What the truth nearby has to say, if anything, is added to the log-odds.
        """
        labels, features, size = inputs.labels(frame), inputs.prepare_features(frame), self._grid(inputs)
        planes = object_planes(labels, inputs.object_ids, size)
        hints = [
            self._guess(inputs, frame, object_id) if plane is None else plane
            for object_id, plane in zip(inputs.object_ids, planes, strict=True)
        ]

        def draw() -> DrawnFrame:
            seen = features()
            drawn = self._drawer.draw(frame, seen, hints, coverage_of_all(planes, size), memories)
            known = zip(planes, memories, strict=True)
            # A guess alone is no mask: without a memory nothing confirms it.
            likely = [
                None if plane is None and memory is None else each
                for (plane, memory), each in zip(known, drawn, strict=True)
            ]
            for slot, odds in (say or {}).items():
                likely[slot] = with_say(likely[slot], odds, size)
            return DrawnFrame(labels, seen.image, planes, likely)

        return draw

    def _guess(self, inputs: ClipInputs, frame: int, object_id: int) -> Plane | None:
        gap = gap_at(inputs.areas[object_id], frame)
        if gap is None:
            return None
        size = self._grid(inputs)
        return guess(frame, gap, lambda other: object_planes(inputs.labels(other), [object_id], size)[0], size)

    def _pixels(self, image: np.ndarray) -> Tensor:
        pixels = torch.tensor(image).to(self._device).permute(2, 0, 1)[None].float() / 255
        return pixels.contiguous(memory_format=torch.channels_last)


def working_side(size: tuple[int, int], areas: Mapping[int, np.ndarray]) -> int:
    """Return the shorter side of the grid on which a clip's objects are drawn.

    It is 320 pixels, or as many as bring the typical object (the median over objects of its median
    area) to 24 pixels across, at most those of the video and 720.
    """
    present = [float(np.median(area[area > 0])) for area in areas.values() if np.any(area)]
    if not present:
        return DRAWING_SIDE
    across = float(np.sqrt(np.median(present))) * DRAWING_SIDE / min(size)
    wanted = DRAWING_SIDE * _LEAST_ACROSS / max(across, 1.0)
    side = int(np.clip(wanted, DRAWING_SIDE, max(min(min(size), _LARGEST_SIDE), DRAWING_SIDE)))
    return -(-side // _SIDE_STEP) * _SIDE_STEP


def _spread(present: np.ndarray, area: np.ndarray, count: int) -> list[int]:
    """Choose frames spread evenly over those where an object is present, the fullest of each stretch."""
    stretches = np.array_split(present, min(count, len(present)))
    return [int(stretch[np.argsort(area[stretch], kind="stable")[len(stretch) // 2]]) for stretch in stretches]
