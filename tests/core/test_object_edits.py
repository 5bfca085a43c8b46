"""Edits of whole objects: right pixels, and back again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.object_edits import (
    change_id,
    delete_object,
    merge_objects,
    split_part,
    swap_objects,
)
from napari_appearrefine.core.patches import LabelPatch


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros((4, 8, 12), np.uint8)
    labels[:, 1:3, 1:4] = 1
    labels[:, 5:7, 6:9] = 2
    return labels


def applied(labels: np.ndarray, patches: Iterable[LabelPatch]) -> np.ndarray:
    result = labels.copy()
    inverses = [patch.apply(result) for patch in patches]
    undone = result.copy()
    for inverse in reversed(inverses):
        inverse.apply(undone)
    assert np.array_equal(undone, labels)
    return result


def test_delete(labels):
    assert not (applied(labels, delete_object(labels, 1, range(4))) == 1).any()
    result = applied(labels, delete_object(labels, 1, frames=[2]))
    assert (result == 1).any(axis=(1, 2)).tolist() == [True, True, False, True]
    assert np.array_equal(result == 2, labels == 2)


def test_swap_and_merge_and_split_from_a_frame_on(labels):
    swapped = applied(labels, swap_objects(labels, 1, 2, range(2, 4)))
    assert np.array_equal(swapped[:2], labels[:2])
    assert np.array_equal(swapped[2:] == 1, labels[2:] == 2)
    assert np.array_equal(swapped[2:] == 2, labels[2:] == 1)
    merged = applied(labels, merge_objects(labels, into=1, other=2, frames=range(1, 4)))
    assert np.array_equal(merged[1:] == 1, labels[1:] > 0)
    split = applied(labels, change_id(labels, 2, 9, [3]))
    assert np.array_equal(split[3] == 9, labels[3] == 2)
    assert not (split[:3] == 9).any()


def test_another_id_must_fit(labels):
    assert np.array_equal(applied(labels, change_id(labels, 1, 200, range(4))) == 200, labels == 1)
    with pytest.raises(UserError, match="from 1 to 255"):
        change_id(labels, 1, 256, range(4))


def test_a_part_is_split_off_and_followed_until_the_parts_touch(labels):
    labels[labels == 2] = 1
    labels[1:, 5:7, 7:10] = 1
    labels[3, 1:7, 3:7] = 1
    result = applied(labels, split_part(labels, 1, 4, frame=0, row=5, column=7, last=3))
    for frame in range(3):
        assert np.array_equal(result[frame, 4:] == 4, labels[frame, 4:] == 1)
        assert np.array_equal(result[frame, :4] == 1, labels[frame, :4] == 1)
    assert not (result[3] == 4).any()
    with pytest.raises(UserError, match="not at this point"):
        split_part(labels, 1, 4, frame=0, row=0, column=0)
    with pytest.raises(UserError, match="in one piece in frame 3"):
        split_part(labels, 1, 4, frame=3, row=5, column=7)
