"""The command `published` around the networks: which clips, which sizes, what is left out, what is kept."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from napari_appearrefine.cli.app import app
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.events import FrameLabels, Progress
from napari_appearrefine.core.labels import labels_of
from napari_appearrefine.engine.interface import ClipInputs
from napari_appearrefine.engine.networks.inputs import resized_planes
from napari_appearrefine.engine.published import CorrectedFrame, PublishedModel
from napari_appearrefine.engine.released_run import released_parts
from napari_appearrefine.engine.sam_edges import SamEdges
from napari_appearrefine.files.palette import YOUTUBE_VOS_COLOURS
from napari_appearrefine.files.released_layout import clip_names
from small_clip import contents_of, make_mask_folder, make_video_folder, true_masks


class CopyingModel:
    """Gives back the masks as they are, at the size that is asked for, and remembers what it saw."""

    name = "published"
    spreads_exemplars = False
    most_rounds = 1
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.seen: list[tuple[list[str], list[int], int]] = []

    def features(self, image: np.ndarray) -> Any:
        return image

    def score(self, inputs: ClipInputs) -> Generator[Progress, None, np.ndarray]:
        yield Progress("Scoring masks", 1, 1)
        return np.stack(list(inputs.areas.values()), 1).astype(np.float32)

    def correct_frames(
        self,
        inputs: ClipInputs,
        scores: np.ndarray,
        exemplars: Mapping[int, Sequence[int]],
        size: tuple[int, int],
        regions: bool = False,
    ) -> Iterator[CorrectedFrame]:
        self.seen.append((inputs.clip.frame_names, inputs.object_ids, len(exemplars[inputs.object_ids[0]])))
        for frame in range(len(inputs.clip)):
            labels = labels_of(resized_planes(inputs.planes(frame), size), inputs.object_ids)
            yield CorrectedFrame(frame, labels, np.full(size, 4, np.uint8))

    def correct(
        self, inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> Iterator[FrameLabels]:
        for frame in range(len(inputs.clip)):
            yield FrameLabels(frame, labels_of(inputs.planes(frame), inputs.object_ids))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> CopyingModel:
    copying = CopyingModel()
    monkeypatch.setattr(PublishedModel, "load", lambda parameters, device, window: copying)
    return copying


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with images, masks and true masks of one clip, and files that stand for checkpoints."""
    make_video_folder(tmp_path / "images" / "one")
    make_mask_folder(tmp_path / "masks" / "one", true_masks())
    make_mask_folder(tmp_path / "truth" / "one", true_masks())
    for name in ("selector", "corrector", "dino8", "dino16"):
        (tmp_path / f"{name}.pth").write_bytes(name.encode())
    return tmp_path


def published(data: Path, *more: object) -> Any:
    folders = {f"--{flag}_dir": data / name for flag, name in (("img", "images"), ("mask", "masks"), ("save", "out"))}
    checkpoints = {"--ckpt_selector": "selector", "--ckpt_corrector": "corrector", "--dino8": "dino8"}
    checkpoints = {flag: data / f"{name}.pth" for flag, name in {**checkpoints, "--dino16": "dino16"}.items()}
    arguments = [part for pair in (folders | checkpoints).items() for part in pair]
    return CliRunner().invoke(app, ["published", *map(str, arguments), *map(str, more)])


def test_clips_of_the_data_sets(tmp_path: Path) -> None:
    (tmp_path / "b10").mkdir()
    (tmp_path / "b9").mkdir()
    davis, youtube = clip_names("DAVIS17m", tmp_path), clip_names("YTVOS18m", tmp_path)
    assert (len(davis), len(set(davis)), davis[0], davis[-1]) == (30, 30, "bike-packing", "soapbox")
    assert (len(youtube), len(set(youtube)), youtube[0]) == (120, 120, "0a275e7f12")
    assert clip_names("folder", tmp_path) == ["b9", "b10"]
    with pytest.raises(UserError, match="DAVIS16"):
        clip_names("DAVIS16", tmp_path)


