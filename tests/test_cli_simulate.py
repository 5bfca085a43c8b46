"""The command that simulates an annotator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_appearrefine.cli.app import app
from small_clip import make_mask_folder, true_masks


def test_figures_of_each_policy(video: Path, tmp_path: Path, unchanged_model: None) -> None:
    rough = true_masks()
    rough[3:] = 0
    masks, truth = make_mask_folder(tmp_path / "masks", rough), make_mask_folder(tmp_path / "truth", true_masks())
    command = ["simulate", str(video), "--masks", str(masks), "--truth", str(truth)]
    report = tmp_path / "figures.json"
    done = CliRunner().invoke(
        app, [*command, "--policy", "suggested", "--policy", "worst", "--rounds", "2", "--json", str(report)]
    )
    assert done.exit_code == 0, done.output
    assert "worst" in done.stdout
    figures = json.loads(report.read_text())
    assert [each["policy"] for each in figures["policies"]] == ["suggested", "worst"]
    assert figures["policies"][1]["J"] == pytest.approx([0.5, 4 / 6, 5 / 6])
    wrong = CliRunner().invoke(app, [*command, "--policy", "best"])
    assert wrong.exit_code == 2
    assert "--policy is 'best'" in wrong.stderr
