"""Workers: errors as values, cancel, order of events, nothing left open."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from conftest import make_rough_masks, make_video

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.events import FrameLabels, Progress
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.plugin import jobs
from napari_appearrefine.plugin.engine_calls import load_engine
from napari_appearrefine.plugin.switching import brisk_switching
from napari_appearrefine.plugin.time_left import TimeLeft, in_words


@pytest.fixture
def run(qtbot):
    """Run a generator function in a worker; return its events and the threads they were heard in."""

    def run(make_events, on_event=lambda job, event: None):
        heard, threads, ended = [], set(), []

        def listen(event):
            heard.append(event)
            threads.add(threading.current_thread())
            on_event(job, event)

        job = jobs.start_job(make_events, listen, lambda: ended.append(True))
        qtbot.waitUntil(lambda: bool(ended), timeout=20_000)
        assert threads <= {threading.main_thread()}
        return heard

    return run


@pytest.mark.parametrize(
    ("error", "said", "has_details"),
    [
        (UserError("The masks are odd; choose others."), "The masks are odd; choose others.", False),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "The memory is used up", True),
        (MemoryError(), "The memory is used up", True),
        (RuntimeError("shapes do not match"), "unexpected RuntimeError (shapes do not match)", True),
        (OSError(2, "No such file or directory", "clip.mp4"), "clip.mp4 cannot be used", True),
        (StopIteration("odd"), "unexpected RuntimeError", True),
    ],
)
def test_errors_are_the_last_event(run, error, said, has_details):
    """superqt swallows RuntimeError from generator workers, and torch raises little else."""

    def fails():
        yield Progress("Trying", 0, 1)
        raise error

    heard = run(fails)
    assert isinstance(heard[-1], jobs.Failure)
    assert said in heard[-1].message
    assert bool(heard[-1].details) == has_details


def test_cancel_closes_the_generator_in_its_own_thread(run):
    closed_in = []

    def endless():
        try:
            for index in range(10**9):
                yield FrameLabels(index, np.zeros((1, 1), np.uint8))
        finally:
            closed_in.append(threading.current_thread())

    heard = run(endless, on_event=lambda job, event: job.cancel())
    assert heard[0].frame == 0
    assert closed_in[0] is not threading.main_thread()


def test_quit_by_napari_itself_closes_the_generator_too(run):
    closed = []

    def endless():
        try:
            for index in range(10**9):
                yield FrameLabels(index, np.zeros((1, 1), np.uint8))
        finally:
            closed.append(True)

    run(endless, on_event=lambda job, event: job._worker.quit())
    assert closed


def test_results_never_come_faster_than_the_window_takes_them(run):
    made, heard, ahead = [], [], []

    def quick():
        for index in range(50):
            made.append(index)
            yield FrameLabels(index, np.zeros((1, 1), np.uint8))

    def listen(job, event):
        heard.append(event)
        ahead.append(len(made) - len(heard))

    run(quick, on_event=listen)
    assert len(heard) == 50
    assert max(ahead) <= 3


def test_progress_is_thinned_out_but_frames_never(run):
    def quick():
        for index in range(500):
            yield Progress("Scoring", index + 1, 500)
            yield FrameLabels(index, np.zeros((1, 1), np.uint8))
        yield Progress("Correcting", 1, 2)

    heard = run(quick)
    assert [event.frame for event in heard if isinstance(event, FrameLabels)] == list(range(500))
    progress = [event for event in heard if isinstance(event, Progress)]
    assert len(progress) < 400
    assert Progress("Scoring", 500, 500) in progress
    assert progress[-1] == Progress("Correcting", 1, 2)


def test_engine_gets_a_copy_that_later_edits_do_not_reach():
    masks = make_rough_masks()
    seen = []

    def engine(clip, copy, parameters, name, guidance):
        masks[:] = 0
        seen.append(np.asarray(copy).copy())
        yield Progress("Looking", 1, 1)

    events = list(jobs.refine_copies(Clip(make_video()), masks, "rough", None, RefineParameters(), engine))
    np.testing.assert_array_equal(seen[0], make_rough_masks())
    (prepared,) = (event for event in events if isinstance(event, jobs.Prepared))
    assert prepared.output is not None
    assert not np.shares_memory(prepared.output, prepared.baseline)


def test_time_left_follows_the_pace_of_the_stage():
    now = [0.0]
    left = TimeLeft(lambda: now[0])
    assert left.after(Progress("a", 0, 10)) is None
    now[0] = 4.0
    assert left.after(Progress("a", 2, 10)) == pytest.approx(16.0)
    assert left.after(Progress("b", 5, 10)) is None
    now[0] = 6.0
    assert left.after(Progress("b", 6, 10)) == pytest.approx(8.0)
    assert [in_words(seconds) for seconds in (0.2, 16, 200, 8000)] == [
        "1 s left",
        "16 s left",
        "3 min left",
        "2 h left",
    ]


def test_plugin_imports_no_torch():
    code = (
        "import sys, pkgutil, importlib, napari_appearrefine.plugin as p\n"
        "names = [m.name for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.')]\n"
        "assert len(names) > 8, names\n"
        "[importlib.import_module(name) for name in names]\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("cores", "expected"), [(1, 4), (2, 4), (4, 3), (16, 4)])
def test_a_core_is_left_to_the_window_however_often_it_is_asked_for(monkeypatch, cores, expected):
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    try:
        torch.set_num_threads(4)
        for _ in range(3):
            load_engine()
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def test_engine_is_imported_without_holding_the_lock_for_long():
    """While torch's libraries are loaded, another thread must get its turn."""
    code = (
        "import sys, threading, time\n"
        "from napari_appearrefine.plugin.engine_calls import load_engine\n"
        "worker = threading.Thread(target=load_engine)\n"
        "worker.start()\n"
        "turns = 0\n"
        "while worker.is_alive():\n"
        "    time.sleep(0.005)\n"
        "    turns += 1\n"
        "assert 'torch' in sys.modules\n"
        "assert turns > 20, turns"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_lock_goes_round_sooner_until_the_last_job_ends(run):
    before = sys.getswitchinterval()
    seen = []

    def work():
        seen.append(sys.getswitchinterval())
        yield Progress("Working", 1, 1)

    run(work)
    assert seen == [pytest.approx(0.001)]
    assert sys.getswitchinterval() == before
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(brisk_switching())
        second.enter_context(brisk_switching())
        first.close()
        assert sys.getswitchinterval() == pytest.approx(0.001)
    assert sys.getswitchinterval() == before


@pytest.fixture
def slow_work():
    """Starts work of the main thread that is longer than one slice; tells how far it is."""
    done = []

    def steps():
        for step in range(5):
            time.sleep(0.01)
            done.append(step)
            yield

    def start():
        return jobs.run_in_slices(steps(), lambda: done.append("end"))

    return start, done


def test_long_work_of_the_main_thread_goes_on_by_itself(qtbot, slow_work):
    start, done = slow_work
    slices = start()
    assert 0 < len(done) < 5
    qtbot.waitUntil(lambda: done == [0, 1, 2, 3, 4, "end"], timeout=20_000)
    slices.finish()
    assert done[-2:] == [4, "end"]


def test_long_work_can_be_finished_or_stopped(qtbot, slow_work):
    start, done = slow_work
    start().finish()
    assert done == [0, 1, 2, 3, 4, "end"]
    done.clear()
    start().stop()
    before = len(done)
    qtbot.wait(100)
    assert len(done) == before
