"""What paths mean to the commands: nothing that a person had is written over, whatever the path looks like."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from napari_appearrefine.cli.app import app
from small_clip import FRAMES, contents_of, make_mask_folder, true_masks

runner = CliRunner()

pytestmark = pytest.mark.usefixtures("unchanged_model")


def refine(video: Path, masks: Path, *arguments: object) -> Result:
    return runner.invoke(app, ["refine", str(video), "--masks", str(masks), *map(str, arguments)])


@pytest.fixture
def other_masks(tmp_path: Path) -> Path:
    """Masks that a run changes, as their id is above 255 in one frame."""
    masks = true_masks().astype(np.uint16)
    masks[-1] *= 300
    return make_mask_folder(tmp_path / "given", masks)


def test_home_is_the_same_for_inputs_and_results(
    video: Path, other_masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell leaves the ``~`` of ``--output=~/given`` to the program."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = contents_of(other_masks)
    result = refine(video, other_masks, "--output=~/given")
    assert result.exit_code == 2
    assert "is also what is read" in result.stderr
    assert contents_of(other_masks) == before
    arguments = ["--output=~/new", "--report=~/report.json", "--cache-dir=~/kept"]
    result = refine(video, Path("~/given"), *arguments)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "new").iterdir())) == FRAMES
    assert (tmp_path / "report.json").is_file()
    assert (tmp_path / "kept").is_dir()
    assert not (tmp_path / "~").exists()


def test_home_of_the_environment(video: Path, masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAPARI_APPEARREFINE_CACHE", "~/kept")
    assert refine(video, masks, "-o", tmp_path / "out").exit_code == 0
    assert (tmp_path / "kept").is_dir()
    assert not (tmp_path / "~").exists()


def test_home_of_nobody(masks: Path, tmp_path: Path) -> None:
    result = refine(Path("~nobody-of-this-name/film.mp4"), masks, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "film.mp4 does not exist" in result.stderr


@pytest.mark.parametrize("flag", ["--report", "--cache-dir", "--dino8", "--sam-checkpoint"])
def test_no_path_may_be_empty(
    flag: str, video: Path, masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = refine(video, masks, "-o", tmp_path / "out", flag, "")
    assert result.exit_code == 2
    assert f"'{flag}': the path is empty" in result.stderr
    assert not list((tmp_path / "here").iterdir())


def test_results_replace_links_and_not_what_they_lead_to(video: Path, other_masks: Path, tmp_path: Path) -> None:
    before = contents_of(other_masks)
    out = tmp_path / "out"
    out.mkdir()
    for file in other_masks.iterdir():
        (out / file.name).symlink_to(file)
    result = refine(video, other_masks, "-o", out)
    assert result.exit_code == 0, result.output
    assert contents_of(other_masks) == before
    assert not any(file.is_symlink() for file in out.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_are_neither_read_nor_replaced(video: Path, masks: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    cases = [
        (pipe, masks, tmp_path / "out", "--device", "cpu"),
        (video, pipe, tmp_path / "out", "--device", "cpu"),
        (video, masks, tmp_path / "out", "--report", pipe),
    ]
    for given_video, given_masks, out, *more in cases:
        result = refine(given_video, given_masks, "-o", out, *more)
        assert result.exit_code == 2
        assert "pipe.mp4 is a pipe or a device" in result.stderr
        assert not out.exists()
    out = tmp_path / "out"
    out.mkdir()
    os.mkfifo(out / "00003.png")
    result = refine(video, masks, "-o", out)
    assert result.exit_code == 2
    assert "00003.png is a pipe or a device" in result.stderr
    assert [file.name for file in out.iterdir()] == ["00003.png"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_whole_shapes_do_not_go_around_the_video(tmp_path: Path, video: Path) -> None:
    """``DIR/1`` is the place of the first object's shapes."""
    inner = video.rename(tmp_path / "1")
    before = contents_of(inner)
    arguments = ["flow-masks", str(inner), "-o", str(tmp_path / "out"), "--amodal", str(tmp_path)]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert "--amodal" in result.stderr
    assert contents_of(inner) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_a_name_that_cannot_be_printed(video: Path, masks: Path, tmp_path: Path) -> None:
    out = os.fsencode(tmp_path) + b"/m\xfcll"
    code = (
        "from napari_appearrefine.engine import refinement\n"
        "from small_clip import UnchangedModel\n"
        "refinement.load_model = lambda parameters: UnchangedModel()\n"
        "from napari_appearrefine.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "refine", str(video), "--masks", str(masks), "-o", out]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    environment |= {"PYTHONIOENCODING": "utf-8"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("m\\udcfcll\n")
    assert len(os.listdir(out)) == FRAMES


@pytest.mark.skipif(os.name == "nt", reason="a shell of another kind")
@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_streams_are_done_without(closed: str, video: Path, masks: Path, tmp_path: Path) -> None:
    command = f'"$0" -m napari_appearrefine refine "$1" --masks "$2" -o "$3" {closed}>&-'
    out = tmp_path / "out"
    subprocess.run(["sh", "-c", command, sys.executable, str(video), str(masks), str(out)], check=True)
    assert len(list(out.iterdir())) == FRAMES
