"""What is put aside: arrays come back as they were, from memory or from a file; parts of long clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_appearrefine.engine import spool as spool_module
from napari_appearrefine.engine.selector_inputs import MOST_TOGETHER, SelectorInputs, chunks_of, parts_of
from napari_appearrefine.engine.spool import CoarseSpool, Spool

ARRAYS = st.sampled_from(["u1", "i4", "f4", "?"]).flatmap(
    lambda kind: arrays.arrays(np.dtype(kind), arrays.array_shapes(min_dims=0, max_dims=3, min_side=0))
)


@given(st.lists(ARRAYS, max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_arrays_come_back_as_they_were(given_arrays: list[np.ndarray], compress: bool) -> None:
    spool = Spool(compress)
    for array in given_arrays:
        spool.append(array)
    assert len(spool) == len(given_arrays)
    for index in reversed(range(len(spool))):
        found = spool[index]
        assert (found.shape, found.dtype) == (given_arrays[index].shape, given_arrays[index].dtype)
        assert found.tobytes() == given_arrays[index].tobytes()


def test_what_is_beyond_the_limit_goes_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_IN_MEMORY", 1000)
    spool = Spool(compress=False)
    for value in range(10):
        spool.append(np.full(300, value, np.uint8))
        assert (spool[value // 2] == value // 2).all()
    assert [int(spool[index][0]) for index in range(10)] == list(range(10))
    spool[0][:] = 1
    assert not spool[0].any()


@pytest.mark.parametrize("frames", [1, 8, MOST_TOGETHER, MOST_TOGETHER + 1, 999])
def test_each_part_is_spread_over_the_whole_clip(frames: int) -> None:
    parts = parts_of(frames)
    assert sorted(frame for part in parts for frame in part) == list(range(frames))
    assert max(len(part) for part in parts) <= MOST_TOGETHER
    assert all(part.start < len(parts) and frames - part[-1] <= len(parts) for part in parts)
    assert len(parts) == 1 or frames > MOST_TOGETHER
    for part in parts:
        assert [frame for chunk in chunks_of(part) for frame in chunk] == list(part)


def test_masks_of_absent_objects_are_empty() -> None:
    gathered = SelectorInputs(2)
    masks = np.random.default_rng(0).random((2, 128, 224)) > 0.5
    gathered.append(np.zeros((128, 224, 3), np.uint8), np.zeros((112, 384), np.float32), masks)
    assert (gathered.mask(0, 1) == masks[1]).all()
    assert not gathered.mask(0, None).any()


@given(
    st.lists(
        arrays.arrays(np.float32, st.just((3, 4, 5)), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)),
        max_size=3,
    )
)
@settings(max_examples=40, deadline=None)
def test_coarse_planes_come_back_within_half_a_step(planes: list[np.ndarray]) -> None:
    spool = CoarseSpool()
    for each in planes:
        spool.append(each)
    assert len(spool) == len(planes)
    for index, each in enumerate(planes):
        step = (each.max(axis=(1, 2)) - each.min(axis=(1, 2))) / 255
        assert (np.abs(spool[index] - each).max(axis=(1, 2)) <= 0.51 * step + 1e-3).all()
