"""Photographs and cut-out objects that scenes are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..core.errors import UserError


@dataclass(frozen=True)
class CutOut:
    """An object cut from a photograph along its outline.

    Parameters
    ----------
    image : ndarray
        (Y, X, 3) uint8, the bounding box of the object.
    alpha : ndarray
        (Y, X) uint8, 255 inside the outline.
    photo : int
        Index of the photograph it comes from.
    corner : tuple of int
        Row and column of the bounding box in that photograph.
    """

    image: np.ndarray
    alpha: np.ndarray
    photo: int
    corner: tuple[int, int]


@dataclass(frozen=True)
class PhotoLibrary:
    """Photographs in memory, with the outlined objects among them."""

    photos: list[np.ndarray]
    cut_outs: list[CutOut]

    @classmethod
    def open(cls, folder: Path, longest_side: int = 512, smallest_object: float = 0.006) -> PhotoLibrary:
        """Read every JPEG below a folder, with outlines from the text file of the same name.

        Parameters
        ----------
        folder : Path
            Searched with its subfolders. A text file holds one object a line: a class number, then
            x y pairs as fractions of width and height.
        longest_side : int
            Larger photographs are reduced to this many pixels.
        smallest_object : float
            Objects under this fraction of the photograph's area are left out.

        Raises
        ------
        UserError
            If there is no photograph.
        """
        photos: list[np.ndarray] = []
        cut_outs: list[CutOut] = []
        for path in sorted(folder.rglob("*.jpg")):
            image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
            if image is None:
                continue
            scale = longest_side / max(image.shape[:2])
            if scale < 1:
                image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            outlines = path.with_suffix(".txt")
            if outlines.exists():
                cut_outs += _read_cut_outs(outlines, image, len(photos), smallest_object)
            photos.append(image)
        if not photos:
            raise UserError(f"{folder} holds no .jpg photographs; give a folder of photographs with --photos.")
        return cls(photos, cut_outs)


def _read_cut_outs(path: Path, image: np.ndarray, photo: int, smallest: float) -> list[CutOut]:
    height, width = image.shape[:2]
    found = []
    for line in path.read_text().splitlines():
        numbers = np.array(line.split()[1:], dtype=np.float64)
        if len(numbers) < 6:
            continue
        outline = np.round(numbers.reshape(-1, 2) * (width, height)).astype(np.int32)
        alpha = np.zeros((height, width), np.uint8)
        cv2.fillPoly(alpha, [outline], 255)
        x, y, w, h = cv2.boundingRect(outline)
        box = (slice(max(y, 0), y + h), slice(max(x, 0), x + w))
        filled = np.count_nonzero(alpha[box])
        if filled < smallest * height * width or filled < 0.15 * w * h or min(w, h) < 12:
            continue
        found.append(CutOut(image[box].copy(), alpha[box].copy(), photo, (max(y, 0), max(x, 0))))
    return found
