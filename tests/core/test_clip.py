"""How the networks see frames of any type."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from napari_appearrefine.core.clip import Clip

VALUES = np.random.default_rng(0).integers(0, 200, (4, 20, 20))


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, float])
def test_the_same_picture_in_any_type(dtype: type) -> None:
    expected = Clip(VALUES.astype(np.uint16)).rgb(1)
    np.testing.assert_array_equal(Clip(VALUES.astype(dtype)).rgb(1), expected)


@pytest.mark.parametrize(("dtype", "offset"), [(np.int32, 2_000_000_000), (np.uint32, 4_000_000_000), (float, 1e12)])
def test_small_differences_between_large_values_are_kept(dtype: type, offset: float) -> None:
    expected = Clip(VALUES.astype(np.uint16)).rgb(1)
    np.testing.assert_array_equal(Clip((VALUES + int(offset)).astype(dtype)).rgb(1), expected)


def test_values_that_are_too_large_for_single_precision() -> None:
    expected = Clip(VALUES.astype(np.uint16)).rgb(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = Clip(VALUES * 1e300).rgb(1)
    assert np.abs(seen.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("dtype", "value"), [(np.uint64, 2**63), (float, -1e300), (np.uint16, 7)])
def test_one_value_everywhere_is_black(dtype: type, value: float) -> None:
    assert not Clip(np.full((4, 20, 20), value, dtype)).rgb(1).any()


def test_what_is_no_number_is_black_and_sets_no_range() -> None:
    frames = VALUES.astype(np.float32)
    frames[:, :5], frames[:, 5:10] = np.nan, np.inf
    seen = Clip(frames).rgb(1)
    assert (seen[:5] == 0).all()
    assert (seen[5:10] == 255).all()
    assert seen[10:].std() > 50


def test_frames_that_are_read_only_can_be_written_to_when_they_are_seen() -> None:
    frames = VALUES[..., None].repeat(3, -1).astype(np.uint8)
    frames.setflags(write=False)
    seen = Clip(frames).rgb(1)
    assert np.array_equal(seen, frames[1])
    assert seen.flags.writeable
