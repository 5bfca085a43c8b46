"""The commands do their work: files written, reports, exit codes, progress."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from napari_appearrefine import Clip, FrameLabels, RefineParameters, __version__, flow_masks, open_video, refine
from napari_appearrefine.cli.app import app
from napari_appearrefine.cli.progress import ProgressDisplay
from napari_appearrefine.cli.whole_shapes import WholeShapesWriter
from napari_appearrefine.core.events import Progress
from small_clip import FRAMES, make_mask_folder, true_masks

runner = CliRunner()


def read_masks(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))])


def test_version() -> None:
    result = runner.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.strip() == f"napari-appearrefine {__version__}"
    command = [sys.executable, "-m", "napari_appearrefine", "--version"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == result.stdout


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("demo", "--headless -o"),
        ("flow-masks", "-o --objects --model builtin|oclr --checkpoint --flow dis|raft --flow-root --amodal"),
        (
            "refine",
            "--masks -o --model builtin|published --selector-checkpoint --corrector-checkpoint --dino8 --dino16"
            " --corrector network|propagate --edges own|sam --sam-checkpoint --exemplars --device auto|cpu|cuda|mps"
            " --report",
        ),
        ("run", "-o --objects --flow-model --checkpoint --model --exemplars --flow-masks-out"),
        ("evaluate", "--truth --prediction --task --json"),
        (
            "published",
            "--dataset DAVIS17m|YTVOS18m|folder --ckpt_selector --ckpt_corrector --dino8 --dino16 --img_dir --mask_dir"
            " --gt_dir --save_dir --save_pred --save_prefix --num_global_frames --num_local_frames --num_queries"
            " --sequences --whole --device",
        ),
        ("train", "--photos -o --steps --seed --device --resume"),
    ],
)
def test_help_names_the_flags_other_programs_use(command: str, flags: str) -> None:
    result = runner.invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert [flag for flag in flags.split() if flag not in result.stdout] == []


def test_refine_writes_indexed_png_and_report(video: Path, masks: Path, tmp_path: Path, unchanged_model: None) -> None:
    out, report_file = tmp_path / "out", tmp_path / "report.json"
    arguments = ["refine", video, "--masks", masks, "-o", out, "--report", report_file, "--device", "cpu"]
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(f"Refining {FRAMES} frames, 1 object: at most about 1 s (on two ")
    assert sorted(file.name for file in out.iterdir()) == [f"{frame:05d}.png" for frame in range(FRAMES)]
    with Image.open(out / "00000.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    np.testing.assert_array_equal(read_masks(out), true_masks())
    report = json.loads(report_file.read_text())
    assert report["frames"] == FRAMES
    assert report["objects"] == [1]
    assert np.asarray(report["scores"]).shape == (FRAMES, 1)
    assert report["exemplars"] == {"1": list(range(FRAMES))}
    assert report["version"] == __version__
    assert {"seconds", "model", "device"} <= set(report)


def test_refine_twice_gives_the_same_files(video: Path, masks: Path, tmp_path: Path, unchanged_model: None) -> None:
    arguments = ["refine", str(video), "--masks", str(masks), "-o", str(tmp_path / "out")]
    assert runner.invoke(app, arguments).exit_code == 0
    assert runner.invoke(app, arguments).exit_code == 0
    np.testing.assert_array_equal(read_masks(tmp_path / "out"), true_masks())


def test_command_line_and_python_agree(video: Path, tmp_path: Path) -> None:
    """With the real built-in model: masks from motion, refined, by both ways."""
    arguments = ["run", str(video), "-o", str(tmp_path / "out"), "--flow-masks-out", str(tmp_path / "flow")]
    result = runner.invoke(app, [*arguments, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    clip = open_video(video)
    rough = {event.frame: event.labels for event in flow_masks(clip) if isinstance(event, FrameLabels)}
    source = np.stack([rough[frame] for frame in range(FRAMES)])
    np.testing.assert_array_equal(read_masks(tmp_path / "flow"), source)
    events = refine(clip, source, RefineParameters(device="cpu"))
    refined = {event.frame: event.labels for event in events if isinstance(event, FrameLabels)}
    np.testing.assert_array_equal(read_masks(tmp_path / "out"), [refined[frame] for frame in range(FRAMES)])


@pytest.mark.parametrize(("object_id", "mode"), [(7, "P"), (300, "I;16")])
def test_ids_are_kept(object_id: int, mode: str, video: Path, tmp_path: Path, unchanged_model: None) -> None:
    """Ids above 255 do not fit an indexed PNG; the files are 16-bit grey then."""
    masks = true_masks().astype(np.uint16) * object_id
    np.save(tmp_path / "masks.npy", masks)
    arguments = ["refine", str(video), "--masks", str(tmp_path / "masks.npy"), "-o", str(tmp_path / "out")]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out/00000.png") as picture:
        assert picture.mode == mode
    np.testing.assert_array_equal(read_masks(tmp_path / "out"), masks)


def test_object_in_one_frame_only_works(video: Path, tmp_path: Path, unchanged_model: None) -> None:
    masks = np.zeros_like(true_masks())
    masks[2] = true_masks()[2]
    folder = make_mask_folder(tmp_path / "masks", masks)
    arguments = ["refine", str(video), "--masks", str(folder), "-o", str(tmp_path / "out")]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("*.png"))) == FRAMES


def test_run_keeps_flow_masks_only_when_asked(
    video: Path, tmp_path: Path, unchanged_model: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    arguments = ["run", str(video), "-o", str(tmp_path / "out"), "--device", "cpu"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("*.png"))) == FRAMES
    assert not list((tmp_path / "temporary").iterdir())
    result = runner.invoke(app, [*arguments, "--flow-masks-out", str(tmp_path / "flow")])
    assert result.exit_code == 0, result.output
    # The model gives back what it was given, so both folders hold the same masks.
    np.testing.assert_array_equal(read_masks(tmp_path / "flow"), read_masks(tmp_path / "out"))


def test_flow_masks_writes_every_frame(video: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["flow-masks", str(video), "-o", str(tmp_path / "out"), "--objects", "1"])
    assert result.exit_code == 0, result.output
    written = read_masks(tmp_path / "out")
    assert written.shape == true_masks().shape
    assert set(np.unique(written)) <= {0, 1}


def test_evaluate_of_the_truth_is_perfect(masks: Path, tmp_path: Path) -> None:
    figures = tmp_path / "made/for it/figures.json"
    result = runner.invoke(app, ["evaluate", "--truth", str(masks), "--prediction", str(masks), "--json", str(figures)])
    assert result.exit_code == 0, result.output
    assert "1.000" in result.stdout
    assert json.loads(figures.read_text())


def test_numbers_that_are_left_out_are_mentioned(
    video: Path, masks: Path, tmp_path: Path, unchanged_model: None
) -> None:
    for folder in (video, masks):
        (folder / "00002.png").unlink()
    arguments = ["refine", str(video), "--masks", str(masks), "-o", str(tmp_path / "out")]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "Note: video: there is no frame between 00001 and 00003.\n" in result.stderr


def test_whole_shapes_are_one_file_a_frame(tmp_path: Path) -> None:
    """Where an object is not, a file says so, and takes the place of one from an earlier run."""
    clip = Clip(np.zeros((3, 8, 8), np.uint8), "clip")
    shape = np.ones((8, 8), bool)
    make_mask_folder(tmp_path / "shapes" / "2", np.full((3, 8, 8), 2, np.uint8))
    writer = WholeShapesWriter(tmp_path / "shapes", clip)
    for frame, ids in enumerate([(1,), (2, 1), (1,)]):
        writer.write(FrameLabels(frame, shape.astype(np.uint8), whole=dict.fromkeys(ids, shape), front_to_back=ids))
    writer.finish()
    assert [labels.max() for labels in read_masks(tmp_path / "shapes" / "1")] == [1, 1, 1]
    assert [labels.max() for labels in read_masks(tmp_path / "shapes" / "2")] == [0, 2, 0]
    assert json.loads((tmp_path / "shapes" / "order.json").read_text())["00001"] == [2, 1]


def test_progress_outside_a_terminal_is_a_line_a_stage() -> None:
    stream = io.StringIO()
    with ProgressDisplay(stream) as display:
        for stage in ("Scoring masks", "Correcting frames"):
            for done in range(101):
                display.show(Progress(stage, done, 100))
            display.show(Progress(stage, 100, 100))
    assert stream.getvalue().splitlines() == ["Scoring masks: 100 of 100, 0 s", "Correcting frames: 100 of 100, 0 s"]


def test_progress_in_a_terminal_shows_stage_and_time_left() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with ProgressDisplay(stream) as display:
        display.show(Progress("Scoring masks", 0, 4))
        display.show(Progress("Scoring masks", 4, 4))
    assert "Scoring masks: 100%" in stream.getvalue()
    assert "4 of 4, 00:00 left" in stream.getvalue()
