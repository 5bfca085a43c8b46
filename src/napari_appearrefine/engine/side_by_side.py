"""Frames computed side by side, each by one thread: all threads at one frame would wait for each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from .expectation import MOST_AT_A_TIME

Frame = TypeVar("Frame")
Value = TypeVar("Value")

_MOST_AHEAD = 16


def side_by_side(
    frames: Iterable[Frame],
    prepare: Callable[[Frame], Callable[[], Value]],
    device: torch.device,
    threads: int | None = None,
) -> Generator[Value, None, None]:
    """Compute something of every frame, and give the results in the order of the frames.

    On a CPU as many frames are computed at a time as torch may use threads, at most four; on another
    device one is, while the next is prepared. Frames whose results are there already hold up no others.

    Parameters
    ----------
    frames : iterable
        Which frames: numbers, or whatever ``prepare`` takes.
    prepare : callable
        Gathers what is needed of a frame and returns what computes it. ``prepare`` is called in this
        thread, frame by frame, what it returns in others.
    device : torch.device
        Where is computed.
    threads : int, optional
        How many may be used: as many as torch may use now by default.
    """
    before = torch.get_num_threads()
    threads = threads or before
    workers = 1 if device.type != "cpu" else min(threads, MOST_AT_A_TIME)
    pool = ThreadPoolExecutor(workers, "frames", _take, (threads // workers,))
    coming: deque[Future[Value]] = deque()

    def arrived() -> Value:
        result = coming.popleft().result()
        # Whoever takes the result has all threads for what it does with it.
        torch.set_num_threads(threads)
        return result

    try:
        for frame in frames:
            torch.set_num_threads(threads // workers)
            coming.append(pool.submit(prepare(frame)))
            while len(coming) > _MOST_AHEAD or (len(coming) > workers and coming[0].done()):
                yield arrived()
            # One more waits, so that no thread does while this one is busy with what has arrived.
            _wait_for_room(coming, workers + 1)
        while coming:
            yield arrived()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def _wait_for_room(futures: Iterable[Future[Value]], workers: int) -> None:
    unfinished = [future for future in futures if not future.done()]
    if len(unfinished) > workers:
        wait(unfinished, return_when=FIRST_COMPLETED)


def _take(threads: int) -> None:
    """Let this thread use so many from now on, whatever another one sets later.

    A thread takes over what is set for all when it first asks, and would ask when it first computes: that may be
    when whoever takes the results has all of them.
    """
    torch.set_num_threads(threads)
    torch.get_num_threads()
