"""Rendered scenes on disk: made once, read many times by the training of every network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..core.clip import Clip
from ..engine.motion_cues import GAPS, iterate_motion_cues
from ..engine.networks.motion import CUE_CHANNELS, cue_channels
from .microscopy import render_microscopy
from .photos import PhotoLibrary
from .scenes import SceneOptions, render_scene


@dataclass(frozen=True)
class SceneSet:
    """Scenes as memory-mapped arrays.

    Parameters
    ----------
    frames : ndarray
        (N, T, Y, X, 3) uint8.
    labels : ndarray
        (N, T, Y, X) uint8, the visible objects.
    shadows : ndarray
        (N, T, Y, X) uint8, whose shadow or reflection is seen, 0 for none.
    cues : ndarray or None
        (N, T, C, Y / 2, X / 2) float16 as the motion network reads them.
    """

    frames: np.ndarray
    labels: np.ndarray
    shadows: np.ndarray
    cues: np.ndarray | None

    def __len__(self) -> int:
        return len(self.frames)

    @classmethod
    def open(cls, folder: Path) -> SceneSet:
        """Open the scenes that :func:`render_scenes` finished writing."""
        count = json.loads((folder / "scenes.json").read_text())["done"]
        cues = folder / "cues.npy"
        frames, labels, shadows = (
            np.load(folder / f"{name}.npy", mmap_mode="r")[:count] for name in ("frames", "labels", "shadows")
        )
        return cls(frames, labels, shadows, np.load(cues, mmap_mode="r")[:count] if cues.exists() else None)


def render_scenes(
    photos: Path,
    folder: Path,
    count: int,
    seed: int,
    options: SceneOptions,
    with_cues: bool,
    microscopy: bool = False,
) -> Iterator[int]:
    """Render scenes of photographs, or of a microscope, into a folder, going on where an earlier call stopped.

    Scene ``i`` depends on ``seed`` and ``i`` alone.

    Yields
    ------
    int
        Number of scenes finished.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state_file = folder / "scenes.json"
    state = {"seed": seed, "count": count, "done": 0, "with_cues": with_cues, **asdict(options)}
    if state_file.exists():
        state["done"] = json.loads(state_file.read_text())["done"]
    height, width = options.size
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "frames": ((count, options.frames, height, width, 3), np.uint8),
        "labels": ((count, options.frames, height, width), np.uint8),
        "shadows": ((count, options.frames, height, width), np.uint8),
    }
    if with_cues:
        shapes["cues"] = ((count, options.frames, CUE_CHANNELS, height // 2, width // 2), np.float16)
    arrays = {}
    for name, (shape, dtype) in shapes.items():
        path = folder / f"{name}.npy"
        mode = "r+" if path.exists() else "w+"
        arrays[name] = np.lib.format.open_memmap(path, mode=mode, dtype=dtype, shape=shape)
    library = PhotoLibrary.open(photos)
    for index in range(state["done"], count):
        rng = np.random.default_rng([seed, index])
        scene = render_microscopy(rng, options) if microscopy else render_scene(library, rng, options)
        arrays["frames"][index], arrays["labels"][index] = scene.frames, scene.labels
        arrays["shadows"][index] = scene.shadows
        if with_cues:
            for frame, _, cues in iterate_motion_cues(Clip(scene.frames), GAPS, size=options.size):
                arrays["cues"][index, frame] = cue_channels(cues)
        if index % 20 == 19 or index == count - 1:
            for array in arrays.values():
                array.flush()
            state["done"] = index + 1
            state_file.write_text(json.dumps(state))
            yield index + 1
