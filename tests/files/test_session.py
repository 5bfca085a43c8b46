"""A session in its folder: exact when it is opened again, whole after a crash at any moment."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.events import Report
from napari_appearrefine.core.labels import object_areas
from napari_appearrefine.core.review import ReviewTable
from napari_appearrefine.core.review_cells import Source
from napari_appearrefine.files.session import Session, SessionFolder, session_folder, video_fingerprint

FRAMES, HEIGHT, WIDTH = 20, 6, 8


@pytest.fixture
def clip() -> Clip:
    return Clip(np.random.default_rng(0).integers(0, 255, (FRAMES, HEIGHT, WIDTH)).astype(np.uint8), "mice")


def make_session(value: int = 1) -> Session:
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    masks[:, 1:3, 2:5] = value
    table = ReviewTable.of_masks(FRAMES, object_areas(masks), Source.FLOW)
    report = Report(FRAMES, [value], [[0.1 * value]], {value: [3, 5]}, 1.5, "builtin", "cpu", "1")
    return Session({"rough": masks}, table, {"exemplars": value}, {"frame": value}, report=report)


def same(one: Session, other: Session) -> bool:
    def stored(table: ReviewTable) -> tuple[object, ...]:
        found, facts = table.to_arrays()
        return {name: array.tobytes() for name, array in found.items()}, facts

    return (
        {name: np.asarray(masks).tobytes() for name, masks in one.masks.items()}
        == {name: np.asarray(masks).tobytes() for name, masks in other.masks.items()}
        and stored(one.review) == stored(other.review)
        and (one.parameters, one.view, one.report) == (other.parameters, other.view, other.report)
        and {name: (array.dtype, array.tolist()) for name, array in one.arrays.items()}
        == {name: (array.dtype, array.tolist()) for name, array in other.arrays.items()}
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays(np.uint16, (17, 3, 4), elements=st.integers(0, 900)), st.text(max_size=5), st.booleans())
def test_a_session_opens_as_it_was_saved(tmp_path_factory, masks, name, locked):
    folder = SessionFolder(tmp_path_factory.mktemp("videos") / "clip.mp4.appearrefine")
    table = ReviewTable.of_masks(17, object_areas(masks), Source.IMPORTED)
    for object_id in table.object_ids:
        table.apply(table.set("Lock", [object_id], [3, 16], locked=locked, exemplar=2))
        table.apply(table.named(object_id, name))
    table.apply(table.ran({"model": "builtin"}, [], np.zeros((17, 0)), {}))
    session = Session(
        {"rough": masks, "refined": masks[::-1]},
        table,
        {"exemplars": 10, "device": "auto"},
        {"layers": [{"name": "video", "contrast_limits": [0.0, 1.5]}], "point": [3, 0.25, 7]},
        {"decisions": np.arange(6, dtype=np.int16).reshape(2, 3)},
    )
    assert not folder.exists()
    folder.save(session, {})
    opened = SessionFolder(folder.folder).load()
    assert same(opened.session, session)
    assert opened.generation == 1
    assert opened.session.masks["rough"].flags.writeable


def test_it_lies_beside_the_video(tmp_path):
    assert session_folder(tmp_path / "a" / "clip.mp4") == tmp_path / "a" / "clip.mp4.appearrefine"
    assert session_folder(f"{tmp_path}/frames/") == tmp_path / "frames.appearrefine"


def test_a_save_writes_only_what_changed(tmp_path, clip):
    folder = SessionFolder(tmp_path / "s")
    session = make_session()
    fingerprint = video_fingerprint(clip)
    folder.save(session, fingerprint)
    before = {path.name: path.stat().st_mtime_ns for path in (folder.folder / "data").iterdir()}
    session.masks["rough"][18, 0, 0] = 1
    folder.save(session, fingerprint, changed={"rough": [18]})
    after = {path.name: path.stat().st_mtime_ns for path in (folder.folder / "data").iterdir()}
    assert len(after.keys() - before.keys()) == 1
    assert before.items() <= after.items()
    assert same(folder.load(clip).session, session)


def test_masks_that_changed_while_they_were_read_are_no_session(tmp_path):
    folder = SessionFolder(tmp_path / "s")
    session = make_session()
    assert folder.save(session, {}, is_current=lambda: False) is None
    assert not folder.exists()
    session.masks["rough"][18, 0, 0] = 1
    assert folder.save(session, {}, changed={"rough": [18]}) == 1
    assert same(folder.load().session, session)


def test_old_saves_and_their_data_go(tmp_path):
    folder = SessionFolder(tmp_path / "s")
    for value in range(1, 8):
        folder.save(make_session(value), {})
    names = sorted(path.name for path in folder.folder.glob("*.json"))
    assert names == [f"session-{number:08d}.json" for number in (5, 6, 7)]
    wanted = {name for path in folder.folder.glob("*.json") for name in files_named_in(path)}
    assert {path.stem for path in (folder.folder / "data").iterdir()} == wanted


def files_named_in(path: Path) -> set[str]:
    stored = json.loads(path.read_text())
    files = {name for masks in stored["masks"].values() for name in masks["files"]}
    return files | {stored["review"]["file"], stored["report"]}


def test_a_changed_video_is_noticed(tmp_path, clip):
    folder = SessionFolder(tmp_path / "s")
    folder.save(make_session(), video_fingerprint(clip))
    assert folder.load(clip).warnings == []
    pixels = np.stack([clip.raw(frame) for frame in range(FRAMES)])
    pixels[0, 0, 0] += 1
    (warning,) = folder.load(Clip(pixels, "mice")).warnings
    assert warning.startswith("The pixels of mice")
    (warning,) = folder.load(Clip(pixels[:-1], "mice")).warnings
    assert "(19, 6, 8)" in warning


def test_files_are_on_the_disk_before_they_have_their_names(tmp_path, monkeypatch):
    sync, replace = os.fsync, os.replace
    synced, renamed = set(), []

    def record_sync(descriptor):
        sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def record_rename(source, target):
        assert os.stat(source).st_ino in synced
        renamed.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_rename)
    SessionFolder(tmp_path / "s").save(make_session(), {})
    assert renamed[-1] == "session-00000001.json"
    assert len(renamed) == len(list((tmp_path / "s" / "data").iterdir())) + 1


@pytest.mark.parametrize("pattern", ["*.npz", "*.json"])
def test_a_damaged_save_gives_the_one_before(tmp_path, pattern):
    folder = SessionFolder(tmp_path / "s")
    folder.save(make_session(1), {"shape": []})
    folder.save(make_session(2), {"shape": []})
    older, newer = (folder.folder / f"session-{number:08d}.json" for number in (1, 2))
    (file, *_) = (
        path
        for path in (folder.folder / "data").glob(pattern)
        if path.stem in files_named_in(newer) - files_named_in(older)
    )
    file.write_bytes(file.read_bytes()[:40])
    opened = folder.load()
    assert same(opened.session, make_session(1))
    assert "damaged" in opened.warnings[0]


def test_no_readable_save_is_a_plain_error(tmp_path):
    folder = SessionFolder(tmp_path / "s")
    with pytest.raises(UserError, match="holds no session"):
        folder.load()
    folder.save(make_session(), {})
    manifest = folder.folder / "session-00000001.json"
    newer = json.loads(manifest.read_text()) | {"version": 99}
    manifest.write_text(json.dumps(newer))
    with pytest.raises(UserError, match="newer"):
        folder.load()
    manifest.write_text("[]")
    with pytest.raises(UserError, match="No save in"):
        folder.load()


class Bomb:
    def __init__(self, crater: Path) -> None:
        self.crater = crater

    def __reduce__(self):
        return os.mkdir, (str(self.crater),)


def test_a_pickle_in_the_folder_is_never_loaded(tmp_path):
    folder = SessionFolder(tmp_path / "s")
    folder.save(make_session(), {})
    for file in (folder.folder / "data").iterdir():
        bomb = np.empty(1, object)
        bomb[0] = Bomb(tmp_path / "crater")
        with open(file, "wb") as opened:
            np.savez(opened, labels=bomb)
    with pytest.raises(UserError, match="No save in"):
        folder.load()
    for file in (folder.folder / "data").iterdir():
        file.write_bytes(pickle.dumps(Bomb(tmp_path / "crater")))
    with pytest.raises(UserError, match="No save in"):
        folder.load()
    assert not (tmp_path / "crater").exists()


SAVES_FOR_EVER = """
import sys
import numpy as np
from napari_appearrefine.core.review import ReviewTable
from napari_appearrefine.core.review_cells import Source
from napari_appearrefine.files.session import Session, SessionFolder
folder = SessionFolder(sys.argv[1])
value = max(folder._generations(), default=0)
while True:
    value += 1
    masks = np.full((40, 16, 16), value % 250 + 1, np.uint8)
    table = ReviewTable.of_masks(40, {value % 250 + 1: np.ones(40)}, Source.FLOW)
    folder.save(Session({"rough": masks}, table, {"value": value}), {})
    print(value, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_a_process_that_is_killed_while_it_saves_leaves_a_whole_session(tmp_path):
    folder = tmp_path / "s"
    rng = random.Random(0)
    last = 0
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVES_FOR_EVER, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        printed, _ = process.communicate()
        finished = [int(line) for line in printed.split()]
        opened = SessionFolder(folder).load()
        value = opened.session.parameters["value"]
        assert value > last
        assert value >= max(finished, default=0)
        assert opened.warnings == []
        assert (np.asarray(opened.session.masks["rough"]) == value % 250 + 1).all()
        assert opened.session.review.object_ids == [value % 250 + 1]
        last = value
    SessionFolder(folder).save(make_session(), {})
    assert not list(folder.rglob(".*"))
