"""The folder of public weights: added, fetched in pieces, checked, and wrong files named."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from published_reference import deterministic_weights
from typer.testing import CliRunner

from napari_appearrefine.cli.app import app
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.engine.checkpoints import CORRECTOR, SELECTOR
from napari_appearrefine.engine.weights_store import (
    PUBLIC_WEIGHTS,
    PublicWeights,
    WeightsStore,
    stored_weights,
    weights_named,
)


class Mirror(ThreadingHTTPServer):
    """Serves one file, with ranges; breaks off after some bytes if told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.contents = b""
        self.break_after: int | None = None
        self.knows_ranges = True
        self.ranges: list[str | None] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.pth"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror = self.server
        asked = self.headers.get("Range")
        mirror.ranges.append(asked)
        if self.path != "/weights.pth":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and mirror.knows_ranges else 0
        if start and start >= len(mirror.contents):
            self.send_response(416)
            self.end_headers()
            return
        body = mirror.contents[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: mirror.break_after])

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture(scope="module")
def selector_bytes() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model_state_dict": deterministic_weights(SELECTOR)}, buffer)
    return buffer.getvalue()


@pytest.fixture
def mirror(selector_bytes: bytes) -> Iterator[Mirror]:
    server = Mirror()
    server.contents = selector_bytes
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def entry(mirror: Mirror) -> PublicWeights:
    """The selector, as if it could be fetched: it is the smallest of the known networks."""
    return PublicWeights("selector", SELECTOR, "selector.pth", mirror.address)


