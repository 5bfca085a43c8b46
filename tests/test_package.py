"""The package as a user gets it: public names, the wheel's contents, the manifest."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import napari_appearrefine

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/napari_appearrefine"


def test_every_public_name_can_be_loaded() -> None:
    for name in napari_appearrefine.__all__:
        assert getattr(napari_appearrefine, name) is not None
    assert set(napari_appearrefine.__all__) == {"__version__", *napari_appearrefine._PUBLIC}
    assert set(napari_appearrefine.__all__) <= set(dir(napari_appearrefine))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = napari_appearrefine.nothing


def test_version_is_the_installed_one() -> None:
    assert napari_appearrefine.__version__ == version("napari-appearrefine")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    # Without isolation nothing is downloaded; hatchling comes with the test extra.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize(
    "name",
    [
        "napari_appearrefine/napari.yaml",
        "napari_appearrefine/py.typed",
        "napari_appearrefine/sample_data/crossing/video.mp4",
    ],
)
def test_wheel_contains(wheel_names: set[str], name: str) -> None:
    assert name in wheel_names


def test_wheel_contains_every_weight_and_sample(wheel_names: set[str]) -> None:
    weights = [file for file in (SOURCE / "weights").rglob("*") if file.is_file()]
    samples = [file for file in (ROOT / "sample_data").rglob("*") if file.is_file()]
    assert any(file.suffix == ".safetensors" for file in weights)
    expected = {f"napari_appearrefine/{file.relative_to(SOURCE).as_posix()}" for file in weights}
    expected |= {
        f"napari_appearrefine/sample_data/{file.relative_to(ROOT / 'sample_data').as_posix()}" for file in samples
    }
    assert expected <= wheel_names


def test_manifest_is_valid() -> None:
    command = [sys.executable, "-m", "npe2", "validate", "napari-appearrefine"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
