"""A run proposes, the person disposes; their own edits win."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_appearrefine.core.proposal import Decision, Proposal, change_map, frame_change, touched_objects

labels = arrays(np.uint8, (2, 4, 5), elements=st.integers(0, 3))
IDS = [1, 2, 3]


@given(labels, labels)
def test_accepting_all_gives_the_proposal_and_undo_gives_what_was_there(baseline, proposed):
    current = baseline.copy()
    inverses = [patch.apply(current) for patch in Proposal(baseline, proposed, IDS).patches(baseline.copy())]
    assert np.array_equal(current, proposed)
    for inverse in reversed(inverses):
        inverse.apply(current)
    assert np.array_equal(current, baseline)


@given(labels, labels, labels)
def test_a_person_s_edits_meanwhile_win(baseline, proposed, now):
    current = now.copy()
    for patch in Proposal(baseline, proposed, IDS).patches(now):
        patch.apply(current)
    for frame in range(len(now)):
        for object_id in touched_objects(baseline[frame], now[frame]):
            assert np.array_equal(current[frame] == object_id, now[frame] == object_id)


@given(labels, labels, st.sampled_from(IDS))
def test_accepting_one_object_changes_no_other_s_gain(baseline, proposed, object_id):
    current = baseline.copy()
    for patch in Proposal(baseline, proposed, IDS).patches(baseline, object_ids=[object_id]):
        patch.apply(current)
    assert np.array_equal(current == object_id, proposed == object_id)
    for other in set(IDS) - {object_id}:
        assert not np.any((current == other) & (baseline != other))


def test_what_is_decided_is_not_proposed_again():
    baseline, proposed = np.zeros((3, 2, 2), np.uint8), np.ones((3, 2, 2), np.uint8)
    proposal = Proposal(baseline, proposed, [1])
    before = proposal.decide(Decision.REJECTED, frames=[1])
    assert [patch.frame for patch in proposal.patches(baseline)] == [0, 2]
    proposal.decide(Decision.ACCEPTED)
    assert proposal.decisions[:, 0].tolist() == [Decision.ACCEPTED, Decision.REJECTED, Decision.ACCEPTED]
    assert not proposal.is_open(range(3))
    proposal.decisions = before
    assert [patch.frame for patch in proposal.patches(baseline, frames=range(1, 3))] == [1, 2]


def test_changes_are_counted_and_marked():
    before, after = np.array([[0, 1, 1, 2]]), np.array([[1, 1, 0, 1]])
    change = frame_change(before, after)
    assert change.added == {1: 2}
    assert change.removed == {1: 1, 2: 1}
    assert change_map(before, after, [1, 2]).tolist() == [[1, 0, 2, 3]]
    assert change_map(before, after, [2]).tolist() == [[0, 0, 0, 3]]
    assert change_map(before, after, [1, 2], [2]).tolist() == [[1, 0, 2, 0]]
    assert not frame_change(before, before)
