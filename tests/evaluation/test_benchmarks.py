"""The benchmark scripts: right figures with a model whose output is known, and honest failure without data."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_appearrefine.core.events import FrameLabels, Progress

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _script(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class KnownModel:
    """Scores masks by their true J and answers with the truth, or with its input."""

    name = "known"
    spreads_exemplars = False
    most_rounds = 1

    def __init__(self, truth, perfect):
        self.truth, self.perfect = truth, perfect

    def fitted_to(self, size, areas):
        return self

    def features(self, image):
        return None

    def score(self, inputs):
        yield Progress("Scoring masks", 0, 1)
        scores = np.zeros((len(inputs.clip), len(inputs.areas)), np.float32)
        for frame in range(len(inputs.clip)):
            for column, (object_id, plane) in enumerate(zip(inputs.areas, inputs.planes(frame), strict=True)):
                true = self.truth[frame] == object_id
                scores[frame, column] = (true & plane).sum() / max((true | plane).sum(), 1)
        return scores

    def confirmed(self, inputs, exemplars):
        return exemplars

    def correct(self, inputs, scores, exemplars):
        for frame in range(len(inputs.clip)):
            yield FrameLabels(frame, self.truth[frame] if self.perfect else np.asarray(inputs.masks[frame]))


@pytest.fixture
def data(tmp_path):
    """Two clips in DAVIS's layout: one binary object, and two objects with ids."""
    truths = {}
    for name, ids in (("one", (1,)), ("two", (1, 2))):
        truth = np.zeros((12, 60, 80), np.uint8)
        for t in range(12):
            for k, object_id in enumerate(ids):
                truth[t, 8 + 26 * k : 26 + 26 * k, 5 + 4 * t : 25 + 4 * t] = object_id
        for kind, frames, suffix in (("JPEGImages", truth * 90, "jpg"), ("Annotations", truth, "png")):
            folder = tmp_path / kind / "480p" / name
            folder.mkdir(parents=True)
            for t, frame in enumerate(frames):
                white = kind == "Annotations" and name == "one"
                cv2.imwrite(str(folder / f"{t:05d}.{suffix}"), frame * 255 if white else frame)
        truths[name] = truth
    return tmp_path, truths


def _options(script, data, **changes):
    given = {
        "data": data,
        "input": "damaged",
        "cache": data / "cache",
        "fresh": False,
        "seed": 0,
        "exemplars": 3,
        "device": "cpu",
        "save_masks": None,
    }
    return script.Options(**(given | changes))


@pytest.mark.parametrize("name", ["one", "two"])
def test_damaged_input_with_a_perfect_and_an_idle_model(data, name):
    folder, truths = data
    script = _script("davis_dev")
    options = _options(script, folder, save_masks=folder / "refined")
    perfect = script.measure_clip(name, options, KnownModel(truths[name], True))
    assert perfect["single"] == (name == "one")
    assert perfect["refined"] == {"J": 1, "F": 1, "J&F": 1}
    assert 0.3 < perfect["input"]["J"] < 0.95
    assert len(perfect["damaged_frames"]) == 4
    assert perfect["on_intact"] == [1, 1]
    assert perfect["on_damaged"][0] < perfect["on_damaged"][1] == 1
    assert perfect["selection"]["rank_correlation"] == pytest.approx(1)
    assert perfect["selection"]["exemplar_J"] == 1
    mean = script.summary([perfect], True)
    assert mean["brought_back"] == pytest.approx(1)
    assert mean["selection"]["rank_over_all"] == pytest.approx(1, abs=0.05)
    written = cv2.imread(str(folder / "refined" / name / "00003.png"), cv2.IMREAD_UNCHANGED)
    assert written is not None

    idle = script.measure_clip(name, _options(script, folder), KnownModel(truths[name], False))
    assert idle["input"] == perfect["input"] == idle["refined"]
    assert script.summary([idle], True)["brought_back"] == 0
    table = script.table([perfect, idle], True)
    assert "better than the input on 1 of 2" in table
    assert "% of lost J brought back" in table


def test_flow_masks_are_kept(data):
    folder, truths = data
    script = _script("davis_dev")
    options = _options(script, folder, input="flow")
    options.cache.mkdir()
    shifted = np.roll(truths["one"], 2, axis=1)
    np.savez(options.cache / "one.npz", masks=shifted, seconds=6.0)
    figures = script.measure_clip("one", options, KnownModel(truths["one"], True))
    assert figures["flow_seconds"] == 6.0
    assert figures["input"]["J"] == pytest.approx(16 / 20)
    assert figures["gain"] == pytest.approx(4 / 20)
    np.savez(options.cache / "one.npz", masks=np.zeros_like(shifted), seconds=6.0)
    assert script.measure_clip("one", options)["refined"]["J"] == 0


