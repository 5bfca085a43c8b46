"""The released code's inputs and outputs, and the deterministic weights it was run with."""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.labels import object_areas
from napari_appearrefine.engine.checkpoints import CORRECTOR, DINO8, DINO16, OCLR, SELECTOR, KnownNetwork
from napari_appearrefine.engine.interface import ClipInputs
from napari_appearrefine.engine.published import PublishedModel
from napari_appearrefine.engine.resources import Resources
from napari_appearrefine.engine.reuse import RunStore

_DATA = Path(__file__).parents[1] / "data"
NAMES = {SELECTOR: "selector", CORRECTOR: "corrector", DINO8: "dino_vits8", DINO16: "dino_vits16", OCLR: "oclr"}


def released_shapes(network: KnownNetwork) -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes of a network as released."""
    listed = json.loads((_DATA / "published_parameters.json").read_text())[NAMES[network]]
    return {name: tuple(shape) for name, shape in listed.items()}


def recorded_clip() -> dict[str, np.ndarray]:
    """A clip of 12 frames and what the released selector and corrector made of it."""
    with np.load(_DATA / "published_clip.npz") as recorded:
        return dict(recorded)


def recorded_flow() -> dict[str, np.ndarray]:
    """Flow of 6 frames and what the released OCLR made of it."""
    with np.load(_DATA / "published_flow.npz") as recorded:
        return dict(recorded)


def deterministic_weights(network: KnownNetwork) -> dict[str, torch.Tensor]:
    """The weights that the recordings were made with: noise that depends on the parameter's name alone."""
    weights = {}
    for name, shape in released_shapes(network).items():
        noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        if name.endswith(("pos_embed", "cls_token")):
            noise *= 0.02
        elif len(shape) >= 2:
            noise /= np.float32(np.sqrt(np.prod(shape[1:])))
        elif name.endswith(".weight"):
            noise = 1 + np.float32(0.1) * noise
        else:
            noise *= np.float32(0.1)
        weights[name] = torch.from_numpy(noise)
    return weights


def filled(network: KnownNetwork) -> nn.Module:
    """A network with the deterministic weights."""
    module = network.build()
    module.load_state_dict(deterministic_weights(network), strict=True)
    return module.eval().requires_grad_(False)


@cache
def filled_model() -> PublishedModel:
    """The published model with the deterministic weights, on the CPU."""
    return PublishedModel(filled(SELECTOR), filled(CORRECTOR), filled(DINO8), filled(DINO16), torch.device("cpu"))


def inputs_of(frames: np.ndarray, labels: np.ndarray) -> ClipInputs:
    """What the pipeline would give the model of a clip, features computed by the model itself."""
    clip, model = Clip(frames), filled_model()
    reuse = RunStore(result_bytes=0).start(model, clip, Resources(1 << 29))
    return ClipInputs(clip, labels, object_areas(labels), reuse.prepare_features, reuse)
