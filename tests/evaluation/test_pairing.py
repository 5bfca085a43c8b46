"""Objects of two labellings are paired by what they share, whatever their ids."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_appearrefine.evaluation.pairing import counterparts

labels = arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 3))


@given(labels, st.permutations([1, 2, 3]))
def test_renamed_objects_are_found_again(masks, ids):
    table = np.array([0, *(1000 * key for key in ids)])
    present = [int(key) for key in np.unique(masks) if key]
    assert counterparts(masks, table[masks]) == {key: int(table[key]) for key in present}


@given(labels, labels)
def test_pairs_are_one_to_one_and_overlap(masks, truth):
    pairs = counterparts(masks, truth)
    assert len(set(pairs.values())) == len(pairs)
    assert all(((masks == own) & (truth == other)).any() for own, other in pairs.items())


def test_the_sum_of_overlaps_decides():
    masks = np.array([[[1, 1, 1, 2, 2, 0]]])
    truth = np.array([[[5, 5, 4, 4, 4, 4]]])
    assert counterparts(masks, truth) == {1: 5, 2: 4}
    assert counterparts(masks, np.zeros_like(truth)) == {}
