"""What the documentation says: its Python examples run, its flags exist, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_appearrefine.cli.app import app
from small_clip import make_mask_folder, make_video_file, true_masks

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_python_example_runs(code: str, tmp_path: Path) -> None:
    make_video_file(tmp_path / "video.mp4")
    make_mask_folder(tmp_path / "masks", true_masks().repeat(4, axis=1).repeat(4, axis=2))
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_flags_of_the_documentation_exist() -> None:
    commands = ["demo", "flow-masks", "refine", "run", "evaluate", "simulate", "train", "published"]
    commands += [f"weights {command}" for command in ("list", "add", "fetch", "check")]
    known = {"--version", "--help"}
    for command in commands:
        known |= set(re.findall(r"--[a-z][a-z0-9_-]+", CliRunner().invoke(app, [*command.split(), "--help"]).stdout))
    for page in PAGES:
        assert not set(re.findall(r"(?<![\w-])--[a-z][a-z0-9_-]+", page.read_text())) - known, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
