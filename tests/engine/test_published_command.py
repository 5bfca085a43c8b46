"""The whole `published` command on files, with the recorded weights, against what the released code wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from published_reference import NAMES, deterministic_weights, recorded_clip, recorded_flow
from typer.testing import CliRunner

from flow_files import write_flo
from napari_appearrefine.cli.app import app
from napari_appearrefine.engine.checkpoints import CORRECTOR, DINO8, DINO16, OCLR, SELECTOR
from napari_appearrefine.engine.networks.inputs import resized_planes
from napari_appearrefine.files.palette import davis_palette

STORED_AS = {SELECTOR: "selector", CORRECTOR: "corrector", DINO8: "dino8", DINO16: "dino16"}


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_released_masks_and_regions_from_files(tmp_path: Path) -> None:
    recorded = recorded_clip()
    names = [f"{frame:05d}" for frame in range(12)]
    for folder in ("images/clip", "images/unmasked", "masks/clip", "truth/clip"):
        (tmp_path / folder).mkdir(parents=True)
    for name, image, labels in zip(names, recorded["frames"], recorded["labels"], strict=True):
        Image.fromarray(image).save(tmp_path / "images/clip" / f"{name}.png")
        # As the released program reads them: colours, not indices.
        Image.fromarray(davis_palette()[labels]).save(tmp_path / "masks/clip" / f"{name}.png")
        Image.fromarray(labels).save(tmp_path / "truth/clip" / f"{name}.png")
    Image.fromarray(recorded["frames"][0]).save(tmp_path / "images/unmasked/00000.png")
    for network, name in STORED_AS.items():
        checkpoint = tmp_path / f"{NAMES[network]}.pth"
        torch.save({"model_state_dict": deterministic_weights(network)}, checkpoint)
        assert invoke("weights", "add", name, checkpoint).exit_code == 0
        checkpoint.unlink()

    folders = ["--img_dir", tmp_path / "images", "--mask_dir", tmp_path / "masks", "--save_dir", tmp_path / "out"]
    command = ["published", "--dataset", "folder", *folders, "--save_pred", "--save_prefix", "try", "--device", "cpu"]
    result = invoke(*command)
    assert result.exit_code == 2
    assert "Error: unmasked: " in result.stderr
    assert "1 of 2 clips could not be refined or measured (unmasked)" in result.stderr

    out = tmp_path / "out" / "folder_try"
    written = {}
    for kind in ("mask", "semanmask"):
        files = sorted((out / f"folder_{kind}" / "clip").iterdir())
        assert [file.name for file in files] == [f"{name}.png" for name in names]
        images = [Image.open(file) for file in files]
        assert all(image.mode == "P" for image in images)
        assert images[0].getpalette()[:12] == davis_palette()[:4].ravel().tolist()
        written[kind] = np.stack([np.asarray(image) for image in images])
    assert (written["mask"] == recorded["refined_full"]).mean() > 0.9999
    # The released program saves region j as j + 1, each plane brought to full size like a mask.
    parts = recorded["semantic_128x224"][:, None] == np.arange(7)[:, None, None]
    planes = np.stack([resized_planes(each, (120, 160)) for each in parts])
    assert (written["semanmask"] == (planes * np.arange(1, 8)[:, None, None]).sum(axis=1)).mean() > 0.9999

    report = json.loads((out / "folder_report" / "clip.json").read_text())
    assert list(report["exemplars"].values()) == recorded["exemplars"].tolist()
    # Done before: nothing is computed again, only measured.
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.png")}
    (tmp_path / "only.json").write_text('["clip"]')
    again = invoke(*command, "--sequences", tmp_path / "only.json")
    assert again.exit_code == 0
    assert "clip: done before, kept" in again.stderr
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.png")} == before

    # Carried along instead: exemplars keep their masks, the map of regions is the same.
    carried = [*command, "--corrector", "propagate", "--sequences", tmp_path / "only.json"]
    result = invoke(*[part if part != "try" else "carried" for part in carried])
    assert result.exit_code == 0, result.stderr
    other = tmp_path / "out" / "folder_carried"
    report = json.loads((other / "folder_report" / "clip.json").read_text())
    assert report["model"] == "published, propagated"
    for place, name in enumerate(names):
        labels = np.asarray(Image.open(other / "folder_mask/clip" / f"{name}.png"))
        for object_id, frames in report["exemplars"].items():
            if place in frames:
                assert ((labels == int(object_id)) == (recorded["labels"][place] == int(object_id))).mean() > 0.99
        regions = (folder / "folder_semanmask/clip" / f"{name}.png" for folder in (out, other))
        assert len({file.read_bytes() for file in regions}) == 1


def test_oclr_from_flow_files_to_masks_and_whole_shapes(tmp_path: Path) -> None:
    recorded = recorded_flow()
    video = tmp_path / "clip"
    video.mkdir()
    for frame in range(6):
        Image.fromarray(np.full((128, 224), 40 * frame, np.uint8)).save(video / f"{frame:05d}.png")
        for place, gap in enumerate((1, -1)):
            folder = tmp_path / f"flow/Flows_gap{gap}/clip"
            folder.mkdir(parents=True, exist_ok=True)
            flow = recorded["flow"][frame, place].astype(np.float32).transpose(1, 2, 0)
            write_flo(folder / f"{frame:05d}.flo", flow)
    torch.save({"model_state_dict": deterministic_weights(OCLR)}, tmp_path / "oclr.pth")
    assert invoke("weights", "add", "oclr", tmp_path / "oclr.pth").exit_code == 0

    out, whole = tmp_path / "out", tmp_path / "whole"
    command = ["flow-masks", video, "-o", out, "--model", "oclr", "--device", "cpu", "--amodal", whole]
    result = invoke(*command, "--flow-root", tmp_path / "flow")
    assert result.exit_code == 0, result.stderr

    order = json.loads((whole / "order.json").read_text())
    modal = np.unpackbits(recorded["modal"]).reshape(6, 3, 128, 224).astype(bool)
    rank = recorded["order"][0].argsort().argsort()
    for frame in range(6):
        labels = np.asarray(Image.open(out / f"{frame:05d}.png"))
        assert ((labels > 0) == modal[frame].any(axis=0)).mean() > 0.999
        ids = order[f"{frame:05d}"]
        shapes = {each: np.asarray(Image.open(whole / f"{each}/{frame:05d}.png")) > 0 for each in ids}
        # Every id is one of the recorded planes; the order is theirs, and what is in front is never hidden.
        planes = [max(range(3), key=lambda q: (modal[frame, q] == (labels == each)).mean()) for each in ids]
        assert [rank[plane] for plane in planes] == sorted(rank[plane] for plane in planes)
        assert (shapes[ids[0]] == (labels == ids[0])).mean() > 0.999
        assert all(((labels == each) <= shapes[each]).mean() > 0.999 for each in ids)

    for frame in range(2, 6):
        (video / f"{frame:05d}.png").unlink()
    result = invoke("flow-masks", video, "-o", tmp_path / "measured", "--model", "oclr", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert sorted(file.name for file in (tmp_path / "measured").iterdir()) == ["00000.png", "00001.png"]
