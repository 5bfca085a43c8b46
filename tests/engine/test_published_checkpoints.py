"""Checkpoints: released names, tolerated wrappers, and one sentence for everything else."""

from __future__ import annotations

import argparse
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from published_reference import NAMES, deterministic_weights, released_shapes
from safetensors.torch import save_file

from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine.checkpoints import (
    CORRECTOR,
    DINO8,
    DINO16,
    NETWORKS,
    OCLR,
    SELECTOR,
    load_network,
    parameter_shapes,
)
from napari_appearrefine.engine.published import PublishedModel

CPU = torch.device("cpu")


class MakesAFolder:
    """Runs code when unpickled."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("network", NETWORKS, ids=NAMES.get)
def test_names_and_shapes_are_the_released_ones(network):
    assert parameter_shapes(network) == released_shapes(network)


@pytest.mark.parametrize("network", [SELECTOR, CORRECTOR, OCLR], ids=NAMES.get)
def test_released_format_is_loaded(network, tmp_path):
    weights = deterministic_weights(network)
    settings = {"args": argparse.Namespace(rate=1), "loss": np.float64(0.5), "epoch": 3, "optimizer": {"step": 1}}
    torch.save({"model_state_dict": weights, **settings}, tmp_path / "released.pth")
    loaded = load_network(network, tmp_path / "released.pth", CPU)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    state = loaded.state_dict()
    assert all(torch.equal(state[name], weights[name]) for name in weights)


@pytest.mark.parametrize("wrapper", ["plain", "state_dict", "teacher", "safetensors", "half", "legacy"])
def test_dino_is_loaded_however_it_is_wrapped(wrapper, tmp_path):
    weights = deterministic_weights(DINO16)
    path = tmp_path / "dino.pth"
    if wrapper == "safetensors":
        path = tmp_path / "dino.safetensors"
        save_file(weights, path)
    elif wrapper == "teacher":
        prefixed = {f"module.backbone.{name}": tensor for name, tensor in weights.items()}
        head = {"module.head.last_layer.weight": torch.zeros(3)}
        torch.save({"student": {}, "teacher": {**prefixed, **head}, "args": argparse.Namespace()}, path)
    elif wrapper == "half":
        torch.save({name: tensor.half() for name, tensor in weights.items()}, path)
    elif wrapper == "legacy":
        torch.save(weights, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(weights if wrapper == "plain" else {wrapper: weights}, path)
    state = load_network(DINO16, path, CPU).state_dict()
    tolerance = 5e-3 if wrapper == "half" else 0
    assert all((state[name] - weights[name]).abs().max() <= tolerance for name in weights)
    assert all(tensor.dtype == torch.float32 for tensor in state.values())


@pytest.mark.parametrize("wanted", [SELECTOR, CORRECTOR, DINO8, OCLR], ids=NAMES.get)
def test_another_known_network_is_named(wanted, tmp_path):
    for given in NETWORKS:
        if given is wanted:
            continue
        path = tmp_path / f"{NAMES[given]}.pth"
        torch.save({"model_state_dict": deterministic_weights(given)}, path)
        with pytest.raises(UserError) as error:
            load_network(wanted, path, CPU)
        message = str(error.value)
        assert str(path) in message
        assert f"not a checkpoint of {wanted.title}: it holds {given.title}" in message
        assert wanted.flag in message


def test_an_incomplete_or_unknown_checkpoint_is_described(tmp_path):
    weights = deterministic_weights(SELECTOR)
    removed = next(iter(weights))
    cases = {
        f"it lacks 1 of its 72 parameters, such as {removed}": {n: t for n, t in weights.items() if n != removed},
        "such as surplus": {**weights, "surplus": torch.zeros(1)},
        f"{removed} has the shape": {**weights, removed: torch.zeros(5)},
        "it holds other weights, such as other.weight": {"other.weight": torch.zeros(2)},
        "it holds no weights": {},
    }
    for expected, given in cases.items():
        torch.save({"model_state_dict": given}, tmp_path / "odd.pth")
        with pytest.raises(UserError, match="not a checkpoint of the published selector") as error:
            load_network(SELECTOR, tmp_path / "odd.pth", CPU)
        assert expected in str(error.value)


def test_what_came_instead_of_a_checkpoint_is_said(tmp_path):
    file = tmp_path / "download.pth"
    with zipfile.ZipFile(tmp_path / "drive.zip", "w") as archive:
        archive.writestr("weights/selector.pth", b"weights")
    cases = {
        b"\n<!DOCTYPE html><html>": "is a web page, not a checkpoint",
        b"": "is empty",
        (tmp_path / "drive.zip").read_bytes(): "is an archive that holds weights/selector.pth; unpack it",
        pickle.dumps({"a": 1}, protocol=4)[:-3]: "cannot be read as a checkpoint",
    }
    for contents, expected in cases.items():
        file.write_bytes(contents)
        with pytest.raises(UserError, match=expected):
            load_network(SELECTOR, file, CPU)


@pytest.mark.parametrize("how", ["in a checkpoint", "torch legacy", "plain pickle", "old plain pickle", "as a name"])
def test_code_in_a_pickle_is_not_run(how, tmp_path):
    trap, path = tmp_path / "made_by_the_pickle", tmp_path / "trap.pth"
    bomb = MakesAFolder(str(trap))
    if how == "in a checkpoint":
        torch.save({"model_state_dict": {**deterministic_weights(SELECTOR), "x": bomb}}, path)
    elif how == "torch legacy":
        torch.save({"model_state_dict": bomb}, path, _use_new_zipfile_serialization=False)
    elif how == "as a name":
        torch.save({"args": argparse.Namespace(x=bomb)}, path)
    else:
        path.write_bytes(pickle.dumps(bomb, protocol=4 if how == "plain pickle" else 2))
    with pytest.raises(UserError) as error:
        load_network(SELECTOR, path, CPU)
    assert not trap.exists()
    assert str(path) in str(error.value)
    if how != "plain pickle":
        assert "could run code when opened, so it was not opened" in str(error.value)
    # The trap is armed: an ordinary unpickling would have run it.
    pickle.loads(pickle.dumps(bomb))
    assert trap.exists()


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "truncated legacy", "noise", "safetensors", "program"])
def test_a_damaged_file_is_named(kind, tmp_path):
    path = tmp_path / ("broken.safetensors" if kind == "safetensors" else "broken.pth")
    if kind == "program":
        with pytest.warns(DeprecationWarning, match="torch.jit"):
            torch.jit.script(torch.nn.ReLU()).save(path)
    elif kind.startswith("truncated"):
        torch.save(deterministic_weights(SELECTOR), path, _use_new_zipfile_serialization=kind == "truncated")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        noise = np.random.default_rng(0).bytes(4096)
        path.write_bytes({"text": b"<html>Not found</html>", "empty": b""}.get(kind, noise))
    with pytest.raises(UserError) as error:
        load_network(SELECTOR, path, CPU)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "contents", [[1, 2], {"model_state_dict": {}}, torch.zeros(3)], ids=["list", "empty", "tensor"]
)
def test_a_file_without_named_weights_is_named(contents, tmp_path):
    torch.save(contents, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"odd\.pth"):
        load_network(SELECTOR, tmp_path / "odd.pth", CPU)


def test_missing_checkpoints_are_named_with_their_flags(tmp_path):
    with pytest.raises(UserError, match="project page of the paper") as error:
        PublishedModel.load(RefineParameters(model="published", dino8=tmp_path / "a.pth"), CPU)
    message = str(error.value)
    assert all(flag in message for flag in ("--selector-checkpoint", "--corrector-checkpoint", "--dino16"))
    assert "--dino8" not in message
    with pytest.raises(UserError, match=r"gone\.pth is not a file; .*--corrector-checkpoint"):
        load_network(CORRECTOR, tmp_path / "gone.pth", CPU)