def test_fetched_once_and_then_usable_offline(mirror: Mirror, entry: PublicWeights, selector_bytes: bytes) -> None:
    seen: list[tuple[int, int]] = []
    path = WeightsStore().fetch(entry, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == selector_bytes
    assert seen[-1] == (len(selector_bytes), len(selector_bytes))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    kept = json.loads((path.parent / "weights.json").read_text())["selector"]
    assert kept["sha256"] == hashlib.sha256(selector_bytes).hexdigest()
    assert WeightsStore().fetch(entry, lambda done, total: None) == path
    assert len(mirror.ranges) == 1
    assert stored_weights(SELECTOR) == path
    assert stored_weights(CORRECTOR) is None


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_download_that_broke_off_goes_on(
    mirror: Mirror, entry: PublicWeights, selector_bytes: bytes, knows_ranges: bool
) -> None:
    mirror.break_after, mirror.knows_ranges = 1 << 20, knows_ranges
    with pytest.raises(UserError, match="what has come is kept"):
        WeightsStore().fetch(entry, lambda done, total: None)
    assert sorted(path.name for path in WeightsStore().folder.iterdir()) == ["selector.part"]
    mirror.break_after = None
    path = WeightsStore().fetch(entry, lambda done, total: None)
    assert path.read_bytes() == selector_bytes
    assert mirror.ranges == [None, f"bytes={1 << 20}-"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["selector.pth", "weights.json"]


def test_a_part_that_is_whole_already_is_taken(mirror: Mirror, entry: PublicWeights, selector_bytes: bytes) -> None:
    store = WeightsStore()
    store.folder.mkdir(exist_ok=True)
    (store.folder / "selector.part").write_bytes(selector_bytes)
    assert store.fetch(entry, lambda done, total: None).read_bytes() == selector_bytes


def test_another_file_at_the_address_is_refused(mirror: Mirror, entry: PublicWeights, selector_bytes: bytes) -> None:
    path = WeightsStore().fetch(entry, lambda done, total: None)
    path.unlink()
    mirror.contents = selector_bytes + b" "
    with pytest.raises(UserError, match="another SHA-256"):
        WeightsStore().fetch(entry, lambda done, total: None)
    assert [file.name for file in path.parent.iterdir()] == ["weights.json"]
    mirror.contents = b"<html>moved</html>"
    (path.parent / "weights.json").unlink()
    with pytest.raises(UserError, match=f"^The file at {mirror.address} is a web page"):
        WeightsStore().fetch(entry, lambda done, total: None)
    assert list(path.parent.iterdir()) == []


def test_a_server_that_does_not_answer_is_named(entry: PublicWeights, mirror: Mirror) -> None:
    mirror.server_close()
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:\d+/weights\.pth could not be fetched \(no connection"):
        WeightsStore().fetch(entry, lambda done, total: None)
    with pytest.raises(UserError, match=r"weights\.pth could not be fetched \(no address that begins with http"):
        WeightsStore().fetch(entry, lambda done, total: None, "weights.pth")


def test_a_file_that_is_not_at_the_address_is_named(mirror: Mirror, entry: PublicWeights) -> None:
    with pytest.raises(UserError, match=r"\(the server answers 404 Not Found\)"):
        WeightsStore().fetch(entry, lambda done, total: None, mirror.address.replace("weights", "other"))


def test_a_surplus_parameter_is_not_called_another_network(tmp_path: Path) -> None:
    file = tmp_path / "selector.pth"
    torch.save({**deterministic_weights(SELECTOR), "surplus": torch.ones(1)}, file)
    with pytest.raises(UserError, match="is not a checkpoint of the published selector: it holds 1 parameters"):
        WeightsStore().add(weights_named("selector"), file)


def invoke(*arguments: object):
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


def test_commands(tmp_path: Path, selector_bytes: bytes) -> None:
    file, folder = tmp_path / "from_the_web.pth", tmp_path / "store"
    file.write_bytes(selector_bytes)
    listed = invoke("list", "--folder", folder).stdout
    assert all(f"\n{weights.name} " in listed for weights in PUBLIC_WEIGHTS)
    assert "weights fetch dino8" in listed
    assert "project page of the paper" in listed

    wrong = invoke("add", "corrector", file, "--folder", folder)
    assert wrong.exit_code == 2
    assert "is the checkpoint of the published selector (selector), not of the published corrector" in wrong.stderr
    assert not folder.exists()
    assert invoke("add", "selector", file, "--folder", folder).exit_code == 0
    assert hashlib.sha256(selector_bytes).hexdigest() in invoke("list", "--folder", folder).stdout
    good = invoke("check", "--folder", folder)
    assert (good.exit_code, good.stdout.split()) == (0, ["selector", "good"])

    stored = folder / "selector.pth"
    stored.write_bytes(selector_bytes[:-1])
    bad = invoke("check", "--folder", folder)
    assert bad.exit_code == 2
    assert "has changed since it was stored" in bad.stdout
    with pytest.raises(UserError, match="has changed since it was stored"):
        WeightsStore(folder).verified(weights_named("selector"))


def test_a_mirror_with_another_file_is_found_out(mirror: Mirror, weights_folder: Path) -> None:
    result = invoke("fetch", "dino16", "--url", mirror.address)
    assert result.exit_code == 2
    assert "is the checkpoint of the published selector (selector), not of DINO ViT-S/16 (dino16)" in result.stderr
    assert list(weights_folder.iterdir()) == []


def test_what_cannot_be_fetched_or_is_not_known_is_said(tmp_path: Path) -> None:
    by_hand = invoke("fetch", "selector")
    assert by_hand.exit_code == 2
    assert "download it in a browser from the project page" in by_hand.stderr
    assert invoke("fetch", "resnet").stderr.startswith("Error: There are no public weights called 'resnet'")
    assert "name the weights" in invoke("fetch", "--url", "http://127.0.0.1/x").stderr
    missing = invoke("add", "oclr", tmp_path / "gone.pth")
    assert missing.exit_code == 2
    assert "gone.pth is not a file" in missing.stderr


@pytest.mark.parametrize("contents", ["{", "[]", '{"selector": {}}', '{"selector": 3}'])
def test_a_damaged_record_is_named(contents: str, weights_folder: Path) -> None:
    (weights_folder / "weights.json").write_text(contents)
    with pytest.raises(UserError, match=r"weights\.json is damaged"):
        WeightsStore()
