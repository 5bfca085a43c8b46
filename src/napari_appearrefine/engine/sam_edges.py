"""Outlines by SAM: refined masks become prompts, and SAM's masks take over where the two agree."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..core.errors import UserError
from ..core.events import FrameLabels, Progress
from .checkpoints import read_weights
from .interface import ClipInputs, RefinementModel

AGREEMENT = 0.7
"""Intersection over union from which on SAM's mask takes the place of the refined one."""
_PROMPT_SIDE = 256
_SURE = 10.0
_KINDS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
_PAGE = "github.com/facebookresearch/segment-anything"


class SamEdges:
    """Redraws the outlines of objects with a predictor of the package ``segment_anything``.

    Kirillov et al., "Segment Anything" (ICCV 2023).

    Parameters
    ----------
    predictor : SamPredictor
        With ``set_image`` and ``predict``.
    """

    def __init__(self, predictor: Any) -> None:
        self._predictor = predictor

    @classmethod
    def load(cls, checkpoint: Path | None, device: torch.device) -> SamEdges:
        """Load SAM from a checkpoint of ViT-B, ViT-L or ViT-H.

        Raises
        ------
        UserError
            If the package is not installed, or the file is not given or not a checkpoint of SAM.
        """
        try:
            from segment_anything import SamPredictor, sam_model_registry
        except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
            raise UserError(
                f"--edges sam needs the package segment_anything, which cannot be used here ({error}); install it "
                "with: pip install segment-anything torchvision"
            ) from error
        if checkpoint is None:
            raise UserError(f"--edges sam needs a checkpoint of SAM: download one from {_PAGE}, give --sam-checkpoint.")
        weights = read_weights(checkpoint, "SAM", _PAGE)
        position = weights.get("image_encoder.pos_embed")
        kind = None if position is None else _KINDS.get(position.shape[-1])
        if kind is None:
            raise UserError(f"{checkpoint} is not a checkpoint of SAM; download one from {_PAGE}.")
        # Built empty, because the package itself would unpickle the file.
        network = sam_model_registry[kind]()
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(f"{checkpoint} is not a whole checkpoint of SAM; download it again.") from error
        return cls(SamPredictor(network.to(device).eval()))

    def redraw(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Redraw the outlines of one frame.

        Parameters
        ----------
        image : ndarray
            (Y, X, 3) uint8 RGB.
        labels : ndarray
            (Y, X) uint8 or uint16.

        Returns
        -------
        ndarray
            (Y, X) of the same dtype. A pixel that two objects claim stays as it was.
        """
        ids = [int(object_id) for object_id in np.unique(labels) if object_id]
        if not ids:
            return labels
        self._predictor.set_image(np.ascontiguousarray(image))
        claims = np.zeros(labels.shape, np.uint8)
        redrawn = np.zeros_like(labels)
        for object_id in ids:
            plane = self._agreed(labels == object_id)
            claims += plane
            redrawn[plane] = object_id
        return np.where(claims > 1, labels, redrawn)

    def _agreed(self, plane: np.ndarray) -> np.ndarray:
        """Return SAM's mask of an object if it is much the same as the given one, else that one."""
        rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
        masks, _, _ = self._predictor.predict(
            point_coords=_inmost_point(plane),
            point_labels=np.ones(1, np.int64),
            box=np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32),
            mask_input=_mask_prompt(plane),
            multimask_output=False,
        )
        found = np.asarray(masks[0], np.bool_)
        either = np.count_nonzero(found | plane)
        return found if np.count_nonzero(found & plane) >= AGREEMENT * either else plane


class SamEdgesModel:
    """Another model, with the outlines of its results redrawn by SAM.

    Parameters
    ----------
    model : RefinementModel
        What judges and repairs.
    edges : SamEdges
        What redraws.
    """

    def __init__(self, model: RefinementModel, edges: SamEdges) -> None:
        self.name = f"{model.name}, edges by SAM"
        self.spreads_exemplars = model.spreads_exemplars
        self.most_rounds = model.most_rounds
        self._model = model
        self._edges = edges

    def fitted_to(self, size: tuple[int, int], areas: Mapping[int, np.ndarray]) -> SamEdgesModel:
        """Return the model with the one underneath fitted to a clip."""
        model = self._model.fitted_to(size, areas)
        return self if model is self._model else SamEdgesModel(model, self._edges)

    def features(self, image: np.ndarray) -> Any:
        """Compute the model's features."""
        return self._model.features(image)

    def score(self, inputs: ClipInputs) -> Generator[Progress, None, np.ndarray]:
        """Judge every mask as the model does."""
        return self._model.score(inputs)

    def confirmed(self, inputs: ClipInputs, exemplars: Mapping[int, Sequence[int]]) -> Mapping[int, Sequence[int]]:
        """Judge exemplars as the model does."""
        return self._model.confirmed(inputs, exemplars)

    def correct(
        self, inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> Iterator[FrameLabels | Progress]:
        """Repair every frame as the model does, then redraw its outlines."""
        for event in self._model.correct(inputs, scores, exemplars):
            if isinstance(event, FrameLabels):
                yield replace(event, labels=self._edges.redraw(inputs.clip.rgb(event.frame), event.labels))
            else:
                yield event


def _inmost_point(plane: np.ndarray) -> np.ndarray:
    """Return the pixel that lies deepest inside a mask, (1, 2) as x, y."""
    # With a rim of background, or a mask at the frame's edge would be deepest there.
    depth = cv2.distanceTransform(np.pad(plane, 1).astype(np.uint8), cv2.DIST_L2, 5)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return np.array([[column - 1, row - 1]], np.float32)


def _mask_prompt(plane: np.ndarray) -> np.ndarray:
    """Return a mask as SAM takes it: (1, 256, 256) logits, the longer side filled, the rest below or to the right."""
    scale = _PROMPT_SIDE / max(plane.shape)
    height, width = (max(1, round(side * scale)) for side in plane.shape)
    small = cv2.resize(plane.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    logits = np.full((1, _PROMPT_SIDE, _PROMPT_SIDE), -_SURE, np.float32)
    logits[0, :height, :width] = _SURE * (2 * small - 1)
    return logits
