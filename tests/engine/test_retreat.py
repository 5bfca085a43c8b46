"""A device whose memory is used up: smaller batches first, then the CPU, and no finished frame is given twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.events import FrameLabels, Report
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine.builtin import BuiltinModel
from napari_appearrefine.engine.motion_cues import iterate_motion_cues
from napari_appearrefine.engine.networks.matching import MatchingNetwork
from napari_appearrefine.engine.refinement import refine
from napari_appearrefine.engine.retreat import RetreatingModel, is_out_of_memory
from small_clip import FRAMES, UnchangedModel, true_masks, video_frames


class CardModel(UnchangedModel):
    """Runs out of memory at one stage, or meets another error."""

    def __init__(self, stage: str, error: Exception) -> None:
        self.stage, self.error = stage, error

    def features(self, image: np.ndarray) -> Any:
        if self.stage == "features":
            raise self.error
        return super().features(image)

    def score(self, inputs):
        if self.stage == "score":
            raise self.error
        inputs.features(0)
        return (yield from super().score(inputs))

    def correct(self, inputs, scores, exemplars) -> Iterator[FrameLabels]:
        for event in super().correct(inputs, scores, exemplars):
            if self.stage == "correct" and event.frame == 3:
                raise self.error
            yield event


def run(model: RetreatingModel) -> tuple[list[int], Report]:
    *events, report = refine(Clip(video_frames()), true_masks(), RefineParameters(device="cpu"), model=model)
    frames = [event for event in events if isinstance(event, FrameLabels)]
    for event in frames:
        assert np.array_equal(event.labels, true_masks()[event.frame])
    assert isinstance(report, Report)
    return [event.frame for event in frames], report


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("MPS: out of memory")])
@pytest.mark.parametrize("stage", ["features", "score", "correct"])
def test_the_cpu_goes_on(stage: str, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    frames, report = run(RetreatingModel(CardModel(stage, error), UnchangedModel))
    assert frames == list(range(FRAMES))
    assert report.details["notices"] == [
        "The memory of the graphics card was used up, so the rest was computed on the CPU."
    ]
    assert caplog.text.count("used up") == 1


def test_other_errors_and_a_second_lack_of_memory_end_the_run() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        run(RetreatingModel(CardModel("score", RuntimeError("shapes differ")), UnchangedModel))
    full = torch.OutOfMemoryError("out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        run(RetreatingModel(CardModel("score", full), lambda: CardModel("correct", full)))
    frames, report = run(RetreatingModel(UnchangedModel(), UnchangedModel))
    assert len(frames) == FRAMES
    assert "notices" not in report.details


def test_objects_are_drawn_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = true_masks()
    masks[masks == 1] = 2
    masks[:, 36:44, 4:60:2] = 0
    for object_id, left in ((3, 4), (4, 24), (5, 44)):
        masks[:, 36:44, left : left + 8] = object_id
    model, clip = BuiltinModel.load(torch.device("cpu")), Clip(video_frames())
    parameters = RefineParameters(device="cpu", rounds=1, cache=False)

    def labels() -> np.ndarray:
        events = refine(clip, masks, parameters, model=model)
        return np.stack([event.labels for event in events if isinstance(event, FrameLabels)])

    expected, forward, sizes = labels(), MatchingNetwork.forward, []

    def one_at_a_time(self, image, *others):
        sizes.append(len(image))
        if len(image) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, image, *others)

    monkeypatch.setattr(MatchingNetwork, "forward", one_at_a_time)
    assert (labels() == expected).mean() > 0.999
    assert max(sizes) > 1


def test_features_of_motion_go_on_as_well(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from napari_appearrefine.engine.builtin_motion import load_motion_network

    network = load_motion_network(torch.device("cpu"))
    _, image, cues = next(iterate_motion_cues(Clip(video_frames(2, 64, 96))))
    expected = network.foreground(image, cues)
    # No card is at hand: what computes believes to be on one, and the first attempt fails.
    network._device = torch.device("cuda")
    failures = iter([torch.OutOfMemoryError("CUDA out of memory")])
    compute = network._foreground

    def failing_once(*arguments):
        for failure in failures:
            raise failure
        return compute(*arguments)

    monkeypatch.setattr(network, "_foreground", failing_once)
    assert np.array_equal(network.foreground(image, cues).probability, expected.probability)
    assert "used up" in caplog.text


def test_what_counts_as_a_lack_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("out of memory"))
