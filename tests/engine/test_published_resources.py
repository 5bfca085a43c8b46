"""The published networks in half precision, and with features that an earlier run kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from published_reference import filled, filled_model, recorded_clip

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.events import FrameLabels
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine.checkpoints import CORRECTOR, DINO8, DINO16, SELECTOR
from napari_appearrefine.engine.device import pick_precision
from napari_appearrefine.engine.published import PublishedModel
from napari_appearrefine.engine.refinement import refine

CPU = torch.device("cpu")
FRAMES = 2


def refined(model: PublishedModel) -> np.ndarray:
    recorded = recorded_clip()
    masks = (recorded["labels"][:FRAMES] == 1).astype(np.uint8)
    events = refine(Clip(recorded["frames"][:FRAMES]), masks, RefineParameters(device="cpu"), model=model)
    return np.stack([event.labels for event in events if isinstance(event, FrameLabels)])


def test_precision_and_kept_features(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = refined(filled_model())
    kept = sorted(cache_folder.rglob("*.safetensors"))
    assert len(kept) == FRAMES

    half = PublishedModel(
        filled(SELECTOR), filled(CORRECTOR), filled(DINO8), filled(DINO16), CPU, precision=torch.bfloat16
    )
    # The weights are noise, which half precision upsets more than trained ones.
    assert (refined(half) == first).mean() > 0.98
    assert len(sorted(cache_folder.rglob("*.safetensors"))) == 2 * FRAMES

    def not_again(image: np.ndarray) -> dict[str, np.ndarray]:
        raise AssertionError("computed although it was kept")

    monkeypatch.setattr(filled_model(), "features", not_again, raising=False)
    assert np.array_equal(refined(filled_model()), first)


@pytest.mark.parametrize(
    ("choice", "device", "dtype"),
    [
        ("auto", "cpu", torch.float32),
        ("auto", "cuda", torch.float16),
        ("auto", "mps", torch.float32),
        ("bfloat16", "cpu", torch.bfloat16),
        ("float32", "cuda", torch.float32),
    ],
)
def test_precision_of_a_device(choice: str, device: str, dtype: torch.dtype) -> None:
    assert pick_precision(choice, torch.device(device)) == dtype
