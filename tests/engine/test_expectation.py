"""What is said before a run, and how runs make it better; frames computed side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.events import Report
from napari_appearrefine.core.parameters import FlowMaskParameters, RefineParameters
from napari_appearrefine.engine import expectation
from napari_appearrefine.engine.device import shared_threads
from napari_appearrefine.engine.expectation import (
    Expectation,
    expected_flow_masks,
    expected_refinement,
    remember_flow_masks,
    remember_refinement,
)
from napari_appearrefine.engine.refinement import refine
from napari_appearrefine.engine.reuse import RunStore
from napari_appearrefine.engine.side_by_side import side_by_side
from small_clip import true_masks, video_frames

CPU = torch.device("cpu")
PARAMETERS = RefineParameters(device="cpu")


def clip_of(frames: int, height: int = 480, width: int = 854) -> Clip:
    return Clip(np.broadcast_to(np.zeros((), np.uint8), (frames, height, width, 3)))


def test_a_computer_that_ran_nothing_says_so() -> None:
    expected = expected_refinement(clip_of(100), 1, RefineParameters())
    assert not expected.measured
    assert str(expected).startswith("Refining 100 frames, 1 object: at most about 21 s (on two processor cores;")
    assert str(expected).endswith(" GB of memory")
    unknown = expected_refinement(clip_of(100), 1, replace(PARAMETERS, edges="sam"))
    assert unknown.seconds is None
    assert "the time shows while it runs" in str(unknown)


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (70, "70 s"), (200, "3 min"), (9000, "2.5 h")])
def test_words(seconds: float, words: str) -> None:
    expected = Expectation("Refining", 1, 0, seconds, 1_234_000_000, True)
    assert str(expected) == f"Refining 1 frame: at most about {words} and 1.2 GB of memory"


def test_later_runs_are_expected_to_take_what_earlier_ones_took() -> None:
    remember_refinement(clip_of(50), 2, PARAMETERS, 30)
    expected = expected_refinement(clip_of(100), 2, PARAMETERS)
    assert expected.measured
    assert expected.seconds == pytest.approx(60)
    assert expected_refinement(clip_of(100), 4, PARAMETERS).seconds == pytest.approx(100)
    assert expected_refinement(clip_of(100), 2, replace(PARAMETERS, rounds=1)).seconds == pytest.approx(30)
    assert not expected_refinement(clip_of(100), 2, replace(PARAMETERS, model="published")).measured
    remember_refinement(clip_of(50), 2, PARAMETERS, 10)
    assert expected_refinement(clip_of(50), 2, PARAMETERS).seconds == pytest.approx(20)
    remember_flow_masks(clip_of(10), FlowMaskParameters(), 5)
    assert expected_flow_masks(clip_of(30), FlowMaskParameters()).seconds == pytest.approx(15)


def test_nothing_is_remembered_where_nothing_is_kept_or_the_file_is_broken(cache_folder: Path) -> None:
    remember_refinement(clip_of(50), 2, replace(PARAMETERS, cache=False), 30)
    assert not list(cache_folder.iterdir())
    (cache_folder / expectation.FILE).write_text("[1")
    assert not expected_refinement(clip_of(50), 2, PARAMETERS).measured
    remember_refinement(clip_of(50), 2, PARAMETERS, 30)
    assert expected_refinement(clip_of(50), 2, PARAMETERS).measured


def test_memory_is_that_of_the_limit_and_not_of_the_length() -> None:
    limited = [expected_refinement(clip_of(100), 1, replace(PARAMETERS, memory_limit=limit)) for limit in (16, 1040)]
    assert limited[1].memory - limited[0].memory == 1 << 30
    assert expected_refinement(clip_of(10_000), 1, PARAMETERS).memory == limited[0].memory
    assert expected_refinement(clip_of(100, 1080, 1920), 1, PARAMETERS).memory > limited[0].memory


def test_a_run_that_computed_everything_is_remembered_and_no_other(cache_folder: Path) -> None:
    clip, masks = Clip(video_frames(3)), true_masks(3)
    parameters = replace(PARAMETERS, rounds=1)
    *_, report = refine(clip, masks, parameters)
    assert isinstance(report, Report)
    file = cache_folder / expectation.FILE
    remembered = file.read_bytes()
    assert expected_refinement(clip, 1, parameters).seconds == pytest.approx(report.seconds, abs=1e-3)
    store = RunStore()
    list(refine(clip, masks, parameters, store=store))
    assert store.reused["correction"] == 3
    assert file.read_bytes() == remembered


def test_frames_side_by_side_come_in_order() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        here, meeting = threading.get_ident(), threading.Barrier(3, timeout=20)

        def prepare(frame: int) -> Callable[[], tuple[int, bool]]:
            assert threading.get_ident() == here

            def compute() -> tuple[int, bool]:
                # Broken unless three frames are computed at a time.
                meeting.wait()
                return frame, torch.get_num_threads() == 1

            return compute

        assert list(side_by_side(range(6), prepare, CPU)) == [(frame, True) for frame in range(6)]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_frames_whose_results_are_known_hold_up_no_others() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        meeting = threading.Barrier(2, timeout=20)

        def prepare(frame: int) -> Callable[[], int]:
            def compute() -> int:
                # Broken unless the first frame and the eleventh are computed at a time.
                if frame in (0, 10):
                    meeting.wait()
                return frame

            return compute

        assert list(side_by_side(range(30), prepare, CPU)) == list(range(30))
    finally:
        torch.set_num_threads(threads)


def test_a_thread_that_computes_late_keeps_to_its_share() -> None:
    """The first result needs no computing; when threads compute first, whoever took it has all of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    taken, asked = threading.Event(), threading.Event()

    def prepare(frame: int) -> Callable[[], int]:
        def compute() -> int:
            taken.wait(20)
            used = torch.get_num_threads()
            asked.set()
            return used

        return compute if frame else lambda: 1

    try:
        found = side_by_side(range(6), prepare, CPU)
        first = next(found)
        assert torch.get_num_threads() == 2
        taken.set()
        assert asked.wait(20)
        assert [first, *found] == [1] * 6
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("threads", "others", "own"), [(1, 1, 1), (2, 2, 2), (8, 4, 4)])
def test_two_cores_are_for_whichever_work_is_behind(threads: int, others: int, own: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with shared_threads(CPU) as shared:
            assert (shared, torch.get_num_threads()) == (others, own)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_an_error_of_one_frame_ends_them_all() -> None:
    threads = torch.get_num_threads()

    def prepare(frame: int) -> Callable[[], float]:
        return lambda: 1 / (2 - frame)

    found = side_by_side(range(100), prepare, CPU)
    assert [next(found), next(found)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert torch.get_num_threads() == threads
