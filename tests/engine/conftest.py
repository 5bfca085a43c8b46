"""Fixtures of the engine's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_appearrefine.engine.resources import CACHE_VARIABLE


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test's own for what is kept from run to run."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder
