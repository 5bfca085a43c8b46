"""What a person tells a run: normal forms, settled pixels, masks with what was drawn."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_appearrefine.core.guidance import Guidance, MasksWithTruth, keep_settled

labels = arrays(np.uint8, (5, 6), elements=st.integers(0, 3))


@given(labels, labels, st.sets(st.integers(1, 3)))
def test_settled_objects_come_out_bit_for_bit(computed, before, settled):
    result = keep_settled(computed, before, settled)
    for object_id in settled:
        assert np.array_equal(result == object_id, before == object_id)
    untouched = ~np.isin(before, list(settled)) & ~np.isin(computed, list(settled))
    assert np.array_equal(result[untouched], computed[untouched])
    assert result.dtype == computed.dtype


@given(labels, labels, st.sets(st.integers(1, 3)))
def test_what_was_drawn_replaces_the_rough_mask(rough, drawn, settled):
    guidance = Guidance(truth={object_id: {0} for object_id in settled})
    masks = MasksWithTruth(rough[None], drawn[None], guidance)
    for object_id in settled:
        assert np.array_equal(masks[0] == object_id, drawn == object_id)
    for object_id in {1, 2, 3} - settled:
        assert not np.any((masks[0] == object_id) & (rough != object_id))


def test_json_holds_all_marks():
    guidance = Guidance({3: {1, 2}}, {3: [7]}, {4: frozenset({0})}, {5: range(2), 6: []})
    assert Guidance.from_json(json.loads(json.dumps(guidance.to_json()))) == guidance
    assert 6 not in guidance.locked


def test_banned_truth_stays_but_is_no_exemplar():
    guidance = Guidance(pinned={1: {4}}, banned={1: {2}}, truth={1: {2, 3}}, locked={2: {2}})
    assert guidance.exemplars_of(1) == {3, 4}
    assert guidance.true_exemplars_of(1) == {3}
    assert guidance.settled(2) == [1, 2]
    assert guidance.settled(4) == []
