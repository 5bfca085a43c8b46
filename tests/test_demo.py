"""The demo: what it writes, when it opens a window, what the window holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from napari_appearrefine import demo
from napari_appearrefine.cli import jobs
from napari_appearrefine.cli.app import app
from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.events import Report
from napari_appearrefine.demo import DemoResult, can_open_windows, draw_demo, write_demo
from napari_appearrefine.files.samples import open_sample
from small_clip import FRAMES, HEIGHT, WIDTH


def make_result(clip: Clip | None = None) -> DemoResult:
    clip = clip or Clip(np.full((FRAMES, HEIGHT, WIDTH, 3), 90, np.uint8), "clip")
    before = np.zeros((len(clip), *clip.size), np.uint8)
    after = before.copy()
    before[:, 5:20, 5:20], after[:, 4:22, 4:22] = 1, 1
    report = Report(len(clip), [1], [[0.5]] * len(clip), {1: [0, 2]}, 1.5, "builtin", "cpu", "0.1.0")
    return DemoResult(clip, after, before, after, report, 0.5, 1.0)


def test_written_files(tmp_path: Path) -> None:
    result = make_result()
    written = write_demo(result, tmp_path / "demo")
    assert [path.name for path in written] == ["flow_masks", "refined_masks", "report.json", "overlay.png"]
    assert all(path.exists() for path in written)
    report = json.loads((tmp_path / "demo/report.json").read_text())
    assert report["exemplars"] == {"1": [0, 2]}
    assert (report["J_flow_masks"], report["J_refined_masks"]) == (0.5, 1.0)
    mask = np.asarray(Image.open(tmp_path / "demo/refined_masks/00000.png"))
    np.testing.assert_array_equal(mask, result.refined_masks[0])
    picture = np.asarray(Image.open(tmp_path / "demo/overlay.png"))
    np.testing.assert_array_equal(picture, draw_demo(result))


def test_overlay_shows_masks_before_and_after() -> None:
    result = make_result()
    picture = draw_demo(result)
    same = draw_demo(DemoResult(**{**result.__dict__, "refined_masks": result.flow_masks}))
    half = picture.shape[0] // 2
    np.testing.assert_array_equal(picture[: half - 20], same[: half - 20])
    assert (picture[half:] != same[half:]).any()


@pytest.mark.parametrize("display", [None, ":54321"])
def test_no_window_without_a_working_display(display: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAYLAND_DISPLAY", "QT_QPA_PLATFORM", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if display is not None:
        monkeypatch.setenv("DISPLAY", display)
    assert not can_open_windows()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> DemoResult:
    result = make_result()
    monkeypatch.setattr(demo, "compute_demo", lambda on_progress: result)
    return result


def test_headless_says_where_the_files_are(
    computed: DemoResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["demo", "--headless"])
    assert result.exit_code == 0, result.output
    assert "0.500 from motion, 1.000 refined" in result.stdout
    for name in ("flow_masks", "refined_masks", "report.json", "overlay.png"):
        path = tmp_path / jobs.DEMO_FOLDER / name
        assert path.exists()
        assert str(path) in result.stdout


def test_output_that_is_a_file_is_refused_before_computing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "compute_demo", lambda on_progress: pytest.fail("computed"))
    (tmp_path / "file").write_text("keep")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        result = CliRunner().invoke(app, ["demo", "--headless", "-o", str(target)])
        assert result.exit_code == 2
        assert str(target) in result.stderr
    assert (tmp_path / "file").read_text() == "keep"


def test_window_holds_video_both_masks_and_the_widget(make_napari_viewer: object, tmp_path: Path) -> None:
    from napari_appearrefine.plugin.demo_window import fill_demo_viewer

    clip, _ = open_sample(demo.SAMPLE)
    result = make_result(clip)
    viewer = make_napari_viewer()  # type: ignore[operator]
    fill_demo_viewer(viewer, result, demo.SAMPLE)
    images = [layer for layer in viewer.layers if layer._type_string == "image"]
    assert [image.data.shape[:3] for image in images] == [clip.shape[:3]]
    np.testing.assert_array_equal(viewer.layers["flow masks"].data, result.flow_masks)
    np.testing.assert_array_equal(viewer.layers["refined masks"].data, result.refined_masks)
    assert viewer.layers["refined masks"].visible
    assert "Refine masks" in "".join(viewer.window.dock_widgets)
