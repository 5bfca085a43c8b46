"""The DAVIS-2017 evaluator: the official values, its rules on objects and frames, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_appearrefine.core.errors import UserError
from napari_appearrefine.evaluation.davis import evaluate_clip, evaluate_folders
from napari_appearrefine.evaluation.results import EvaluationResult, Statistics

GOLDEN = Path(__file__).parents[1] / "data" / "davis_measures.npz"


class NamedMasks:
    """Masks with names, which count how often each frame is read."""

    def __init__(self, masks, names=None):
        self.masks, self.shape, self.dtype = masks, masks.shape, masks.dtype
        self.frame_names = names or [f"{t:05d}" for t in range(len(masks))]
        self.reads = np.zeros(len(masks), int)

    def __len__(self):
        return len(self.masks)

    def __getitem__(self, index):
        self.reads[index] += 1
        return self.masks[index]


def _square(shape, top, left, size, value=1):
    labels = np.zeros(shape, np.uint8)
    labels[top : top + size, left : left + size] = value
    return labels


def _clip(ids=(1, 2), frames=5):
    return np.stack(
        [sum(_square((60, 80), 5 + 25 * k, 5 + 4 * t, 15, value) for k, value in enumerate(ids)) for t in range(frames)]
    )


def _write(folder, masks, names=None):
    folder.mkdir(parents=True)
    for index, mask in enumerate(masks):
        cv2.imwrite(str(folder / f"{names[index] if names else format(index, '05d')}.png"), mask)
    return folder


@pytest.mark.parametrize("task", ["unsupervised", "semi-supervised"])
def test_equal_to_the_official_evaluator(task):
    golden = np.load(GOLDEN)
    result = evaluate_clip(golden["truth"], golden["prediction"], task)
    prefix = {"unsupervised": "unsupervised", "semi-supervised": "semi"}[task]
    # The official arrays come in the order of the proposals, ours in that of the true objects.
    objects = sorted(result.objects, key=lambda each: each.predicted_id)
    region = np.stack([each.region for each in objects])
    contour = np.stack([each.contour for each in objects])
    np.testing.assert_allclose(region, golden[f"{prefix}_J"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(contour, golden[f"{prefix}_F"], rtol=0, atol=1e-6)
    assert pytest.approx(golden[f"{prefix}_J"].mean(), abs=1e-6) == result.J
    assert pytest.approx(golden[f"{prefix}_F"].mean(), abs=1e-6) == result.F
    if task == "unsupervised":
        for each, j, f in zip(
            objects, golden["unsupervised_J_statistics"], golden["unsupervised_F_statistics"], strict=True
        ):
            assert (each.J.mean, each.J.recall, each.J.decay) == pytest.approx(tuple(j), abs=1e-6)
            assert (each.F.mean, each.F.recall, each.F.decay) == pytest.approx(tuple(f), abs=1e-6)


def test_objects_are_matched_whatever_their_ids():
    truth, prediction = _clip((1, 2)), _clip((9, 4))
    result = evaluate_clip(truth, prediction)
    assert [(each.object_id, each.predicted_id) for each in result.objects] == [(1, 9), (2, 4)]
    assert result.JF == 1
    assert evaluate_clip(truth, prediction, "semi-supervised").JF == 0


def test_missing_and_superfluous_proposals():
    truth, both = _clip((1, 2)), _clip((1, 2))
    one = np.where(both == 2, 2, 0).astype(np.uint8)
    result = evaluate_clip(truth, one)
    assert [(each.predicted_id, each.J.mean) for each in result.objects] == [(None, 0), (2, 1)]
    assert evaluate_clip(one, both).J == 1
    assert evaluate_clip(truth, np.zeros_like(truth)).JF == 0


def test_at_most_twenty_proposals():
    truth = _clip((1,))
    prediction = truth.copy()
    prediction[0, -1, :19] = np.arange(2, 21)
    assert evaluate_clip(truth, prediction).J > 0.9
    prediction[0, -1, 19] = 21
    with pytest.raises(UserError, match=r"masks\.tif holds 21 objects.*20 at most"):
        evaluate_clip(truth, prediction, prediction_name="masks.tif")
    assert evaluate_clip(truth, prediction, "semi-supervised").J == 1


def test_semi_supervised_leaves_out_the_first_and_last_frame():
    truth = _clip((1,))
    prediction = truth.copy()
    prediction[[0, -1]] = 0
    result = evaluate_clip(truth, prediction, "semi-supervised")
    assert result.frames == 3
    assert result.JF == 1
    assert pytest.approx(3 / 5) == evaluate_clip(truth, prediction).J
    with pytest.raises(UserError, match="3 at least"):
        evaluate_clip(truth[:2], prediction[:2], "semi-supervised")


def test_binary_masks_are_one_object():
    truth, prediction = _clip((1,)) * 255, _clip((1,))
    assert evaluate_clip(truth, prediction).JF == 1
    assert evaluate_clip(truth, truth).JF == 1
    assert evaluate_clip(truth, prediction, "semi-supervised").JF == 1
    assert evaluate_clip(prediction, truth, "semi-supervised").JF == 1
    assert evaluate_clip(truth > 0, truth).objects[0].predicted_id == 255


def test_void_is_ignored_beside_other_ids():
    truth = _clip((1, 2))
    prediction = truth.copy()
    truth[:, 45:, :] = 255
    prediction[:, 45:, :] = 2
    with_void = evaluate_clip(truth, prediction)
    assert [each.object_id for each in with_void.objects] == [1, 2]
    assert with_void.JF == 1
    assert evaluate_clip(np.where(truth == 255, 0, truth).astype(np.uint8), prediction).J < 0.8


def test_the_first_frame_decides_which_objects_count():
    truth = _clip((1, 2))
    truth[0][truth[0] == 2] = 0
    result = evaluate_clip(truth, truth)
    assert [each.object_id for each in result.objects] == [1]
    assert result.left_out == [2]
    assert "not measured" in EvaluationResult("unsupervised", [result]).to_table()
    truth[0] = 0
    assert [each.object_id for each in evaluate_clip(truth, truth).objects] == [1, 2]


def test_frames_are_paired_by_name():
    truth = _clip((1,))
    prediction = np.concatenate([np.zeros_like(truth[:1]), truth])
    names = [f"{t:05d}" for t in range(5)]
    assert evaluate_clip(NamedMasks(truth, names), NamedMasks(prediction, ["extra", *names])).JF == 1
    sparse = NamedMasks(truth[::2], names[::2])
    assert evaluate_clip(sparse, NamedMasks(truth, names)).JF == 1
    with pytest.raises(UserError, match="no mask for frame 00001 and 1 others"):
        evaluate_clip(NamedMasks(truth, names), sparse)
    assert evaluate_clip(NamedMasks(truth, names), NamedMasks(truth, list("abcde"))).JF == 1


def test_each_frame_is_read_twice_only():
    truth, prediction = NamedMasks(_clip()), NamedMasks(_clip())
    evaluate_clip(truth, prediction)
    assert truth.reads.max() == prediction.reads.max() == 2


def test_recall_and_decay():
    values = np.array([1.0, 1, 1, 0.6, 0.6, 0.4, 0.4, 0.2, 0.0])
    result = Statistics.of(values)
    assert result.recall == 5 / 9
    # Official quarters of 9 frames: 0-2 and 6-8, their limits shared.
    assert result.decay == pytest.approx(1.0 - 0.2)
    assert Statistics.of(np.ones(1)) == Statistics(1, 1, 0)
    assert Statistics.of(np.linspace(1, 0, 1000)).decay == pytest.approx(0.75, abs=0.002)


@pytest.mark.parametrize(
    ("prediction", "words"),
    [
        (np.zeros((5, 60, 81), np.uint8), "81 x 60 pixels"),
        (np.zeros((4, 60, 80), np.uint8), "has 4 frames"),
        (np.zeros((60, 80), np.uint8), "time, height, width"),
        (np.full((5, 60, 80), -1, np.int32), "negative"),
    ],
)
def test_predictions_that_do_not_fit(prediction, words):
    with pytest.raises(UserError, match=words):
        evaluate_clip(_clip(), prediction)


def test_a_truth_without_objects_and_an_unknown_task():
    with pytest.raises(UserError, match="no object"):
        evaluate_clip(np.zeros((5, 60, 80), np.uint8), _clip())
    with pytest.raises(UserError, match="unsupervised or semi-supervised"):
        evaluate_clip(_clip(), _clip(), "supervised")


def test_folders_of_clips(tmp_path):
    _write(tmp_path / "truth" / "a", _clip((1,)) * 255)
    _write(tmp_path / "truth" / "b", _clip((1, 2)))
    _write(tmp_path / "prediction" / "a", _clip((1,)))
    _write(tmp_path / "prediction" / "b", _clip((2, 1)) * (np.arange(5) > 1).astype(np.uint8)[:, None, None])
    result = evaluate_folders(tmp_path / "truth", tmp_path / "prediction")
    assert [clip.clip for clip in result.clips] == ["a", "b"]
    assert [clip.J for clip in result.clips] == pytest.approx([1, 0.6])
    assert pytest.approx((1 + 0.6 + 0.6) / 3) == result.J  # over objects, not clips
    figures = json.loads(json.dumps(result.to_json()))
    assert figures["J"] == pytest.approx(result.J)
    assert figures["J&F"] == pytest.approx(result.JF)
    assert figures["clips"][1]["objects"][0]["prediction"] == 2
    assert len(figures["clips"][1]["objects"][0]["J_frames"]) == 5
    table = result.to_table().splitlines()
    assert len(table) == 5
    assert table[-1].startswith("mean")
    assert evaluate_folders(tmp_path / "truth", tmp_path / "prediction", clips=["a"]).J == 1


def test_files_are_paired_by_name(tmp_path):
    truth, names = _clip((1,)), [f"{t:05d}" for t in range(5)]
    _write(tmp_path / "truth" / "a", truth[::2] * 255, names[::2])
    _write(tmp_path / "prediction" / "a", truth, names)
    assert evaluate_folders(tmp_path / "truth", tmp_path / "prediction").JF == 1
    (tmp_path / "prediction" / "a" / "00002.png").unlink()
    with pytest.raises(UserError, match=r"prediction/a has no mask for frame 00002 of .*truth/a"):
        evaluate_folders(tmp_path / "truth", tmp_path / "prediction")


def test_one_clips_folder(tmp_path):
    truth = _write(tmp_path / "truth" / "a", _clip())
    prediction = _write(tmp_path / "prediction" / "a", _clip())
    other = _write(tmp_path / "other", _clip())
    assert evaluate_folders(truth, other).JF == 1
    assert evaluate_folders(truth, prediction.parent).JF == 1
    assert evaluate_folders(truth.parent, prediction).JF == 1
    with pytest.raises(UserError, match="one clip"):
        evaluate_folders(truth.parent, other)


def test_a_folder_beside_the_masks_of_one_clip_is_none_of_its_clips(tmp_path):
    masks = _clip()
    _write(tmp_path / "truth", masks)
    _write(tmp_path / "truth" / "older", masks[:1])
    _write(tmp_path / "mine", masks)
    assert evaluate_folders(tmp_path / "truth", tmp_path / "mine").J == 1


def test_bad_folders(tmp_path):
    truth = _write(tmp_path / "truth" / "a", _clip())
    (tmp_path / "empty").mkdir()
    (tmp_path / "prediction" / "b").mkdir(parents=True)
    with pytest.raises(UserError, match="does not exist"):
        evaluate_folders(truth, tmp_path / "nowhere")
    with pytest.raises(UserError, match="is empty"):
        evaluate_folders(truth, tmp_path / "empty")
    with pytest.raises(UserError, match="no masks for the clip 'a'"):
        evaluate_folders(truth.parent, tmp_path / "prediction")
    with pytest.raises(UserError, match="has no clip 'z'"):
        evaluate_folders(truth.parent, truth.parent, clips=["z"])