@pytest.mark.parametrize("contents", ["{}", "[]", '["../up"]', "[3]", "not JSON"])
def test_an_unusable_list_of_clips_is_named(contents: str, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(contents)
    with pytest.raises(UserError, match=r"list\.json"):
        clip_names("DAVIS17m", tmp_path, tmp_path / "list.json")


@pytest.mark.parametrize(
    ("frames", "lengths"),
    [(1, [1]), (99, [99]), (100, [50, 50]), (199, [99, 100]), (200, [66, 66, 68]), (305, [76, 76, 76, 77])],
)
def test_parts_as_the_released_loader_makes_them(frames: int, lengths: list[int]) -> None:
    parts = released_parts(frames)
    assert [len(part) for part in parts] == lengths
    assert [frame for part in parts for frame in part] == list(range(frames))


def test_truth_sets_the_size_and_is_measured(data: Path, model: CopyingModel) -> None:
    # Masks at half the size of the frames, truth at twice the size, for two frames only.
    large = true_masks()[[0, 5]].repeat(2, axis=1).repeat(2, axis=2)
    for name in ("masks", "truth"):
        for file in (data / name / "one").iterdir():
            file.unlink()
    for frame, labels in enumerate(true_masks()):
        Image.fromarray(np.ascontiguousarray(labels[::2, ::2])).save(data / "masks/one" / f"{frame:05d}.png")
    for name, labels in zip(("00000", "00005"), large, strict=True):
        Image.fromarray(labels).save(data / "truth/one" / f"{name}.png")
    result = published(data, "--dataset", "folder", "--gt_dir", data / "truth", "--save_pred")
    assert result.exit_code == 0, result.stderr
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        "one",
        "one",
        "mean",
        f"Figures in {data / 'out/folder_/evaluation.json'}",
    ]
    with Image.open(data / "out/folder_/folder_mask/one/00000.png") as image:
        assert image.size == (128, 96)
    figures = json.loads((data / "out/folder_/evaluation.json").read_text())
    assert figures["clips"][0]["frames"] == 2
    assert figures["J"] > 0.9


def test_without_saving_only_figures_remain(data: Path, model: CopyingModel) -> None:
    result = published(data, "--dataset", "folder", "--gt_dir", data / "truth")
    assert result.exit_code == 0, result.stderr
    assert "mean: J 1.000, F 1.000" in result.stdout
    assert list(contents_of(data / "out")) == ["folder_/evaluation.json"]


def test_youtube_clips_are_split_and_read_by_colour(data: Path, model: CopyingModel) -> None:
    for folder in ("images", "masks"):
        (data / folder / "long").mkdir()
    colours = np.zeros((16, 16, 3), np.uint8)
    colours[:8], colours[8:] = YOUTUBE_VOS_COLOURS[1], YOUTUBE_VOS_COLOURS[0]
    for frame in range(100):
        # The first object is gone in the second part, and keeps its id there.
        image = colours if frame < 50 else np.where(np.arange(16)[:, None, None] < 8, colours, 0).astype(np.uint8)
        Image.fromarray(image).save(data / "masks/long" / f"{frame:05d}.png")
        Image.fromarray(colours).save(data / "images/long" / f"{frame:05d}.png")
    (data / "list.json").write_text('["long"]')
    split = ("--dataset", "YTVOS18m", "--sequences", data / "list.json", "--save_pred", "--num_global_frames", "4")
    assert published(data, *split).exit_code == 0
    assert [(names[0], len(names), ids, count) for names, ids, count in model.seen] == [
        ("00000", 50, [1, 2], 4),
        ("00050", 50, [1, 2], 4),
    ]
    labels = np.asarray(Image.open(data / "out/YTVOS18m_/YTVOS18m_mask/long/00049.png"))
    assert (labels[0, 0], labels[15, 0]) == (2, 1)
    report = json.loads((data / "out/YTVOS18m_/YTVOS18m_report/long.json").read_text())
    assert report["details"]["parts"] == [[0, 50], [50, 100]]
    assert len(report["scores"]) == 100
    assert published(data, *split, "--whole", "--save_prefix", "whole").exit_code == 0
    assert [len(names) for names, _, _ in model.seen] == [50, 50, 100]


def test_a_clip_that_cannot_be_used_is_named_and_the_others_run(data: Path, model: CopyingModel) -> None:
    for name in ("empty", "lacking", "longer"):
        make_video_folder(data / "images" / name)
    make_mask_folder(data / "masks" / "empty", true_masks() * 0)
    make_mask_folder(data / "masks" / "lacking", true_masks()[:4])
    make_mask_folder(data / "masks" / "longer", true_masks(9))
    make_video_folder(data / "images" / "unmasked")
    result = published(data, "--dataset", "folder", "--save_pred")
    assert result.exit_code == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert [error.split(":")[1].strip() for error in errors[:-1]] == ["empty", "lacking", "longer", "unmasked"]
    assert "holds no object" in errors[0]
    assert "no mask for the frame 00004 and 1 more" in errors[1]
    assert errors[-1].startswith(
        "Error: 4 of 5 clips could not be refined or measured (empty, lacking, longer, unmasked)"
    )
    assert [path.name for path in (data / "out/folder_/folder_mask").iterdir()] == ["one"]


