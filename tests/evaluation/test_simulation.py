"""The simulated annotator: what it corrects and what is measured."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from napari_appearrefine.cli.simulation import run_simulation
from napari_appearrefine.core.clip import Clip, FrameSource
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.events import Event, FrameLabels, Progress, Report
from napari_appearrefine.core.guidance import Guidance
from napari_appearrefine.evaluation.simulation import matched_ids, simulate, table

FRAMES = 12


def make_truth() -> np.ndarray:
    truth = np.zeros((FRAMES, 20, 30), np.uint8)
    truth[:, 4:12, 4:14] = 1
    truth[:, 14:18, 18:28] = 2
    return truth


def make_rough() -> np.ndarray:
    """Ids exchanged, one more object, and frames 6 to 9 half empty."""
    truth = make_truth()
    rough = np.zeros_like(truth)
    rough[truth == 1], rough[truth == 2] = 7, 1
    rough[:, 0, 0] = 3
    rough[6:10, :, 9:] = 0
    return rough


def copy_truth_to_neighbours(clip: Clip, masks: FrameSource, guidance: Guidance) -> Iterator[Event]:
    """A model that is right within two frames of a corrected one, and knows where it is not."""
    corrected = next(iter(guidance.truth.values()), frozenset())
    quality = []
    for frame in range(len(clip)):
        near = [true for true in corrected if abs(true - frame) <= 2]
        labels = np.asarray(masks[near[0] if near else frame])
        right = bool(near) or not 6 <= frame < 10
        quality.append([0.95 if right else 0.4] * 3)
        yield FrameLabels(frame, labels)
        yield Progress("Correcting frames", frame + 1, len(clip))
    yield Report(FRAMES, [1, 2, 8], [], {}, 0.0, "copy", "cpu", "0", quality)


@pytest.fixture
def clip() -> Clip:
    return Clip(np.zeros((FRAMES, 20, 30), np.uint8))


def test_the_suggested_frame_repairs_the_clip_at_once(clip):
    result = run_simulation(clip, make_rough(), make_truth(), copy_truth_to_neighbours, "suggested", 2)
    assert len(result.rounds) == 3
    assert result.rounds[0].region < 0.9
    assert 6 <= result.rounds[1].corrected < 10
    assert "40 % right" in result.rounds[1].reason
    assert result.rounds[1].region > result.rounds[0].region
    assert result.rounds[2].region == result.rounds[2].contour == 1.0
    values = [each.region for each in result.rounds]
    assert result.area == pytest.approx((values[0] / 2 + values[1] + values[2] / 2) / 2)


def test_policies_choose_as_they_say(clip):
    rounds = {
        policy: run_simulation(clip, make_rough(), make_truth(), copy_truth_to_neighbours, policy, 3).rounds
        for policy in ("uniform", "random", "worst")
    }
    assert [each.corrected for each in rounds["uniform"][1:]] == [6, 2, 10]
    assert len({each.corrected for each in rounds["random"][1:]}) == 3
    assert rounds["worst"][1].corrected == 6
    with pytest.raises(UserError, match="'best' is not known"):
        next(simulate(clip, make_rough(), make_truth(), copy_truth_to_neighbours, "best"))


def test_more_rounds_than_frames(clip):
    short = Clip(np.zeros((2, 20, 30), np.uint8))
    result = run_simulation(short, make_rough()[:2], make_truth()[:2], copy_truth_to_neighbours, "suggested", 9)
    assert sorted(each.corrected for each in result.rounds[1:]) == [0, 1]
    assert "suggested" in table([result])


def test_objects_get_the_ids_of_the_true_ones():
    matched = matched_ids(make_rough().astype(np.uint16), make_truth().astype(np.uint16))
    assert set(np.unique(matched)) == {0, 1, 2, 8}
    assert np.array_equal(matched[0, 4:12, 4:14], make_truth()[0, 4:12, 4:14])


def test_an_empty_truth_is_refused(clip):
    with pytest.raises(UserError, match="no object"):
        next(simulate(clip, make_rough(), np.zeros((FRAMES, 20, 30), np.uint8), copy_truth_to_neighbours))
