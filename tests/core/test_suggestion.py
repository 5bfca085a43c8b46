"""Next to fix: where a correction helps most, and the words for it."""

from __future__ import annotations

import numpy as np

from napari_appearrefine.core.suggestion import expected_gains, next_to_fix, next_unreviewed


def test_the_middle_of_the_poor_stretch_comes_first():
    quality = np.full((60, 1), 0.95)
    quality[20:40] = 0.3
    known = np.zeros((60, 1), bool)
    first = next_to_fix(quality, known, [7], reach=8.0)
    assert first is not None
    assert 24 <= first.frame <= 35
    assert first.object_id == 7
    assert "looks poor (about 30 % right)" in first.reason
    assert "poor masks around it" in first.reason
    known[first.frame] = True
    second = next_to_fix(quality, known, [7], reach=8.0)
    assert second is not None
    assert 20 <= second.frame < 40
    assert abs(second.frame - first.frame) > 4
    assert second.gain < first.gain
    assert f"{abs(second.frame - first.frame)} frames away" in second.reason


def test_gain_follows_its_formula():
    quality, known = np.array([0.5, np.nan, 1.0]), np.array([False, False, True])
    links = np.array([1.0, 0.5])
    by_truth = 0.7 + 0.3 / 4
    expected = 0.77 * (1 - np.exp(-2 / 5) * by_truth) + 0.77 * (np.exp(-1 / 5) - np.exp(-1 / 5) * by_truth)
    assert np.isclose(expected_gains(quality, known, links, reach=5.0)[0], expected)
    assert expected_gains(quality, known)[2] == 0


def test_a_frame_from_which_the_object_can_be_followed_comes_first():
    quality, known = np.full((21, 1), 0.5), np.zeros((21, 1), bool)
    plain = next_to_fix(quality, known, [3])
    assert plain is not None
    assert plain.frame == 10
    links = np.ones(20)
    links[8:12] = 0.05
    linked = next_to_fix(quality, known, [3], {3: links})
    assert linked is not None
    assert linked.frame in (7, 8, 12, 13)
    assert linked.gain < plain.gain


def test_the_object_in_need_is_named_and_nothing_is_left_at_the_end():
    quality, known = np.full((5, 2), 0.9), np.zeros((5, 2), bool)
    quality[2, 1] = 0.1
    suggestion = next_to_fix(quality, known, [1, 4])
    assert suggestion is not None
    assert (suggestion.frame, suggestion.object_id) == (2, 4)
    quality[2] = 0.97, 0.5
    assert "looks good (about 97 % right)" in next_to_fix(quality[2:3], np.array([[False, True]]), [1, 4]).reason
    assert next_to_fix(quality, ~known, [1, 4]) is None
    unknown = next_to_fix(np.full((1, 1), np.nan), np.zeros((1, 1), bool), [1])
    assert unknown is not None
    assert "Nothing is known" in unknown.reason


def test_unreviewed_frames_in_both_directions():
    reviewed = np.array([[True], [False], [True], [False]])
    assert next_unreviewed(reviewed, 1) == 3
    assert next_unreviewed(reviewed, 3) == 1
    assert next_unreviewed(reviewed, 2, step=-1) == 1
    assert next_unreviewed(np.ones((3, 1), bool), 0) is None
