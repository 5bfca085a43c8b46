"""Features kept on disk from run to run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine.digests import weights_digest
from napari_appearrefine.engine.feature_store import ClipFeatures, FeatureStore
from napari_appearrefine.engine.resources import MEMORY_VARIABLE, Resources, resources
from napari_appearrefine.engine.result_store import ResultStore, packed, unpacked
from napari_appearrefine.engine.reuse import RunStore
from napari_appearrefine.files.cache_folder import CACHE_VARIABLE


class MeanModel:
    """Its features are a frame's mean; counts how often it computes."""

    def __init__(self, features_id: str = "mean 1") -> None:
        self.features_id = features_id
        self.computed = 0

    def features(self, image: np.ndarray) -> dict[str, np.ndarray]:
        self.computed += 1
        return {"mean": image.mean(axis=(0, 1)).astype(np.float32)}

    def pack(self, features: dict[str, np.ndarray]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(values) for name, values in features.items()}

    def unpack(self, kept: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        return {name: values.numpy() for name, values in kept.items()}


@pytest.fixture
def clip() -> Clip:
    return Clip(np.random.default_rng(0).integers(0, 255, (6, 20, 30, 3), dtype=np.uint8))


def features_of(clip: Clip, model: Any, store: FeatureStore) -> list[np.ndarray]:
    with closing(ClipFeatures(clip, model, store)) as features:
        return [features(frame)["mean"] for frame in range(len(clip))]


def test_the_second_run_computes_nothing(clip: Clip, tmp_path: Path) -> None:
    first, second = MeanModel(), MeanModel()
    computed = features_of(clip, first, FeatureStore(tmp_path))
    found = features_of(clip, second, FeatureStore(tmp_path))
    assert (first.computed, second.computed) == (6, 0)
    assert np.array_equal(computed, found)


def test_another_model_or_another_frame_finds_nothing(clip: Clip, tmp_path: Path) -> None:
    features_of(clip, MeanModel(), FeatureStore(tmp_path))
    other = MeanModel("mean 2")
    features_of(clip, other, FeatureStore(tmp_path))
    assert other.computed == 6
    frames = np.stack([clip.rgb(frame) for frame in range(6)])
    frames[2, 0, 0, 0] ^= 1
    changed = MeanModel()
    features_of(Clip(frames), changed, FeatureStore(tmp_path))
    assert changed.computed == 1


def test_a_model_that_offers_no_tensors_is_computed_each_time(clip: Clip, tmp_path: Path) -> None:
    class Plain:
        def features(self, image: np.ndarray) -> dict[str, np.ndarray]:
            return {"mean": image.mean(axis=(0, 1))}

    features_of(clip, Plain(), FeatureStore(tmp_path))
    assert not list(tmp_path.iterdir())


def test_half_a_file_and_a_vanished_one_are_computed_again(clip: Clip, tmp_path: Path) -> None:
    expected = features_of(clip, MeanModel(), FeatureStore(tmp_path))
    files = sorted(tmp_path.iterdir())
    files[0].write_bytes(files[0].read_bytes()[:-3])
    files[1].unlink()
    model = MeanModel()
    assert np.array_equal(features_of(clip, model, FeatureStore(tmp_path)), expected)
    assert model.computed == 2


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.uint8])
def test_tensors_come_back_as_they_were(tmp_path: Path, kind: torch.dtype) -> None:
    store = FeatureStore(tmp_path)
    values = (torch.arange(24).reshape(4, 6) / 7).to(kind).T
    store.write("key", {"values": values})
    kept = store.read("key")
    assert kept is not None
    assert kept["values"].dtype == kind
    assert torch.equal(kept["values"], values)


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    tensors = {"values": torch.zeros(1000)}
    for index in range(10):
        FeatureStore(tmp_path).write(f"key{index}", tensors)
        os.utime(tmp_path / f"key{index}.safetensors", (index, index))
    assert FeatureStore(tmp_path).read("key0") is not None  # used now
    FeatureStore(tmp_path, limit=30_000).write("new", tensors)
    left = {path.stem for path in tmp_path.iterdir()}
    assert {"key0", "new"} <= left
    assert "key1" not in left
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 30_000


def test_a_disk_that_takes_nothing_stops_no_run(clip: Clip, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    model = MeanModel()
    features_of(clip, model, FeatureStore(tmp_path / "file" / "features"))
    assert model.computed == 6
    assert caplog.text.count("Features are not kept") == 1


def test_digest_tells_weights_apart() -> None:
    one, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    other.load_state_dict(one.state_dict())
    assert weights_digest(one) == weights_digest(other)
    with torch.no_grad():
        other.bias[0] += 1e-3
    assert weights_digest(one) != weights_digest(other)


def test_parameters_come_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "named"))
    monkeypatch.setenv(MEMORY_VARIABLE, "300")
    assert resources(RefineParameters(cache=False)).features is None
    assert resources(RefineParameters(cache_dir=tmp_path / "given", memory_limit=200)).memory == 200 << 20
    assert (tmp_path / "given").is_dir()
    assert not (tmp_path / "named").exists()
    assert resources(RefineParameters()).memory == 300 << 20
    assert (tmp_path / "named").is_dir()


def test_a_store_of_runs_keeps_to_the_limit_of_a_run(clip: Clip) -> None:
    store, model = RunStore(), MeanModel()

    def kept_after(limit: int) -> int:
        reuse = store.start(model, clip, Resources(limit * size))
        for frame in range(len(clip)):
            reuse.features(frame)
        before = reuse.reused["features"]
        for frame in reversed(range(len(clip))):
            reuse.features(frame)
        return reuse.reused["features"] - before

    size = model.features(clip.rgb(0))["mean"].nbytes
    assert [kept_after(limit) for limit in (3, 2, 4)] == [3, 2, 4]


def test_unusable_resources_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file"):
        resources(RefineParameters(cache_dir=tmp_path / "file"))
    monkeypatch.setenv(MEMORY_VARIABLE, "much")
    with pytest.raises(UserError, match=r"NAPARI_APPEARREFINE_MEMORY_LIMIT is 'much'"):
        resources(RefineParameters())


def test_a_long_video_does_not_push_out_its_own_features(tmp_path: Path) -> None:
    tensors = {"values": torch.zeros(1000)}
    FeatureStore(tmp_path).write("old", tensors)
    os.utime(tmp_path / "old.safetensors", (0, 0))
    store = FeatureStore(tmp_path, limit=30_000)
    for index in range(20):
        store.write(f"key{index}", tensors)
    left = {path.stem for path in tmp_path.iterdir()}
    assert "old" not in left
    assert left == {f"key{index}" for index in range(len(left))}
    assert 5 < len(left) < 8


def test_results_are_found_again_unless_they_are_damaged(tmp_path: Path) -> None:
    arrays = (np.arange(12, dtype=np.uint16).reshape(3, 4), np.array([0.5, np.nan], np.float32))
    ResultStore(tmp_path).write(b"key", packed(arrays))
    data = ResultStore(tmp_path).read(b"key")
    assert data is not None
    for found, given in zip(unpacked(data), arrays, strict=True):
        assert found.dtype == given.dtype
        assert np.array_equal(found, given, equal_nan=True)
    assert ResultStore(tmp_path).read(b"other") is None
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-4])
    assert ResultStore(tmp_path).read(b"key") is None
