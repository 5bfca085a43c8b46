"""The built-in model's weights, which lie in the package: where they are, how they are read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .calibration import Calibration

WEIGHTS_FOLDER = Path(__file__).resolve().parent.parent / "weights"
WEIGHTS_FILE = WEIGHTS_FOLDER / "builtin.safetensors"
PARTS = ("backbone", "motion", "matching")
CALIBRATION = "calibration"


def load_part(module: nn.Module, part: str, device: torch.device, path: Path = WEIGHTS_FILE) -> None:
    """Fill one network from the packaged file and make it ready for inference on a device.

    Parameters
    ----------
    module : Module
        The network.
    part : {"backbone", "motion", "matching"}
        Which one it is.

    Raises
    ------
    FileNotFoundError
        If the package was built without weights.
    """
    prefix = f"{part}."
    state = {
        name.removeprefix(prefix): value.float() for name, value in load_file(path).items() if name.startswith(prefix)
    }
    module.load_state_dict(state)
    channels_last(module.eval().requires_grad_(False), device)


def load_calibration(path: Path = WEIGHTS_FILE) -> Calibration:
    """Load the selector's calibration; estimates stay as they are where the file holds none."""
    tensors = load_file(path)
    if f"{CALIBRATION}.iou" not in tensors:
        return Calibration.none()
    return Calibration(*(tensors[f"{CALIBRATION}.{each.name}"].float().numpy() for each in fields(Calibration)))


def calibration_tensors(calibration: Calibration) -> dict[str, Tensor]:
    """Return a calibration as tensors by name, to be saved as the part ``calibration``."""
    return {each.name: torch.from_numpy(getattr(calibration, each.name)) for each in fields(Calibration)}


def channels_last(module: nn.Module, device: torch.device) -> None:
    """Move a network to a device, in the layout in which convolutions are quickest there."""
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def save_parts(parts: Mapping[str, Mapping[str, Tensor]], path: Path) -> None:
    """Write networks to one file, in half precision, beside and then renamed."""
    tensors = {
        f"{part}.{name}": value.half().contiguous() for part, state in parts.items() for name, value in state.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    save_file(tensors, beside)
    beside.replace(path)


def inference_dtype(device: torch.device) -> torch.dtype:
    """Return half precision where it is faster for networks of few channels, else float32.

    On a CPU that takes a matrix unit (AMX). Where there are only bfloat16 instructions, as in most
    processors that have them, the built-in networks took 1.6 times as long as in float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    has_matrix_unit = getattr(torch.cpu, "_is_amx_tile_supported", None)
    if device.type == "cpu" and has_matrix_unit is not None and has_matrix_unit():
        return torch.bfloat16
    return torch.float32