def test_another_repair_sees_frames_and_masks_of_one_size(
    data: Path, model: CopyingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FillsTheCorner:
        def redraw(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
            assert image.shape == (*labels.shape, 3) == (48, 64, 3)
            labels = labels.copy()
            labels[:6, :6] = 2
            return labels

    monkeypatch.setattr(SamEdges, "load", lambda checkpoint, device: FillsTheCorner())
    for frame, labels in enumerate(true_masks()):
        Image.fromarray(np.ascontiguousarray(labels[::2, ::2])).save(data / "masks/one" / f"{frame:05d}.png")
        large = labels.repeat(2, axis=0).repeat(2, axis=1)
        Image.fromarray(large).save(data / "truth/one" / f"{frame:05d}.png")
    command = ("--dataset", "folder", "--save_pred", "--gt_dir", data / "truth")
    result = published(data, *command, "--sam-checkpoint", data / "dino8.pth")
    assert result.exit_code == 2
    assert "add --edges sam" in result.stderr
    assert published(data, *command, "--save_prefix", "own").exit_code == 0
    result = published(data, *command, "--edges", "sam", "--sam-checkpoint", data / "dino8.pth")
    assert result.exit_code == 0, result.stderr
    labels = np.asarray(Image.open(data / "out/folder_/folder_mask/one/00002.png"))
    assert labels.shape == (96, 128)
    assert (labels[:12, :12] == 2).all()
    assert (labels[24:] == true_masks()[2].repeat(2, 0).repeat(2, 1)[24:]).mean() > 0.95
    report = json.loads((data / "out/folder_/folder_report/one.json").read_text())
    assert report["model"] == "published, edges by SAM"
    regions = [data / f"out/folder_{prefix}/folder_semanmask/one/00002.png" for prefix in ("", "own")]
    assert regions[0].read_bytes() == regions[1].read_bytes()


def test_masks_are_never_laid_on_other_frames(data: Path, model: CopyingModel) -> None:
    # As many masks as frames, but not of the same ones: in their order they would not fit.
    for name in ("shifted", "untrue", "cut"):
        make_video_folder(data / "images" / name)
        make_mask_folder(data / "masks" / name, true_masks())
        make_mask_folder(data / "truth" / name, true_masks())
    (data / "images/shifted/00002.png").unlink()
    (data / "masks/shifted/00004.png").unlink()
    for kind in ("images", "masks"):
        (data / kind / "untrue" / "00003.png").unlink()
    for kind in ("images", "masks", "truth"):
        (data / kind / "cut" / "00003.png").unlink()
    result = published(data, "--dataset", "folder", "--save_pred", "--gt_dir", data / "truth")
    assert result.exit_code == 2
    assert f"{data}/images/shifted has no frame 00002, for which {data}/masks/shifted has a mask" in result.stderr
    assert f"{data}/images/untrue has no frame 00003, for which {data}/truth/untrue has a mask" in result.stderr
    assert "Note: cut: there is no frame between 00002 and 00004." in result.stderr
    assert "Note: one" not in result.stderr
    assert sorted(path.name for path in (data / "out/folder_/folder_mask").iterdir()) == ["cut", "one"]


def test_finished_clips_are_kept_until_something_changes(data: Path, model: CopyingModel) -> None:
    command = ("--dataset", "folder", "--save_pred")
    assert published(data, *command).exit_code == 0
    assert "done before" in published(data, *command).stderr
    assert len(model.seen) == 1
    mask_file = data / "out/folder_/folder_mask/one/00003.png"
    mask_file.unlink()
    assert published(data, *command).exit_code == 0
    assert mask_file.exists()
    (data / "corrector.pth").write_bytes(b"another")
    assert published(data, *command).exit_code == 0
    Image.fromarray(true_masks()[0] * 2).save(data / "masks/one/00000.png")
    assert published(data, *command).exit_code == 0
    assert published(data, *command, "--num_global_frames", "3").exit_code == 0
    assert len(model.seen) == 5


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--save_pred", "--num_queries", "5"), "the networks hold 3 object queries"),
        ((), "add --save_pred"),
        (("--save_pred", "--save_prefix", "a/b"), "--save_prefix a/b"),
        (("--save_pred", "--gt_dir", "nowhere"), "--gt_dir nowhere is no folder"),
        (("--save_pred", "--dataset", "DAVIS16"), "DAVIS16"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    arguments: tuple[str, ...], expected: str, data: Path, model: CopyingModel
) -> None:
    result = published(data, *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert not (data / "out").exists()


def test_missing_checkpoints_are_one_sentence(data: Path) -> None:
    folders = {"--img_dir": "images", "--mask_dir": "masks", "--save_dir": "out"}
    arguments = [part for flag, name in folders.items() for part in (flag, str(data / name))]
    result = CliRunner().invoke(app, ["published", "--save_pred", *arguments])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "project page of the paper" in result.stderr
    assert "weights add" in result.stderr
    # The flags of the released program, not those of the other commands.
    assert "--ckpt_selector" in result.stderr
    assert "-checkpoint" not in result.stderr
    assert not (data / "out").exists()
