"""Which device computes."""

from __future__ import annotations

import os

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


def leave_a_core_free() -> None:
    """Let torch leave one core to the window; on one or two cores it takes what it can get.

    Half of two cores would double the time, and the system gives a window its short moments anyway.
    """
    cores = os.cpu_count() or 1
    if cores > 2:
        torch.set_num_threads(min(torch.get_num_threads(), cores - 1))
