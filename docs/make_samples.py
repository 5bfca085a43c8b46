"""Writes the included sample clips anew, to the last bit: ``python docs/make_samples.py -o FOLDER``."""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import numpy as np
import tifffile

from napari_appearrefine.files.masks import MaskFolderWriter
from napari_appearrefine.training.samples import render_cells, render_crossing


def write_samples(folder: Path) -> None:
    """Render both sample clips into ``folder/crossing`` and ``folder/cells``."""
    crossing = render_crossing(np.random.default_rng([0, 1]))
    place = folder / "crossing"
    place.mkdir(parents=True, exist_ok=True)
    write_video(place / "video.mp4", crossing.frames)
    names = [f"{frame:05d}" for frame in range(len(crossing.frames))]
    writer = MaskFolderWriter(place / "truth", names, crossing.labels.shape[1:])
    for frame, labels in enumerate(crossing.labels):
        writer.write(frame, labels)
    cells = render_cells(np.random.default_rng([0, 2]))
    place = folder / "cells"
    place.mkdir(parents=True, exist_ok=True)
    for name, stack in (("video.tif", cells.frames), ("truth.tif", cells.labels)):
        tifffile.imwrite(
            place / name, stack, compression="zlib", metadata={"axes": "TYX"}, predictor=name == "video.tif"
        )


def write_video(path: Path, frames: np.ndarray, rate: int = 24, quality: int = 26) -> None:
    """Write (T, Y, X, 3) uint8 as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(quality), "preset": "slow"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parents[1] / "sample_data")
    write_samples(parser.parse_args().output)
