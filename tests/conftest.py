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
