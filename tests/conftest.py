"""Fixtures of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER_VARIABLE = "NAPARI_APPEARREFINE_WEIGHTS"
CACHE_VARIABLE = "NAPARI_APPEARREFINE_CACHE"


@pytest.fixture(autouse=True)
def weights_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights, so that no test finds those of whoever runs it."""
    folder = tmp_path_factory.mktemp("weights")
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    return folder


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own for features that are kept from run to run."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """The small video, as a folder."""
    from small_clip import make_video_folder

    return make_video_folder(tmp_path / "video")


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Its true masks, as a folder."""
    from small_clip import make_mask_folder, true_masks

    return make_mask_folder(tmp_path / "masks", true_masks())


@pytest.fixture
def unchanged_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands refine with a model that leaves masks as they are."""
    from napari_appearrefine.engine import refinement
    from small_clip import UnchangedModel

    monkeypatch.setattr(refinement, "load_model", lambda parameters: UnchangedModel())