def test_missing_data_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "davis_dev.py", "--data", tmp_path], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "give the folder that holds JPEGImages" in done.stderr
    assert "Traceback" not in done.stderr


def test_looped_frames_go_forth_and_back():
    script = _script("speed")
    frames = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((1, 6, 8), np.uint8)
    looped = script.LoopedFrames(frames, 11, (12, 16))
    assert looped.shape == (11, 12, 16)
    assert [int(looped[t].max()) for t in range(11)] == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]


@pytest.mark.parametrize(("objects", "side"), [(1, 1), (2, 1), (3, 2), (8, 2), (18, 3)])
def test_a_clip_holds_as_many_objects_as_are_asked_for(objects, side):
    script = _script("speed")
    clip, masks = script.sample(3, (96, 128), objects)
    assert clip.rgb(0).shape == (96, 128, 3)
    found = set(np.unique(np.stack([masks[frame] for frame in range(3)]))) - {0}
    assert found <= set(range(1, objects + 1))
    assert len(found) > objects / 2
    _, labels = script._mosaic(np.zeros((1, 30, 40, 3), np.uint8), np.full((1, 30, 40), 2, np.uint8), objects)
    assert set(np.unique(labels)) - {0} == set(range(2, objects + 1, 2))
    assert labels.shape == (1, *(len(range(0, length * side, side)) for length in (30, 40)))


def test_only_settings_that_make_a_difference_are_measured():
    script = _script("speed")
    given = argparse.Namespace(
        stages=["refinement"], models=None, frames=[5, 9], size=[(4, 6)], objects=[2], device=["cpu"],
        precision=["float32", "bfloat16"], threads=1,
    )  # fmt: skip
    settings = [(each.model, each.frames, each.precision) for each in script._settings(given)]
    assert settings == [
        ("builtin", 5, "auto"), ("builtin", 9, "auto"), ("published", 5, "float32"), ("published", 9, "float32"),
        ("published", 5, "bfloat16"), ("published", 9, "bfloat16"),
    ]  # fmt: skip


def test_stages_are_split_at_their_progress(tmp_path):
    from napari_appearrefine.core.events import Report

    script = _script("speed")
    report = Report(2, [1], [], {}, 0.0, "known", "cpu", "0")
    events = [Progress("Scoring masks", 0, 1), Progress("Correcting frames", 0, 2), report]
    stages = script._timed(iter(events), {"": "selection", "Correcting frames": "correction"}, 2)
    assert list(stages) == ["selection", "correction"]
    assert all(figures["peak_memory"] > 2**20 for figures in stages.values())
    stages["selection"]["seconds_a_frame"], stages["correction"]["seconds_a_frame"] = 0.03, 0.01
    figures = {"seconds_a_frame": 0.01, "processor_seconds_a_frame": 0.02, "peak_memory": 2**30}
    again = {"selection, 2nd run": figures | {"peak_device_memory": 0}}
    work = {"operations_a_frame": 2e9, "peak_operations": 2e11}
    settings = [script.Setting("refinement", "builtin", frames) for frames in (50, 100)]
    results = [{**asdict(setting), "stages": stages | again, **work} for setting in settings]
    json.dumps(results)
    known = ["builtin", "100", "480", "x", "854", "2", "cpu", "auto"]
    assert script.table(results).splitlines()[-1].split() == [
        "selection,", "2nd", "run", *known, "0.010", "0.020", "100.0", "1024", "MiB", "0", "MiB"
    ]  # fmt: skip
    assert script.roofline(results).splitlines()[-1].split() == ["refinement", *known, "2.0", "50", "200", "25%"]
    script.draw(results, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(RuntimeError, match="no report"):
        script._timed(iter(events[:2]), {"": "selection"}, 2)


def test_long_videos_are_rendered_and_their_growth_is_told(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # as for a script that is run
    script = _script("long_videos")
    frames, masks = (script.RenderedFrames(500, (64, 96), is_mask) for is_mask in (False, True))
    assert frames[3].shape == frames.shape[1:] == (64, 96, 3)
    assert masks[4].shape == (64, 96)
    assert 0 < np.count_nonzero(masks[3]) < np.count_nonzero(masks[4])
    assert not np.array_equal(frames[3], frames[259])
    results = [
        {"stage": "refinement", "frames": count, "processor_seconds": seconds, "peak_memory": memory}
        for count, seconds, memory in ((100, 5, 400e6), (1600, 80, 410e6), (6400, 321, 440e6))
    ]
    assert script.table(results).splitlines()[1].endswith("x 2.00    x 1.10")
