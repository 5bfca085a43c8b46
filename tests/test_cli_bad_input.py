"""Bad input through the real command line: exit code 2, one sentence that names the thing, nothing written over."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from napari_appearrefine.cli.app import app
from small_clip import contents_of, make_mask_folder, make_video_file, make_video_folder, true_masks

runner = CliRunner()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that holds an earlier result."""
    return make_mask_folder(tmp_path / "out", true_masks() * 3)


def assert_one_sentence(stderr: str, *words: str) -> None:
    lines = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, stderr
    assert "Traceback" not in stderr
    assert lines[0].endswith(".")
    for word in words:
        assert word in lines[0], f"{word!r} is not in: {lines[0]}"


def refuse(arguments: list[object], out: Path, *words: str) -> None:
    """Run a command that must fail with one sentence holding ``words`` and leave ``out`` as it was."""
    before = contents_of(out)
    existed = out.exists()
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    assert_one_sentence(result.stderr, *words)
    assert contents_of(out) == before
    assert out.exists() == existed


def wrong_path(folder: Path) -> Path:
    return folder / "nothing.mp4"


def empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def corrupt_video(folder: Path) -> Path:
    (folder / "corrupt.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    return folder / "corrupt.mp4"


def empty_video(folder: Path) -> Path:
    (folder / "empty.avi").write_bytes(b"")
    return folder / "empty.avi"


def corrupt_tiff(folder: Path) -> Path:
    (folder / "corrupt.tif").write_bytes(b"II*\0" + np.random.default_rng(0).bytes(500))
    return folder / "corrupt.tif"


def frames_of_two_sizes(folder: Path) -> Path:
    mixed = make_video_folder(folder / "mixed")
    Image.new("RGB", (32, 32)).save(mixed / "00003.png")
    return mixed


def text_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("not a video")
    return folder / "notes.txt"


def pickled_array(folder: Path) -> Path:
    (folder / "frames.npy").write_bytes(pickle.dumps(MakesAFile(str(folder / "executed"))))
    return folder / "frames.npy"


def object_array(folder: Path) -> Path:
    array = np.empty(1, object)
    array[0] = MakesAFile(str(folder / "executed"))
    np.save(folder / "objects.npy", array, allow_pickle=True)
    return folder / "objects.npy"


class MakesAFile:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return open, (self.file, "w")


BAD_VIDEOS = [
    wrong_path,
    empty_folder,
    corrupt_video,
    empty_video,
    corrupt_tiff,
    frames_of_two_sizes,
    text_file,
    pickled_array,
    object_array,
]


@pytest.mark.parametrize("command", ["flow-masks", "refine", "run"])
@pytest.mark.parametrize("make", BAD_VIDEOS)
def test_bad_video(make: Callable[[Path], Path], command: str, masks: Path, out: Path, tmp_path: Path) -> None:
    bad = make(tmp_path)
    extra = ["--masks", masks] if command == "refine" else []
    refuse([command, bad, "-o", out, *extra], out, bad.name)
    assert not (tmp_path / "executed").exists()


def test_truncated_video_is_refused_or_read_to_where_it_ends(tmp_path: Path, masks: Path, out: Path) -> None:
    """Cut in the middle, an mp4 without its index holds nothing that can be decoded."""
    whole = make_video_file(tmp_path / "whole.mp4")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    refuse(["refine", cut, "--masks", masks, "-o", out], out, "cut.mp4")


def masks_of(tmp_path: Path, array: np.ndarray) -> Path:
    np.save(tmp_path / "given.npy", array)
    return tmp_path / "given.npy"


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (true_masks()[:, :40], ["40", "48"]),
        (true_masks()[:-1], ["5 frames", "6"]),
        (true_masks().astype(np.float32), ["float32", "whole numbers"]),
        (true_masks().astype(np.int16) * -1, ["negative"]),
        (true_masks().astype(np.int32) * 70000, ["65535"]),
        (true_masks() * 0, ["no object"]),
        (true_masks()[0], ["(48, 64)"]),
    ],
    ids=["size", "length", "float", "negative", "too large", "no object", "one picture"],
)
def test_bad_masks(array: np.ndarray, words: list[str], video: Path, out: Path, tmp_path: Path) -> None:
    masks = masks_of(tmp_path, array)
    refuse(["refine", video, "--masks", masks, "-o", out], out, "given.npy", *words)


def test_masks_folder_that_is_not_there(video: Path, out: Path, tmp_path: Path) -> None:
    refuse(["refine", video, "--masks", tmp_path / "nowhere", "-o", out], out, "nowhere")


def test_masks_folder_without_masks(video: Path, out: Path, tmp_path: Path) -> None:
    refuse(["refine", video, "--masks", empty_folder(tmp_path), "-o", out], out, "empty")


