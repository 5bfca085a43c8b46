"""Flow files and folders of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flow_files import write_flo
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.files.flow import FlowFolder, read_flo

NAMES = ["00000", "00001", "00002", "00003"]


@settings(max_examples=40, deadline=None)
@given(
    flow=st.tuples(st.integers(1, 6), st.integers(1, 8)).flatmap(
        lambda size: hnp.arrays(np.float32, (*size, 2), elements=st.floats(width=32, allow_nan=False))
    )
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, flow: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("flow") / "a.flo"
    write_flo(path, flow)
    np.testing.assert_array_equal(read_flo(path), flow)


def test_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    flow = np.arange(12, dtype=np.float64).reshape(2, 3, 2)
    write_flo(tmp_path / "a.flo", flow)
    content = (tmp_path / "a.flo").read_bytes()
    assert content[:4] == b"PIEH"
    assert np.frombuffer(content[4:12], "<i4").tolist() == [3, 2]
    assert np.frombuffer(content[12:], "<f4").tolist() == list(range(12))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not an optical flow"),
        (b"PIEH", "is not an optical flow|impossible size"),
        (b"text" * 20, "is not an optical flow"),
        (b"PIEH" + np.array([3, 2], "<i4").tobytes() + bytes(40), "cut off or damaged"),
        (b"PIEH" + np.array([3, 2], "<i4").tobytes() + bytes(50), "cut off or damaged"),
        (b"PIEH" + np.array([-3, 2], "<i4").tobytes() + bytes(48), "impossible size"),
        (b"PIEH" + np.array([60000, 60000], "<i4").tobytes() + bytes(48), "cut off or damaged"),
    ],
)
def test_broken_files_name_themselves(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.flo").write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_flo(tmp_path / "a.flo")
    assert "a.flo" in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.flo cannot be read"):
        read_flo(tmp_path / "a.flo")


def fill(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        write_flo(folder / f"{name}.flo", np.full((2, 3, 2), number, np.float32))


def values(folder: FlowFolder) -> list[float | None]:
    flows = [folder[frame] for frame in range(len(folder))]
    return [None if flow is None else float(flow[0, 0, 0]) for flow in flows]


@pytest.mark.parametrize("between", ["", "480p"])
def test_ends_may_be_missing(tmp_path: Path, between: str) -> None:
    fill(tmp_path / "Flows_gap1" / between / "bear", NAMES[:3])
    fill(tmp_path / "Flows_gap-1" / between / "bear", NAMES[1:])
    assert values(FlowFolder(tmp_path, "bear", NAMES, 1)) == [0, 1, 2, None]
    assert values(FlowFolder(tmp_path, "bear", NAMES, -1)) == [None, 0, 1, 2]


def test_ends_may_be_there(tmp_path: Path) -> None:
    fill(tmp_path / "Flows_gap1" / "bear", NAMES)
    assert values(FlowFolder(tmp_path, "bear", NAMES, 1)) == [0, 1, 2, 3]


def test_files_named_after_frames(tmp_path: Path) -> None:
    names = ["img7", "img9", "img10", "img30"]
    fill(tmp_path / "Flows_gap1" / "bear", ["img10", "img7", "img9"])
    assert values(FlowFolder(tmp_path, "bear", names, 1)) == [1, 2, 0, None]


def test_unknown_flow_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "Flows_gap1" / "clip"
    folder.mkdir(parents=True)
    flow = np.array([[[1, 2], [1e10, 1e10]], [[np.nan, 3], [4, -5]]], np.float32)
    for name in NAMES:
        write_flo(folder / f"{name}.flo", flow)
    read = FlowFolder(tmp_path, "clip", NAMES, 1)[0]
    np.testing.assert_array_equal(read, [[[1, 2], [0, 0]], [[0, 0], [4, -5]]])


def test_other_names_go_by_order(tmp_path: Path) -> None:
    frames = ["a", "b", "c", "d"]
    fill(tmp_path / "Flows_gap1" / "bear", ["8", "9", "10"])
    fill(tmp_path / "Flows_gap-1" / "bear", ["8", "9", "10"])
    assert values(FlowFolder(tmp_path, "bear", frames, 1)) == [0, 1, 2, None]
    assert values(FlowFolder(tmp_path, "bear", frames, -1)) == [None, 0, 1, 2]


def test_longer_gaps(tmp_path: Path) -> None:
    fill(tmp_path / "Flows_gap2" / "bear", NAMES[:2])
    fill(tmp_path / "Flows_gap-2" / "bear", NAMES[2:])
    assert values(FlowFolder(tmp_path, "bear", NAMES, 2)) == [0, 1, None, None]
    assert values(FlowFolder(tmp_path, "bear", NAMES, -2)) == [None, None, 0, 1]


def test_missing_frames_and_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no folder Flows_gap1"):
        FlowFolder(tmp_path, "bear", NAMES, 1)
    fill(tmp_path / "Flows_gap1" / "bear", ["00000", "00002"])
    with pytest.raises(UserError, match=r"lacks 00001\.flo"):
        FlowFolder(tmp_path, "bear", NAMES, 1)
    with pytest.raises(UserError, match="holds no folder cow"):
        FlowFolder(tmp_path, "cow", NAMES, 1)
    with pytest.raises(UserError, match="holds 2 flow files but bear has 4 frames"):
        FlowFolder(tmp_path, "bear", ["a", "b", "c", "d"], 1)
    fill(tmp_path / "Flows_gap1" / "480p" / "dog", NAMES)
    fill(tmp_path / "Flows_gap1" / "1080p" / "dog", NAMES)
    with pytest.raises(UserError, match="holds dog more than once"):
        FlowFolder(tmp_path, "dog", NAMES, 1)


def test_one_frame_has_no_flow(tmp_path: Path) -> None:
    (tmp_path / "Flows_gap1" / "bear").mkdir(parents=True)
    assert values(FlowFolder(tmp_path, "bear", ["00000"], 1)) == [None]
