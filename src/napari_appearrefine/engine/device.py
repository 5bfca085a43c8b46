"""Which device computes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..core.errors import UserError


def pick_device(choice: str = "auto") -> torch.device:
    """Turn a user's choice into a device.

    Parameters
    ----------
    choice : {"auto", "cpu", "cuda", "mps"}
        ``auto`` takes CUDA, then MPS, then the CPU.

    Raises
    ------
    UserError
        If the device is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if choice == "auto":
        choice = next(name for name, there in available.items() if there)
    if choice not in available:
        raise UserError(f"The device {choice!r} is not known; choose auto, cpu, cuda or mps.")
    if not available[choice]:
        raise UserError(f"This computer has no usable {choice} device; choose --device cpu or auto.")
    return torch.device(choice)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return a context in which networks compute in ``dtype``; it does nothing for float32."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def pick_precision(choice: str, device: torch.device) -> torch.dtype:
    """Turn a user's choice of precision into a type; ``auto`` is half precision on CUDA, else float32."""
    if choice == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[choice]


def leave_a_core_free() -> None:
    """Let torch leave one core to the window; on one or two cores it takes what it can get.

    Half of two cores would double the time, and the system gives a window its short moments anyway.
    """
    cores = os.cpu_count() or 1
    if cores > 2:
        torch.set_num_threads(min(torch.get_num_threads(), cores - 1))


@contextmanager
def shared_threads(device: torch.device) -> Iterator[int]:
    """Divide the threads that torch may use between its networks and other work beside them.

    On one or two cores both have all: frames side by side take one thread each, and whichever work is behind
    takes the cores. On more, too many threads cost more than too few: one that finds its core taken holds up
    all. Where a GPU runs the networks, all threads are for the other work.

    Yields
    ------
    int
        How many threads may do other work while networks run in this one.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu":
        own, others = 1, threads
    elif threads <= 2:
        own, others = threads, threads
    else:
        own, others = threads - threads // 2, threads // 2
    torch.set_num_threads(own)
    try:
        yield others
    finally:
        torch.set_num_threads(threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread for steps so small that several would do nothing but wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
