"""Label maps: how far the masks of objects agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_appearrefine import Clip, UserError, flow_masks, refine
from napari_appearrefine.core.labels import label_ious

LABELS = arrays(np.uint16, (4, 5), elements=st.sampled_from([0, 1, 2, 5, 900]))


@given(LABELS, LABELS)
def test_ious_are_those_of_each_object_alone(one: np.ndarray, other: np.ndarray) -> None:
    ids = [1, 2, 7, 40]
    expected = []
    for key in ids:
        union = np.count_nonzero((one == key) | (other == key))
        expected.append(np.count_nonzero((one == key) & (other == key)) / max(union, 1))
    assert np.allclose(label_ious(one, other, ids), expected)


def test_ious_of_no_object_and_of_other_dtypes() -> None:
    empty = np.zeros((3, 3), np.uint8)
    assert label_ious(empty, empty, []).shape == (0,)
    assert label_ious(np.ones((3, 3), np.uint8), np.ones((3, 3), np.uint16), [1]).tolist() == [1.0]


def test_what_is_neither_a_clip_nor_masks_is_named() -> None:
    frames = np.zeros((3, 8, 8), np.uint8)
    for video, masks, words in [
        (frames, frames, r"type ndarray; give Clip\(array\)"),
        ("film.mp4", frames, "type str; give Clip"),
        (Clip(frames), "masks/", "masks is of the type str; give an integer array"),
        (Clip(frames), list(frames), "masks is of the type list; give an integer array"),
    ]:
        with pytest.raises(UserError, match=words):
            next(refine(video, masks))
    with pytest.raises(UserError, match="type ndarray"):
        next(flow_masks(frames))
