"""The review table: every edit has an inverse, objects come and go, and it survives being stored."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_appearrefine.core.review import ReviewTable
from napari_appearrefine.core.review_cells import CELL, ExemplarState, Source

FRAMES = 6


def state(table: ReviewTable) -> tuple[object, ...]:
    cells = tuple((object_id, table.cells(object_id).tobytes()) for object_id in table.object_ids)
    return cells, dict(table.names), table.runs


def small_table() -> ReviewTable:
    areas = {2: np.array([0, 5, 5, 5, 5, 5]), 5: np.array([3, 3, 3, 0, 0, 0])}
    return ReviewTable.of_masks(FRAMES, areas, Source.FLOW)


def some_edit(table: ReviewTable, draw: st.DataObject):
    ids = table.object_ids
    frames = st.lists(st.integers(0, FRAMES - 1), min_size=1, unique=True)
    free = st.integers(1, 9).filter(lambda object_id: object_id not in ids)
    kinds = ["added"] + (["edited", "set", "ran", "deleted", "named", "renumbered", "split", "taken"] if ids else [])
    kinds += ["swapped", "merged"] if len(ids) > 1 else []
    kind = draw.draw(st.sampled_from(kinds))
    one = draw.draw(st.sampled_from(ids)) if ids else 0
    if kind == "added":
        return table.added(draw.draw(free), Source.PERSON, draw.draw(frames))
    if kind == "edited":
        return table.edited([one], draw.draw(frames), present=draw.draw(st.booleans()))
    if kind == "set":
        return table.set("Pin", ids, draw.draw(frames), exemplar=ExemplarState.PINNED, locked=draw.draw(st.booleans()))
    if kind == "ran":
        before = np.full((FRAMES, len(ids)), 0.25)
        return table.ran({"exemplars": 3}, ids, before, {one: draw.draw(frames)}, before + 0.5)
    if kind == "deleted":
        return table.deleted(one)
    if kind == "named":
        return table.named(one, draw.draw(st.sampled_from(["fish", ""])))
    if kind == "renumbered":
        return table.renumbered(one, draw.draw(free))
    if kind == "split":
        return table.split(one, draw.draw(free), draw.draw(frames), whole=draw.draw(st.booleans()))
    if kind == "taken":
        return table.taken_over(one, draw.draw(frames), run=1)
    other = draw.draw(st.sampled_from([object_id for object_id in ids if object_id != one]))
    start = draw.draw(st.integers(0, FRAMES - 1))
    return table.swapped(one, other, start) if kind == "swapped" else table.merged(one, other, start)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_edit_can_be_taken_back_and_done_again(draw):
    table = small_table()
    states, inverses = [state(table)], []
    for _ in range(draw.draw(st.integers(1, 6))):
        inverses.append(table.apply(some_edit(table, draw)))
        states.append(state(table))
    again = []
    for expected, inverse in zip(states[-2::-1], reversed(inverses), strict=True):
        again.append(table.apply(inverse))
        assert state(table) == expected
    for expected, edit in zip(states[1:], reversed(again), strict=True):
        table.apply(edit)
        assert state(table) == expected


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_edits_one_after_another_are_one_edit(draw):
    table, whole = small_table(), None
    before = state(table)
    for _ in range(draw.draw(st.integers(1, 5))):
        inverse = table.apply(some_edit(table, draw))
        whole = inverse if whole is None else inverse.then(whole)
    after = state(table)
    again = table.apply(whole)
    assert state(table) == before
    table.apply(again)
    assert state(table) == after


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_arrays_and_json_hold_the_whole_table(draw):
    table = small_table()
    for _ in range(4):
        table.apply(some_edit(table, draw))
    arrays, facts = table.to_arrays()
    assert {array.dtype.kind for array in arrays.values()} <= set("fub")
    assert state(ReviewTable.from_arrays(arrays, json.loads(json.dumps(facts)))) == state(table)


def test_arrays_of_another_table_are_refused():
    arrays, facts = small_table().to_arrays()
    with pytest.raises(ValueError, match="before"):
        ReviewTable.from_arrays(arrays, facts | {"frames": 7})


def test_a_run_chooses_exemplars_but_pins_and_bans_stay():
    table = small_table()
    table.apply(table.set("Pin", [2], [1], exemplar=ExemplarState.PINNED))
    table.apply(table.set("Ban", [2], [4], exemplar=ExemplarState.BANNED))
    nothing = np.zeros((FRAMES, 2))
    table.apply(table.ran({}, [2, 5], nothing, {2: [1, 2], 5: [0]}))
    assert table.cells(2)["exemplar"].tolist() == [0, ExemplarState.PINNED, ExemplarState.CHOSEN, 0, 3, 0]
    table.apply(table.ran({}, [2, 5], nothing, {2: [1, 3], 5: [0]}))
    assert table.cells(2)["exemplar"].tolist() == [0, ExemplarState.PINNED, 0, ExemplarState.CHOSEN, 3, 0]
    assert [run.number for run in table.runs] == [1, 2]


def test_marks_become_guidance():
    table = small_table()
    table.apply(table.edited([2], [3]))
    table.apply(table.set("Lock", [2, 5], [0], locked=True))
    table.apply(table.set("Ban", [5], [1], exemplar=ExemplarState.BANNED))
    guidance = table.guidance()
    assert guidance.truth == {2: frozenset({3})}
    assert guidance.locked == {2: frozenset({0}), 5: frozenset({0})}
    assert guidance.banned == {5: frozenset({1})}
    assert table.cells(2)["source"][3] == Source.PERSON


def test_accepting_a_run_leaves_edited_and_locked_masks_what_they_are():
    table = small_table()
    table.apply(table.edited([2], [3]))
    table.apply(table.set("Lock", [2], [4], locked=True))
    table.apply(table.taken_over(2, range(FRAMES), run=7))
    cells = table.cells(2)
    assert cells["source"].tolist() == [2, 2, 2, Source.PERSON, Source.FLOW, 2]
    assert cells["run"].tolist() == [7, 7, 7, 0, 0, 7]


def test_cells_are_not_changed_behind_the_table_s_back():
    table = small_table()
    with pytest.raises(ValueError, match="read-only"):
        table.cells(2)["locked"] = True
    assert table.cells(2).dtype == CELL
    with pytest.raises(ValueError, match="object 5"):
        table.renumbered(2, 5)
    assert table.column("before", []).shape == (FRAMES, 0)


def test_merging_keeps_what_is_left_before_the_frame():
    table = small_table()
    table.apply(table.merged(2, 5, start=2))
    assert table.object_ids == [2, 5]
    assert table.cells(5)["present"].tolist() == [True, True, False, False, False, False]
    table.apply(table.merged(2, 5))
    assert table.object_ids == [2]
    assert table.cells(2)["present"].all()