def test_one_frame_video(tmp_path: Path, unchanged_model: None) -> None:
    """A single frame can be refined, but nothing moves in it."""
    video = make_video_folder(tmp_path / "single", frames=1)
    masks = make_mask_folder(tmp_path / "masks", true_masks(frames=1))
    refuse(["flow-masks", video, "-o", tmp_path / "out"], tmp_path / "out", "single")
    refuse(["run", video, "-o", tmp_path / "out"], tmp_path / "out", "single")
    result = runner.invoke(app, ["refine", str(video), "--masks", str(masks), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["00000.png"]


def test_output_is_a_file(video: Path, masks: Path, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("keep")
    refuse(["refine", video, "--masks", masks, "-o", target], tmp_path / "none", "file")
    refuse(["refine", video, "--masks", masks, "-o", target / "below"], tmp_path / "none", "below")
    assert target.read_text() == "keep"


def test_output_is_an_input(video: Path, masks: Path) -> None:
    refuse(["refine", video, "--masks", masks, "-o", video], video, "-o", "video")
    refuse(["refine", video, "--masks", masks, "-o", masks], masks, "-o", "masks")
    refuse(["flow-masks", video, "-o", video], video, "-o", "video")
    refuse(["run", video, "-o", masks, "--flow-masks-out", masks], masks, "--flow-masks-out")


def test_an_empty_path_is_not_the_current_folder(
    video: Path, masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for arguments in (["refine", video, "--masks", masks, "-o", ""], ["flow-masks", video, "-o", ""]):
        result = runner.invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 2
        assert "'-o' / '--output': the path is empty" in result.stderr
    assert not list((tmp_path / "here").iterdir())


def test_output_holds_other_pictures(video: Path, masks: Path, out: Path) -> None:
    Image.new("L", (3, 3)).save(out / "holiday.png")
    refuse(["refine", video, "--masks", masks, "-o", out], out, "holiday.png")


def test_output_not_writable(video: Path, masks: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere, so the answer of the system is set here."""
    monkeypatch.setattr(os, "access", lambda path, mode, **more: mode == os.R_OK)
    refuse(["refine", video, "--masks", masks, "-o", out], out, str(out), "cannot be written to")


def test_report_is_a_folder_or_an_input(video: Path, masks: Path, out: Path, tmp_path: Path) -> None:
    arguments = ["refine", video, "--masks", masks, "-o", out, "--report"]
    refuse([*arguments, tmp_path], out, "--report", "folder")
    given = masks_of(tmp_path, true_masks())
    refuse(["refine", video, "--masks", given, "-o", out, "--report", given], out, "--report", "given.npy")
    refuse([*arguments, given / "report.json"], out, "--report")
    refuse([*arguments, out / "00000.png"], out, "--report", "00000.png", ".json")


def test_no_space_left(
    video: Path, masks: Path, out: Path, unchanged_model: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Image.Image, file: Path, **options: object) -> None:
        Path(file).write_bytes(b"half a picture")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    monkeypatch.setattr(Image.Image, "save", full)
    refuse(["refine", video, "--masks", masks, "-o", out], out, "00000.png", "no space left")


def test_a_write_that_the_system_really_refuses(video: Path, masks: Path, out: Path) -> None:
    """Files may not grow beyond 100 bytes in this process, which fails as a full disk does."""
    code = (
        "import resource, signal\n"
        "from napari_appearrefine.engine import refinement\n"
        "from small_clip import UnchangedModel\n"
        "refinement.load_model = lambda parameters: UnchangedModel()\n"
        "from napari_appearrefine.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "main()\n"
    )
    before = contents_of(out)
    command = [sys.executable, "-B", "-c", code, "refine", str(video), "--masks", str(masks), "-o", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 2, result.stderr
    assert_one_sentence(result.stderr, "00000.png")
    assert contents_of(out) == before


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--exemplars", 0),
        ("--exemplars", 51),
        ("--device", "abacus"),
        ("--model", "none"),
        ("--precision", "half"),
        ("--memory-limit", 1),
    ],
)
def test_settings_out_of_limits(flag: str, value: object, video: Path, masks: Path, out: Path) -> None:
    refuse(["refine", video, "--masks", masks, "-o", out, flag, value], out, flag, str(value))


def test_cache_dir_is_a_file(video: Path, masks: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("in the way")
    refuse(["refine", video, "--masks", masks, "-o", out, "--cache-dir", tmp_path / "kept"], out, "kept")


def test_flow_model_of_run_is_named_as_its_flag(video: Path, out: Path) -> None:
    refuse(["run", video, "-o", out, "--flow-model", "published"], out, "--flow-model", "oclr")


def test_checkpoint_without_its_model(video: Path, masks: Path, out: Path, tmp_path: Path) -> None:
    refuse(["refine", video, "--masks", masks, "-o", out, "--dino8", tmp_path / "dino.pth"], out, "dino.pth", "--model")
    refuse(["flow-masks", video, "-o", out, "--checkpoint", tmp_path / "flow.pth"], out, "flow.pth", "oclr")
    sam = ["--sam-checkpoint", tmp_path / "sam.pth"]
    refuse(["refine", video, "--masks", masks, "-o", out, *sam], out, "sam.pth", "--edges sam")


def test_flow_that_is_given_is_not_measured(video: Path, out: Path, tmp_path: Path) -> None:
    flow = ["--flow", "raft", "--flow-root", tmp_path]
    refuse(["flow-masks", video, "-o", out, *flow], out, "--flow raft", str(tmp_path))


def test_whole_shapes_do_not_go_where_masks_go(video: Path, out: Path) -> None:
    refuse(["flow-masks", video, "-o", out, "--amodal", out], out, "--amodal", str(out))


def other_network(folder: Path) -> Path:
    import torch

    torch.save({"model_state_dict": {"some.weight": torch.zeros(3, 3)}}, folder / "other.pth")
    return folder / "other.pth"


def pickle_with_code(folder: Path) -> Path:
    with open(folder / "evil.pth", "wb") as file:
        pickle.dump({"model_state_dict": MakesAFile(str(folder / "executed"))}, file)
    return folder / "evil.pth"


def zipped_pickle_with_code(folder: Path) -> Path:
    import torch

    torch.save({"model_state_dict": MakesAFile(str(folder / "executed"))}, folder / "evil_zip.pth")
    return folder / "evil_zip.pth"


def random_bytes(folder: Path) -> Path:
    (folder / "noise.pth").write_bytes(np.random.default_rng(0).bytes(2000))
    return folder / "noise.pth"


def missing_checkpoint(folder: Path) -> Path:
    return folder / "missing.pth"


@pytest.mark.parametrize(
    "make", [other_network, pickle_with_code, zipped_pickle_with_code, random_bytes, missing_checkpoint]
)
def test_bad_checkpoints(make: Callable[[Path], Path], video: Path, masks: Path, out: Path, tmp_path: Path) -> None:
    bad = make(tmp_path)
    published = ["--model", "published", "--selector-checkpoint", bad, "--corrector-checkpoint", bad]
    published += ["--dino8", bad, "--dino16", bad]
    refuse(["refine", video, "--masks", masks, "-o", out, *published], out, bad.name)
    refuse(["run", video, "-o", out, *published], out, bad.name)
    refuse(["flow-masks", video, "-o", out, "--model", "oclr", "--checkpoint", bad], out, bad.name)
    assert not (tmp_path / "executed").exists()


def test_published_model_without_checkpoints(video: Path, masks: Path, out: Path) -> None:
    refuse(["refine", video, "--masks", masks, "-o", out, "--model", "published"], out, "checkpoint")


def test_evaluate_refuses_wrong_folders(masks: Path, tmp_path: Path) -> None:
    none = tmp_path / "none"
    refuse(["evaluate", "--truth", none, "--prediction", masks], none, "none")
    refuse(["evaluate", "--truth", masks, "--prediction", none], none, "none")
    refuse(["evaluate", "--truth", masks, "--prediction", masks, "--task", "guess"], none, "guess")
    refuse(["evaluate", "--truth", masks, "--prediction", masks, "--json", tmp_path], none, "--json")


@pytest.mark.parametrize("arguments", [["refine"], ["frobnicate"], ["refine", "a", "--masks", "b", "-o"]])
def test_usage_errors(arguments: list[str]) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_the_real_process_prints_one_line_and_exits_with_2(video: Path, masks: Path, out: Path) -> None:
    before = contents_of(out)
    code = "from napari_appearrefine.cli import main; main()"
    command = [sys.executable, "-c", code, "refine", str(corrupt_video(video.parent)), "--masks", str(masks)]
    result = subprocess.run([*command, "-o", str(out)], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert "corrupt.mp4" in result.stderr
    assert contents_of(out) == before


def test_train_refuses_before_it_renders(tmp_path: Path) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "trained"
    refuse(["train", "--photos", photos, "-o", folder], folder, "--photos", "photos")
    photos.mkdir()
    refuse(["train", "--photos", photos, "-o", folder], folder, "no .jpg photographs")
    refuse(["train", "selector", "--photos", photos, "-o", folder], folder, "selector", "motion")
    refuse(["train", "matching", "--photos", photos, "-o", folder], folder, "motion first")
    refuse(["train", "--photos", photos, "-o", folder, "--device", "abacus"], folder, "abacus")
    folder.mkdir()
    (folder / "notes.txt").write_text("keep")
    refuse(["train", "--photos", photos, "-o", folder], folder, "not empty", "--resume")
