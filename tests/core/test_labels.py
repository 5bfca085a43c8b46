"""Label maps: how far the masks of objects agree."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

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
