"""The published model: DINO features, the released selector and corrector, behind the common interface."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..core.events import FrameLabels, Progress, run_to_end
from ..core.labels import labels_of
from ..core.parameters import RefineParameters
from .builtin_weights import channels_last
from .checkpoints import CORRECTOR, DINO8, DINO16, SELECTOR, load_network
from .device import autocast, pick_precision
from .digests import weights_digest
from .interface import ClipInputs
from .networks.corrector import OBJECTS, SLOTS, WINDOW, Corrected, Corrector, Memory, ObjectExemplars
from .networks.inputs import HEIGHT, WIDTH, resized_planes, small_image
from .networks.selector import Selector
from .networks.vit import CHANNELS, DinoViT
from .published_reuse import find_scores, windows_digest
from .published_selection import SelectorRun, gather_inputs, images_tensor, small_planes
from .reuse import Found
from .selection import select_exemplars
from .side_by_side import side_by_side
from .weights_store import checkpoint_paths
from .windows import ObjectGroup, Window, labels_from_probabilities, object_groups, windows


@dataclass(frozen=True)
class CorrectedFrame:
    """What the corrector makes of one frame.

    Parameters
    ----------
    frame : int
        Index in the clip.
    labels : ndarray
        (Y, X) uint8 or uint16 object ids.
    regions : ndarray or None
        (Y, X) uint8: which of the first three objects (1 to 3) and four parts of the background
        (4 to 7) explains a pixel best, 0 where none covers more than half of it; if asked for.
    """

    frame: int
    labels: np.ndarray
    regions: np.ndarray | None


@dataclass(frozen=True)
class _CorrectedWindow:
    """The final frames of a window: labels, maps of regions, and where to keep the labels if they are new."""

    new: Found | None
    labels: tuple[np.ndarray, ...]
    regions: Sequence[np.ndarray | None]


class PublishedModel:
    """Selector and corrector of "Appearance-Based Refinement for Object-Centric Motion Segmentation" (ECCV 2024).

    Parameters
    ----------
    selector, corrector : Selector, Corrector
        Networks with their weights.
    dino8, dino16 : DinoViT
        Feature networks of patch 8 and 16 with their weights.
    device : torch.device
        Where to compute.
    window : int
        Frames that are corrected together; the released networks were trained with 7.
    precision : torch.dtype
        Of convolutions and matrix products; the rest is float32.
    """

    name = "published"
    spreads_exemplars = False
    most_rounds = 1

    def __init__(
        self,
        selector: Selector,
        corrector: Corrector,
        dino8: DinoViT,
        dino16: DinoViT,
        device: torch.device,
        window: int = WINDOW,
        precision: torch.dtype = torch.float32,
    ) -> None:
        # Without parameters that want gradients nothing is recorded, also between the yields of a generator,
        # where a torch.inference_mode() block would leak into whoever runs in the same thread.
        self.selector = selector.to(device).eval().requires_grad_(False)
        self.corrector = corrector.to(device).eval().requires_grad_(False)
        self.dino8 = dino8.to(device).eval().requires_grad_(False)
        self.dino16 = dino16.to(device).eval().requires_grad_(False)
        if device.type == "cpu":
            channels_last(self.selector, device)
            channels_last(self.corrector, device)
        self.device = device
        self.window = window
        self.selection = SelectorRun(self.selector, device, precision)
        self._precision = precision
        self._absent: tuple[weakref.ref[ClipInputs], np.ndarray] | None = None

    @classmethod
    def load(cls, parameters: RefineParameters, device: torch.device, window: int = WINDOW) -> PublishedModel:
        """Load the four checkpoints that the parameters name, or that the folder of weights holds.

        Raises
        ------
        UserError
            If a checkpoint is neither given nor stored, missing, or not what it should be.
        """
        selector, corrector, dino8, dino16 = checkpoint_paths(parameters)
        return cls(
            load_network(SELECTOR, selector, device),
            load_network(CORRECTOR, corrector, device),
            load_network(DINO8, dino8, device),
            load_network(DINO16, dino16, device),
            device,
            window,
            pick_precision(parameters.precision, device),
        )

    def fitted_to(self, size: tuple[int, int], areas: Mapping[int, np.ndarray]) -> PublishedModel:
        """Return itself: the published networks have one size for all clips."""
        return self

    def features(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Compute what the networks need of one frame.

        Parameters
        ----------
        image : ndarray
            (Y, X, 3) uint8.

        Returns
        -------
        dict of str to ndarray
            ``image`` (128, 224, 3) uint8, ``dino8`` (448, 384) and ``dino16`` (112, 384) float32.
        """
        small = small_image(image)
        rgb = images_tensor(small[None], self.device)
        with self._autocast():
            dino8, dino16 = (network(rgb)[0].float().cpu().numpy() for network in (self.dino8, self.dino16))
        return {"image": small, "dino8": dino8, "dino16": dino16}

    @cached_property
    def features_id(self) -> str:
        """What features depend on besides the frame."""
        return f"published 1 {self._precision} {weights_digest(self.dino8, self.dino16)}"

    @cached_property
    def results_id(self) -> str:
        """What results depend on besides the inputs and the code."""
        return f"{self.features_id} {self.device.type} {self.window} {weights_digest(self.selector, self.corrector)}"

    def pack(self, features: dict[str, np.ndarray]) -> dict[str, Tensor]:
        """Turn features into tensors for the disk."""
        return {name: torch.from_numpy(values) for name, values in features.items()}

    def unpack(self, kept: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """Turn tensors from the disk into features."""
        return {name: values.numpy() for name, values in kept.items()}

    def score(self, inputs: ClipInputs) -> Generator[Progress, None, np.ndarray]:
        """Judge every mask by the selector.

        Yields
        ------
        Progress
            A step of reading appearance or of scoring.

        Returns
        -------
        ndarray
            (T, Q) float32; each column sums to 1: a rank within the clip, not a probability of being right.
        """
        found = yield from find_scores(inputs)
        arrays = found.arrays
        if arrays is None:
            arrays = yield from self._scores(inputs)
            inputs.reuse.keep(found, arrays)
        scores, *absent = arrays
        if absent:
            self._absent = (weakref.ref(inputs), absent[0])
        return scores

    def _scores(self, inputs: ClipInputs) -> Generator[Progress, None, tuple[np.ndarray, ...]]:
        """Return the (T, Q) scores and, if a group of objects is not full, the (T,) scores of empty masks."""
        gathered = yield from gather_inputs(inputs, self.device)
        places: list[int | None] = list(range(len(inputs.object_ids)))
        if any(None in group for group in object_groups(inputs.object_ids)):
            places.append(None)
        done, total = 0, len(places) * self.selection.steps(len(inputs.clip))
        columns = []
        for place in places:
            steps = self.selection.scores(gathered, place)
            while True:
                yield Progress("Scoring masks", done, total)
                try:
                    next(steps)
                except StopIteration as end:
                    columns.append(end.value)
                    break
                done += 1
        yield Progress("Scoring masks", total, total)
        absent = [columns.pop()] if places[-1] is None else []
        return np.stack(columns, axis=1), *absent

    def confirmed(self, inputs: ClipInputs, exemplars: Mapping[int, Sequence[int]]) -> Mapping[int, Sequence[int]]:
        """Return the exemplars as they are: the published method knows nothing truer."""
        return exemplars

    def correct(
        self, inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> Iterator[FrameLabels]:
        """Repair every frame, window by window; frames come in order.

        Parameters
        ----------
        inputs : ClipInputs
            The clip.
        scores : ndarray
            (T, Q) what :meth:`score` returned.
        exemplars : dict of int to sequence of int
            Frames that serve as examples for each object id.
        """
        for corrected in self.correct_frames(inputs, scores, exemplars, inputs.clip.size):
            yield FrameLabels(corrected.frame, corrected.labels)

    def correct_frames(
        self,
        inputs: ClipInputs,
        scores: np.ndarray,
        exemplars: Mapping[int, Sequence[int]],
        size: tuple[int, int],
        regions: bool = False,
    ) -> Iterator[CorrectedFrame]:
        """Repair every frame, in order; the first arguments are those of :meth:`correct`.

        Parameters
        ----------
        size : tuple of int
            Height and width of the result.
        regions : bool
            Whether to compute the map of regions as well.
        """
        groups = object_groups(inputs.object_ids)
        memories: list[Memory] = []
        common = b"" if regions else windows_digest(inputs, scores, exemplars, size)
        all_windows = windows(len(inputs.clip), self.window)

        def prepare(window: Window) -> Callable[[], _CorrectedWindow]:
            # Regions are not kept.
            known = None if regions else inputs.reuse.find("correction", [common, window])
            if known is not None and known.arrays is not None:
                as_it_was = _CorrectedWindow(None, known.arrays, [None] * len(window.final))
                return lambda: as_it_was
            if not memories:
                memories.extend(self.memory(inputs, group, scores, exemplars) for group in groups)
            steps = [
                self._correction(inputs, window, group, memory) for group, memory in zip(groups, memories, strict=True)
            ]

            def correct() -> _CorrectedWindow:
                found = [step() for step in steps]
                probabilities = torch.cat([each.logits for each in found], dim=1).sigmoid().cpu().numpy()
                labels = tuple(
                    labels_from_probabilities(each, groups, size) for each in probabilities[: len(window.final)]
                )
                if not regions:
                    return _CorrectedWindow(known, labels, [None] * len(labels))
                parts = self._regions(found[0], len(window.final))
                return _CorrectedWindow(None, labels, [_region_labels(each, size) for each in parts])

            return correct

        with closing(side_by_side(all_windows, prepare, self.device)) as results:
            for window, result in zip(all_windows, results, strict=True):
                if result.new is not None:
                    inputs.reuse.keep(result.new, result.labels)
                for frame, labels, parts in zip(window.final, result.labels, result.regions, strict=True):
                    yield CorrectedFrame(frame, labels, parts)

    def memory(
        self, inputs: ClipInputs, group: ObjectGroup, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> Memory:
        """Prepare the exemplars of one group of objects for all windows; arguments as of :meth:`correct`."""
        objects = []
        for object_id in group:
            if object_id is None:
                column = self._scores_of_absent(inputs)
                count = max(len(frames) for frames in exemplars.values())
                nothing = np.zeros(len(column), np.int64)
                chosen: Sequence[int] = select_exemplars(column[:, None], {0: nothing}, count)[0]
            else:
                column, chosen = scores[:, inputs.object_ids.index(object_id)], exemplars[object_id]
            masks = [small_planes(inputs, frame, (object_id,)) for frame in chosen]
            dino8 = [inputs.features(frame)["dino8"] for frame in chosen]
            objects.append(
                ObjectExemplars(
                    frames=torch.tensor(chosen, dtype=torch.int64, device=self.device),
                    scores=self._tensor(column[list(chosen)].astype(np.float32)),
                    masks=self._tensor(np.asarray(masks, np.float32).reshape(-1, HEIGHT, WIDTH)),
                    dino8=self._tensor(np.asarray(dino8, np.float32).reshape(-1, HEIGHT * WIDTH // 64, CHANNELS)),
                )
            )
        return self.corrector.remember(objects, (HEIGHT // 8, WIDTH // 8))

    def correct_window(self, inputs: ClipInputs, window: Window, group: ObjectGroup, memory: Memory) -> Corrected:
        """Correct the final frames of one window for one group of objects."""
        return self._correction(inputs, window, group, memory)()

    def _correction(
        self, inputs: ClipInputs, window: Window, group: ObjectGroup, memory: Memory
    ) -> Callable[[], Corrected]:
        """Gather what :meth:`correct_window` needs and return what computes it, in whatever thread."""
        features = [inputs.prepare_features(frame) for frame in window.frames]
        masks = np.stack([small_planes(inputs, frame, group) for frame in window.frames])

        def correct() -> Corrected:
            found = [each() for each in features]
            with self._autocast():
                corrected: Corrected = self.corrector(
                    images_tensor(np.stack([each["image"] for each in found]), self.device),
                    self._tensor(masks.astype(np.float32)),
                    self._tensor(np.stack([each["dino8"] for each in found])),
                    torch.tensor(window.frames, device=self.device),
                    memory,
                    wanted=len(window.final),
                )
            return Corrected(corrected.logits.float(), corrected.queries.float())

        return correct

    def _regions(self, corrected: Corrected, frames: int) -> np.ndarray:
        """Return the most likely region of each pixel, (T, 128, 224) of 0 to 6."""
        queries = corrected.queries[:, :frames]
        regions: np.ndarray = self.corrector.semantic_probabilities(queries, (HEIGHT, WIDTH)).argmax(1).cpu().numpy()
        return regions

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def _autocast(self) -> torch.autocast:
        return autocast(self.device, self._precision)

    def _scores_of_absent(self, inputs: ClipInputs) -> np.ndarray:
        """Return the selector's (T,) scores of empty masks, which the released code computes for absent objects."""
        if self._absent is None or self._absent[0]() is not inputs:
            scores = run_to_end(self.selection.scores(run_to_end(gather_inputs(inputs, self.device)), None))
            self._absent = (weakref.ref(inputs), scores)
        return self._absent[1]


def _region_labels(regions: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    planes = regions == np.arange(OBJECTS + SLOTS)[:, None, None]
    return labels_of(resized_planes(planes, size), range(1, OBJECTS + SLOTS + 1))
