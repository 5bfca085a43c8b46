"""A folder of numbered images as the frames of a video."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from ..core.errors import UserError
from .names import numbered_files

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
TIFF_SUFFIXES = (".tif", ".tiff")

# What tifffile logs about damaged files, we say in one sentence; without a handler it would go to the terminal too.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_GREY_MODES = {"1": np.uint8, "L": np.uint8, "LA": np.uint8, "I;16": np.uint16, "I;16B": np.uint16, "I": np.uint16}


@dataclass(frozen=True)
class ImageKind:
    """What an image's header says.

    Parameters
    ----------
    size : tuple of int
        Height and width in pixels.
    dtype : numpy.dtype
        Type of the values.
    colour : bool
        Whether a pixel has three values.
    mode : str
        Pillow's mode; empty for TIFF.
    """

    size: tuple[int, int]
    dtype: np.dtype[Any]
    colour: bool
    mode: str

    def check_size(self, path: Path, first: ImageKind, first_path: Path) -> None:
        """Raise ``UserError`` if this image, at ``path``, has not the size of the first."""
        if self.size != first.size:
            (height, width), (first_height, first_width) = self.size, first.size
            raise UserError(
                f"{path} is {width} x {height} pixels but {first_path.name} is {first_width} x {first_height}; "
                "all images of a folder must have one size."
            )


class ImageFolder:
    """The images of a folder in natural order, (T, Y, X) if all are grey, else (T, Y, X, 3).

    Parameters
    ----------
    folder : Path
        Its jpg, png, bmp, tif and webp files are the frames; other files do not count.

    Raises
    ------
    UserError
        If there is no image, one is damaged, or they do not go together.
    """

    def __init__(self, folder: Path) -> None:
        self.files = numbered_files(folder, IMAGE_SUFFIXES)
        if not self.files:
            inner = any(path.is_dir() for path in folder.iterdir())
            raise UserError(f"{folder} holds no images; choose {'one of its folders' if inner else 'another folder'}.")
        kinds = [image_kind(path) for path in self.files]
        for path, kind in zip(self.files, kinds, strict=True):
            kind.check_size(path, kinds[0], self.files[0])
            if kind.dtype != kinds[0].dtype:
                raise UserError(
                    f"{path} holds {kind.dtype} values but {self.files[0].name} holds {kinds[0].dtype}; "
                    "save all frames in one format."
                )
        self._colour = any(kind.colour for kind in kinds)
        self.dtype = kinds[0].dtype
        self.shape: tuple[int, ...] = (len(kinds), *kinds[0].size) + ((3,) if self._colour else ())

    @property
    def names(self) -> list[str]:
        """The files' names without suffix, one a frame."""
        return [path.stem for path in self.files]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frame: int) -> np.ndarray:
        """Return one frame, (Y, X) or (Y, X, 3)."""
        path = self.files[frame]
        image = read_image(path)
        if self._colour and image.ndim == 2:
            image = np.repeat(image[:, :, None], 3, axis=2)
        if image.shape != self.shape[1:]:
            raise UserError(f"{path} has changed since the video was opened; open it again.")
        return image


def image_kind(path: Path) -> ImageKind:
    """Read an image's header.

    Raises
    ------
    UserError
        If the file is no image that can be read.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        return _tiff_kind(path)
    try:
        with Image.open(path) as image:
            width, height = image.size
            mode = image.mode
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged data.
        raise unreadable(path, error) from error
    return ImageKind((height, width), np.dtype(_GREY_MODES.get(mode, np.uint8)), mode not in _GREY_MODES, mode)


def read_image(path: Path) -> np.ndarray:
    """Read an image as it is meant to be looked at.

    Returns
    -------
    ndarray
        (Y, X) uint8 or uint16 (TIFF: any type) for grey, (Y, X, 3) uint8 for colour; transparency is dropped.

    Raises
    ------
    UserError
        If the file cannot be read whole.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        return _read_tiff(path)
    try:
        with Image.open(path) as image:
            if image.mode not in _GREY_MODES:
                return np.array(image if image.mode == "RGB" else image.convert("RGB"))
            if image.mode in ("1", "LA"):
                return np.array(image.convert("L"))
            return np.array(image).astype(_GREY_MODES[image.mode])
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> UserError:
    """Return the sentence for a file that cannot be read."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, PermissionError):
        return UserError(f"{path} may not be read; check its permissions.")
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path} does not exist; check the path.")
    return UserError(f"{path} cannot be read: it is damaged, cut off or of another format; replace it.")


def _tiff_kind(path: Path) -> ImageKind:
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            shape, dtype, pages = tuple(page.shape), np.dtype(page.dtype), len(tiff.pages)
    except Exception as error:
        raise unreadable(path, error) from error
    if pages > 1:
        raise UserError(f"{path} holds {pages} pages; open it by itself, or keep one page in each file.")
    if len(shape) != 2 and (len(shape) != 3 or shape[2] > 4):
        raise UserError(f"{path} has the shape {shape}; a frame must be grey or RGB: save it as such.")
    dtype = np.dtype(np.uint8) if dtype == np.bool_ else dtype.newbyteorder("=")
    return ImageKind((shape[0], shape[1]), dtype, len(shape) == 3, "")


def _read_tiff(path: Path) -> np.ndarray:
    try:
        image: np.ndarray = tifffile.imread(path, key=0)
    except Exception as error:
        raise unreadable(path, error) from error
    if image.dtype == np.bool_:
        return image.astype(np.uint8) * 255
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.ndim == 3 and image.shape[2] < 3:
        image = np.pad(image, ((0, 0), (0, 0), (0, 3 - image.shape[2])))
    return image[:, :, :3] if image.ndim == 3 else image
