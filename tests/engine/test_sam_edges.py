"""Outlines by SAM: a stand-in with the call signature of the package segment_anything, as its weights are not here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.events import FrameLabels, Report
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine import builtin
from napari_appearrefine.engine.refinement import refine
from napari_appearrefine.engine.sam_edges import SamEdges
from small_clip import UnchangedModel, true_masks, video_frames

CPU = torch.device("cpu")
STAND_IN = '''
import numpy as np
import torch


class Sam(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.image_encoder = torch.nn.Module()
        self.image_encoder.pos_embed = torch.nn.Parameter(torch.zeros(1, 2, 2, width))
        self.register_buffer("pixel_mean", torch.zeros(3), False)


class SamPredictor:
    def __init__(self, sam_model):
        assert isinstance(sam_model, Sam) and not sam_model.training
        self.model = sam_model

    def set_image(self, image, image_format="RGB"):
        assert image.dtype == np.uint8 and image.ndim == 3 and image_format in ("RGB", "BGR")
        self.image = image

    def predict(
        self,
        point_coords=None,
        point_labels=None,
        box=None,
        mask_input=None,
        multimask_output=True,
        return_logits=False,
    ):
        """Everything bright within two pixels of the box."""
        assert point_coords.shape == (1, 2) and point_labels.tolist() == [1]
        assert box.shape == (4,) and mask_input.shape == (1, 256, 256) and mask_input.dtype == np.float32
        x, y = point_coords[0]
        assert box[0] <= x <= box[2] and box[1] <= y <= box[3]
        scale = 256 / max(self.image.shape[:2])
        assert mask_input[0, int((y + 0.5) * scale), int((x + 0.5) * scale)] > 0
        near = np.zeros(self.image.shape[:2], bool)
        near[max(int(box[1]) - 2, 0) : int(box[3]) + 2, max(int(box[0]) - 2, 0) : int(box[2]) + 2] = True
        masks = near & (self.image[:, :, 0] > 180)
        return masks[None], np.ones(1, np.float32), np.zeros((1, 256, 256), np.float32)


def _build(width):
    def build(checkpoint=None):
        assert checkpoint is None
        return Sam(width)
    return build


sam_model_registry = {"default": _build(1280), "vit_h": _build(1280), "vit_l": _build(1024), "vit_b": _build(768)}
'''


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkpoint for the stand-in, which can be imported meanwhile."""
    (tmp_path / "segment_anything.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    installed = sys.modules.pop("segment_anything", None)
    torch.save({"image_encoder.pos_embed": torch.ones(1, 2, 2, 768)}, tmp_path / "sam_vit_b.pth")
    yield tmp_path / "sam_vit_b.pth"
    sys.modules.pop("segment_anything", None)
    if installed is not None:
        sys.modules["segment_anything"] = installed


def test_outlines_are_redrawn_where_both_agree_and_only_there(checkpoint: Path) -> None:
    image = np.zeros((60, 90, 3), np.uint8)
    image[10:30, 10:30] = image[40:50, 40:50] = 220
    labels = np.zeros((60, 90), np.uint16)
    labels[11:29, 11:29] = 300  # a pixel too small all around: 324 of 400
    labels[40:58, 40:58] = 2  # far too large: 100 of 324
    redrawn = SamEdges.load(checkpoint, CPU).redraw(image, labels)
    expected = labels.copy()
    expected[10:30, 10:30] = 300
    np.testing.assert_array_equal(redrawn, expected)
    assert redrawn.dtype == labels.dtype
    assert not SamEdges.load(checkpoint, CPU).redraw(image, labels * 0).any()


def test_what_two_objects_claim_stays_as_it_was(checkpoint: Path) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:30, 10:50] = 220
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 10:30], labels[10:30, 30:50] = 1, 2
    np.testing.assert_array_equal(SamEdges.load(checkpoint, CPU).redraw(image, labels), labels)


def test_refinement_ends_with_sam(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin.BuiltinModel, "load", lambda device: UnchangedModel())
    masks = true_masks()
    masks[:, 12] = masks[:, 31] = 0
    parameters = RefineParameters(edges="sam", sam_checkpoint=checkpoint, device="cpu")
    events = list(refine(Clip(video_frames()), masks, parameters))
    labels = np.stack([event.labels for event in events if isinstance(event, FrameLabels)])
    np.testing.assert_array_equal(labels, true_masks())
    assert isinstance(events[-1], Report)
    assert events[-1].model == "unchanged, edges by SAM"


def test_what_is_missing_is_said_in_one_sentence(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs a checkpoint of SAM: download one from"):
        SamEdges.load(None, CPU)
    with pytest.raises(UserError, match=r"gone\.pth is not a file; download the checkpoint of SAM"):
        SamEdges.load(tmp_path / "gone.pth", CPU)
    other = tmp_path / "other.pth"
    for weights in (
        {"weight": torch.ones(3)},
        {"image_encoder.pos_embed": torch.ones(1, 2, 2, 5)},
        {"image_encoder.pos_embed": torch.ones(1, 2, 2, 768), "mask_decoder.surplus": torch.ones(1)},
    ):
        torch.save(weights, other)
        with pytest.raises(UserError, match=r"other\.pth is not a (whole )?checkpoint of SAM"):
            SamEdges.load(other, CPU)


def test_a_torchvision_that_does_not_fit_is_one_sentence(checkpoint: Path) -> None:
    fails = "raise RuntimeError('operator torchvision::nms does not exist')"
    (checkpoint.parent / "segment_anything.py").write_text(fails)
    with pytest.raises(UserError, match=r"cannot be used here \(operator torchvision::nms does not exist\)"):
        SamEdges.load(checkpoint, CPU)


def test_without_the_package_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    with pytest.raises(UserError, match="pip install segment-anything"):
        SamEdges.load(tmp_path / "sam.pth", CPU)
