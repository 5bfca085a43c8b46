"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_appearrefine.core.errors import UserError
from napari_appearrefine.files.atomic import atomic_path
from napari_appearrefine.files.report import json_text, write_json


def test_the_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as beside:
        assert beside.parent == tmp_path
        assert beside.suffix == ".txt"
        assert beside.name.startswith(".")
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, GeneratorExit])
def test_any_interruption_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_path(path) as beside:
            beside.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "may not write there"),
        (errno.EROFS, "read-only"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_errors_become_one_sentence(tmp_path: Path, number: int, words: str) -> None:
    path = tmp_path / "a.txt"

    def failing() -> None:
        with atomic_path(path) as beside:
            beside.write_text("half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(UserError, match=words) as caught:
        failing()
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_real_errors(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    for path, words in [
        (tmp_path / "folder", "is a folder"),
        (tmp_path / "nowhere" / "a", "folder does not exist"),
        (tmp_path / "file" / "a", "is a file, not a folder"),
        (tmp_path / ("a" * 300), "name is too long"),
    ]:
        with pytest.raises(UserError, match=words), atomic_path(path) as beside:
            beside.write_text("new")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="may not write there"), atomic_path(tmp_path / "a") as beside:
            beside.write_text("new")
    finally:
        tmp_path.chmod(0o700)


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with atomic_path(tmp_path / "link") as beside:
        beside.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_links_are_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with atomic_path(tmp_path / "link", through_link=False) as beside:
        beside.write_text("new")
    assert (tmp_path / "link").read_text() == "new"
    assert (tmp_path / "target").read_text() == "old"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_devices_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(UserError, match="pipe is a pipe or a device"), atomic_path(tmp_path / name) as beside:
            beside.write_text("new")
    assert not (tmp_path / "pipe").is_file()


def test_reports_are_valid_json(tmp_path: Path) -> None:
    report = {
        "frames": np.int64(3),
        "scores": np.array([[0.5, np.nan]], np.float32),
        "exemplars": {1: [0, 2], np.int64(7): (1,)},
        "loss": float("inf"),
        "path": Path("a/b"),
        "name": "Bär",
        "flag": np.bool_(True),
        "nothing": None,
    }
    write_json(tmp_path / "r.json", report)
    read = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert read == {
        "frames": 3,
        "scores": [[0.5, None]],
        "exemplars": {"1": [0, 2], "7": [1]},
        "loss": None,
        "path": str(Path("a/b")),
        "name": "Bär",
        "flag": True,
        "nothing": None,
    }


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans() | st.none()
reports = st.recursive(
    numbers | st.text(max_size=5),
    lambda entries: st.lists(entries, max_size=4) | st.dictionaries(st.text(max_size=5), entries, max_size=4),
)


@given(reports)
def test_reports_have_one_entry_a_line(report: object) -> None:
    assert json_text(report) == json.dumps(report, indent=1, ensure_ascii=False) + "\n"
