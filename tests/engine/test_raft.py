"""RAFT through torchvision: a stand-in with torchvision's call signature, as its weights cannot be had in tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.engine.flow_sources import flow_between_measured, flow_sequence, measured_flow
from napari_appearrefine.engine.raft import raft_size

CPU = torch.device("cpu")
STAND_IN = """
import enum
import torch


class Raft_Large_Weights(enum.Enum):
    C_T_SKHT_V2 = "C_T_SKHT_V2"
    DEFAULT = "C_T_SKHT_V2"


class RAFT(torch.nn.Module):
    def forward(self, image1, image2, num_flow_updates: int = 12):
        assert image1.shape == image2.shape and image1.shape[2] % 8 == 0 and image1.shape[3] % 8 == 0
        assert image1.dtype == torch.float32 and -1 <= image1.min() and image1.max() <= 1
        flow = torch.zeros(len(image1), 2, *image1.shape[2:])
        flow[:, 0] = (image2 - image1).mean() * 127.5
        return [torch.full_like(flow, float("nan"))] * (num_flow_updates - 1) + [flow]


def raft_large(*, weights=None, progress=True, **kwargs):
    assert weights is Raft_Large_Weights.DEFAULT
    return RAFT()
"""


@pytest.fixture
def torchvision_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = tmp_path / "torchvision" / "models"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "optical_flow.py").write_text(STAND_IN)
    installed = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "torchvision"}
    monkeypatch.syspath_prepend(tmp_path)
    yield package / "optical_flow.py"
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    sys.modules.update(installed)


def test_flow_is_measured_at_rafts_size_and_brought_to_the_working_grid(torchvision_stand_in: Path) -> None:
    clip = Clip(np.stack([np.full((540, 960, 3), 10 * frame, np.uint8) for frame in range(3)]))
    measured = measured_flow(clip, "raft", CPU)
    flow = measured(0, 2)
    assert flow.shape == (480, 856, 2)
    assert flow.dtype == np.float32
    assert np.allclose(flow, (20, 0), atol=1e-3)
    assert measured(0, 3) is None
    assert measured(0, -1) is None
    between = flow_between_measured(measured, (240, 428))
    assert np.allclose(between(1, 0), (-5, 0), atol=1e-3)
    to_next = flow_sequence(clip, 1, measured)
    assert to_next[2] is None
    assert np.allclose(to_next[1], (10, 0), atol=1e-3)


def test_without_torchvision_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UserError, match="--flow raft needs torchvision"):
        measured_flow(Clip(np.zeros((2, 64, 64), np.uint8)), "raft", CPU)


def test_without_a_connection_one_sentence_says_so(torchvision_stand_in: Path) -> None:
    fails = STAND_IN.replace("    return RAFT()", "    raise OSError('no route to host')")
    torchvision_stand_in.write_text(fails)
    with pytest.raises(UserError, match=r"could not be fetched by torchvision \(no route to host\)"):
        measured_flow(Clip(np.zeros((2, 64, 64), np.uint8)), "raft", CPU)


@pytest.mark.parametrize(
    ("size", "expected"), [((480, 854), (480, 856)), ((1080, 1920), (480, 856)), ((64, 64), (128, 128))]
)
def test_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert raft_size(size) == expected
