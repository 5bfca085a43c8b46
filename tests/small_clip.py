"""A tiny video with masks on disk, and a model that returns the masks it is given, for tests of the command line."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from napari_appearrefine.core.events import FrameLabels, Progress
from napari_appearrefine.core.labels import labels_of
from napari_appearrefine.engine.interface import ClipInputs

FRAMES, HEIGHT, WIDTH = 6, 48, 64


def video_frames(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return (T, Y, X, 3) uint8: a bright square moves to the right over noise."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (height, width, 3))
    square = (250, 200, 40) - rng.integers(0, 40, (20, 20, 3))
    video = np.repeat(ground[None], frames, axis=0)
    for frame in range(frames):
        video[frame, 12:32, 4 + 4 * frame : 24 + 4 * frame] = square
    return video.astype(np.uint8)


def make_video_folder(folder: Path, frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """Write the video as a folder of PNG."""
    folder.mkdir(parents=True)
    for frame, image in enumerate(video_frames(frames, height, width)):
        Image.fromarray(image).save(folder / f"{frame:05d}.png")
    return folder


def make_video_file(file: Path, size: int = 4) -> Path:
    """Write the video as an mp4, enlarged by a whole number so that coding does not blur it away."""
    video = video_frames().repeat(size, axis=1).repeat(size, axis=2)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for image in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return file


def true_masks(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return (T, Y, X) uint8 masks of the square, with the id 1."""
    masks = np.zeros((frames, height, width), np.uint8)
    for frame in range(frames):
        masks[frame, 12:32, 4 + 4 * frame : 24 + 4 * frame] = 1
    return masks


def make_mask_folder(folder: Path, masks: np.ndarray) -> Path:
    """Write masks as grey PNG."""
    folder.mkdir(parents=True)
    for frame, labels in enumerate(masks):
        Image.fromarray(labels).save(folder / f"{frame:05d}.png")
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, by relative name; empty if there is no folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


class UnchangedModel:
    """Scores every mask by its area and gives back the masks as they are."""

    name = "unchanged"
    spreads_exemplars = True
    most_rounds = 1

    def fitted_to(self, size, areas):
        return self

    def features(self, image: np.ndarray) -> Any:
        return image

    def score(self, inputs: ClipInputs) -> Generator[Progress, None, np.ndarray]:
        yield Progress("Scoring masks", len(inputs.clip), len(inputs.clip))
        return np.stack(list(inputs.areas.values()), 1).astype(np.float32)

    def confirmed(self, inputs, exemplars):
        return exemplars

    def correct(
        self, inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> Iterator[FrameLabels]:
        for frame in range(len(inputs.clip)):
            yield FrameLabels(frame, labels_of(inputs.planes(frame), inputs.object_ids))
