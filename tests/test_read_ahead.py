"""Frames read ahead of need: in order, bounded, errors where they belong, nothing left running."""

from __future__ import annotations

import threading

import pytest

from napari_appearrefine.core.read_ahead import ReadAhead


class Frames:
    """Notes what is read, and by which thread."""

    def __init__(self, damaged: int | None = None) -> None:
        self.read: list[int] = []
        self.threads: set[int] = set()
        self._damaged = damaged

    def __call__(self, frame: int) -> str:
        self.read.append(frame)
        self.threads.add(threading.get_ident())
        if frame == self._damaged:
            raise OSError(f"frame {frame} is damaged")
        return f"frame {frame}"


def test_every_frame_is_read_once_in_order_in_another_thread() -> None:
    frames = Frames()
    ahead = ReadAhead(frames, 30)
    assert [ahead(frame) for frame in range(30)] == [f"frame {frame}" for frame in range(30)]
    ahead.close()
    assert frames.read == list(range(30))
    assert frames.threads
    assert threading.get_ident() not in frames.threads


def test_no_more_than_the_depth_is_read_ahead() -> None:
    frames = Frames()
    ahead = ReadAhead(frames, 30, depth=3)
    for frame in range(5):
        ahead(frame)
    ahead.close()
    assert max(frames.read) <= 7


def test_jumps_read_nothing_that_nobody_wants() -> None:
    frames = Frames()
    ahead = ReadAhead(frames, 100, depth=2)
    assert [ahead(frame) for frame in (50, 20, 90, 3)] == ["frame 50", "frame 20", "frame 90", "frame 3"]
    ahead.close()
    assert frames.read == [50, 20, 90, 3]


def test_steps_of_three_and_more_are_jumps() -> None:
    frames = Frames()
    ahead = ReadAhead(frames, 100)
    for frame in range(0, 30, 3):
        ahead(frame)
    ahead.close()
    # The first frame may be the beginning of anything.
    assert [frame for frame in frames.read if frame > 4] == list(range(6, 30, 3))


def test_an_error_is_raised_at_its_frame_and_not_before() -> None:
    ahead = ReadAhead(Frames(damaged=3), 10)
    assert [ahead(frame) for frame in range(3)] == ["frame 0", "frame 1", "frame 2"]
    with pytest.raises(OSError, match="frame 3 is damaged"):
        ahead(3)
    assert ahead(4) == "frame 4"
    ahead.close()


def test_closing_leaves_no_thread() -> None:
    before = threading.active_count()
    ahead = ReadAhead(Frames(), 1000)
    ahead(0)
    ahead.close()
    assert threading.active_count() == before
