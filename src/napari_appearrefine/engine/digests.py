"""Digests of what results depend on: equal only for what is equal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from .. import __version__


def digest(parts: Iterable[Any]) -> bytes:
    """Return a digest of arrays, bytes, numbers, strings and sequences of them."""
    state = hashlib.blake2b(digest_size=16)
    _feed(state, list(parts))
    return state.digest()


def image_digest(image: np.ndarray) -> bytes:
    """Return what tells the pixels of images (Y, X, 3) uint8 apart."""
    state = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    state.update(np.ascontiguousarray(image).data)
    return state.digest()


def weights_digest(*modules: nn.Module) -> str:
    """Return what tells networks of other weights apart."""
    state = hashlib.blake2b(digest_size=16)
    for module in modules:
        for name, value in module.state_dict().items():
            state.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            state.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return state.hexdigest()


@cache
def code_digest() -> str:
    """Return what tells this version of the computing code from others, so that none takes the results of another."""
    state = hashlib.blake2b(f"{__version__} {torch.__version__} {cv2.__version__}".encode(), digest_size=16)
    package = Path(__file__).resolve().parent.parent
    for folder in ("core", "engine"):
        for file in sorted((package / folder).rglob("*.py")):
            state.update(file.read_bytes())
    return state.hexdigest()


def _feed(state: Any, part: Any) -> None:
    if isinstance(part, np.ndarray):
        state.update(f"a{part.dtype.str}{part.shape}".encode())
        state.update(np.ascontiguousarray(part).data)
    elif isinstance(part, bytes):
        state.update(f"b{len(part)}:".encode())
        state.update(part)
    elif isinstance(part, list | tuple):
        state.update(f"l{len(part)}:".encode())
        for each in part:
            _feed(state, each)
    else:
        text = repr(part).encode()
        state.update(f"r{len(text)}:".encode())
        state.update(text)
