"""Scenes for the tracking tests: shapes on known paths, with the cues that perfect flow would give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from napari_appearrefine.engine.motion_cues import MotionCues

SIZE = (96, 160)


@dataclass(frozen=True)
class Disc:
    """An ellipse whose centre lies at ``path[t]`` = (x, y), or nowhere where that is None."""

    path: Sequence[tuple[float, float] | None]
    radius: tuple[float, float] = (9, 9)

    def inside(self, frame: int, size: tuple[int, int] = SIZE) -> np.ndarray:
        place = self.path[frame]
        if place is None:
            return np.zeros(size, bool)
        rows, columns = np.mgrid[: size[0], : size[1]]
        return ((columns - place[0]) / self.radius[0]) ** 2 + ((rows - place[1]) / self.radius[1]) ** 2 < 1

    def motion(self, frame: int, gap: int) -> np.ndarray:
        here = self.path[frame]
        other = self.path[frame + gap] if 0 <= frame + gap < len(self.path) else None
        if here is None:
            return np.zeros(2)
        if other is None:
            back = self.path[frame - gap] if 0 <= frame - gap < len(self.path) else None
            return np.zeros(2) if back is None else np.subtract(here, back)
        return np.subtract(other, here)


def line(start: tuple[float, float], step: tuple[float, float], frames: int) -> list[tuple[float, float] | None]:
    return [(start[0] + step[0] * t, start[1] + step[1] * t) for t in range(frames)]


def truth(discs: Sequence[Disc], frame: int) -> np.ndarray:
    """Return (h, w) labels, the later disc in front."""
    labels = np.zeros(SIZE, np.int32)
    for index, disc in enumerate(discs, start=1):
        labels[disc.inside(frame)] = index
    return labels


def scene(
    discs: Sequence[Disc], frames: int, camera: tuple[float, float] = (0, 0)
) -> Iterator[tuple[np.ndarray, np.ndarray, MotionCues]]:
    """Yield (labels, probability, cues) of each frame: what moves is foreground, what rests is not."""
    for frame in range(frames):
        labels = truth(discs, frame)
        residual = np.zeros((2, *SIZE, 2), np.float32)
        for index, disc in enumerate(discs, start=1):
            for row, gap in enumerate((1, -1)):
                residual[row][labels == index] = disc.motion(frame, gap)
        flow = residual + np.array([[camera], [(-camera[0], -camera[1])]], np.float32)[:, None]
        moving = np.linalg.norm(residual, axis=-1).max(axis=0) > 0.2
        probability = np.where(moving, 0.9, 0.02).astype(np.float32)
        cues = MotionCues(
            (1, -1), flow, residual, np.zeros((2, *SIZE), np.float32), np.full(2, 0.1), np.ones(SIZE), np.ones(SIZE)
        )
        yield labels, probability, cues
