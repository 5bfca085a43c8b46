"""A folder of images as masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from ..core.clip import Clip
from ..core.errors import UserError
from ..core.labels import LARGEST_ID, as_labels
from .images import TIFF_SUFFIXES, ImageKind, image_kind, unreadable
from .names import numbered_files
from .palette import YOUTUBE_VOS_COLOURS, davis_palette

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
# More grey values than this between black and white, each in a thin line along white, are its soft edge, not ids.
_MOST_GREYS_BESIDE_WHITE = 8
# More colours than this are a photograph or soft edges, not objects.
_MOST_COLOURS = 1024
_WHITE = 255
_FORMATS = {"P": "indexed", "PA": "indexed", "1": "binary"}


class MaskFolder:
    """The images of a folder as masks, (T, Y, X) uint8 or uint16.

    What a pixel means depends on the kind of image:

    - indexed: the index is the id, whatever its colour;
    - grey, 8 or 16 bits: the value is the id. If the images are 8-bit grey and hold nothing but 0 and 255,
      they are black and white, and white is object 1;
    - colour: black (or transparent) is background, a colour of the DAVIS palette or one of the first five
      of YouTube-VOS is its id there, and every other colour gets the next id after those, in the order of
      first appearance (by frame, then from the top left).

    Parameters
    ----------
    folder : Path
        Its png, bmp and tif files are the masks, in natural order.
    clip : Clip, optional
        The video. If all files are named after frames of it, they are those frames' masks and all other
        frames have empty ones; otherwise there must be one file for each frame.

    Attributes
    ----------
    frame_names : list of str
        One a mask: the clip's, or the files' without suffix.
    without_file : list of str
        Names of the clip's frames that have no file, and therefore empty masks.

    Raises
    ------
    UserError
        If there is no mask, one is damaged or has soft edges, sizes differ, or masks and clip do not go together.
    """

    def __init__(self, folder: Path, clip: Clip | None = None) -> None:
        files = numbered_files(folder, MASK_SUFFIXES)
        if not files:
            lossy = numbered_files(folder, (".jpg", ".jpeg", ".webp"))
            reason = "only JPEG or WebP images, which blur ids; save masks as PNG" if lossy else "no masks"
            raise UserError(f"{folder} holds {reason}; choose a folder of PNG images.")
        first = image_kind(files[0])
        self._formats = {path: _format_of(path, first, files[0]) for path in files}
        self._colours = np.zeros(1, np.int64)
        self._colour_ids = np.zeros(1, np.uint16)
        self._white_is_one = False
        formats = set(self._formats.values())
        if "colour" in formats:
            self._learn_colours(folder)
        elif formats <= {"grey", "binary"}:
            self._white_is_one = self._only_black_and_white()
        wide = "wide" in formats or int(self._colour_ids.max()) > 255
        self._files = files if clip is None else _files_of_frames(folder, files, clip)
        self.frame_names = [path.stem for path in files] if clip is None else list(clip.frame_names)
        self.without_file = [name for name, path in zip(self.frame_names, self._files, strict=True) if path is None]
        self._size = first.size
        self.shape = (len(self._files), *first.size)
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if wide else np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frame: int) -> np.ndarray:
        """Return the (Y, X) label map of one frame."""
        path = self._files[frame]
        if path is None:
            return np.zeros(self._size, self.dtype)
        pixels = _read(path)
        if pixels.shape[:2] != self._size:
            raise UserError(f"{path} has changed since the masks were opened; open them again.")
        if pixels.ndim == 3:
            return self._ids_of_colours(pixels, path).astype(self.dtype)
        if self._white_is_one:
            pixels = pixels != 0
        return as_labels(pixels, str(path)).astype(self.dtype)

    def _only_black_and_white(self) -> bool:
        found = False
        for path, kind in self._formats.items():
            if kind == "grey":
                pixels = _read(path)
                found = found or bool(np.any(pixels == _WHITE))
                if np.any((pixels != 0) & (pixels != _WHITE)):
                    _check_no_soft_edges(pixels, path)
                    return False
        return found

    def _ids_of_colours(self, pixels: np.ndarray, path: Path) -> np.ndarray:
        codes = _codes(pixels)
        places = np.searchsorted(self._colours, codes).clip(max=len(self._colours) - 1)
        if not np.array_equal(self._colours[places], codes):
            raise UserError(f"{path} has changed since the masks were opened; open them again.")
        ids: np.ndarray = self._colour_ids[places]
        return ids

    def _learn_colours(self, folder: Path) -> None:
        palette = {int(code): number for number, code in enumerate(_codes(davis_palette()[None])[0])}
        youtube = np.array(YOUTUBE_VOS_COLOURS, np.uint8)[None]
        palette |= {int(code): number for number, code in enumerate(_codes(youtube)[0], start=1)}
        found: dict[int, int] = {0: 0}
        further: list[int] = []
        largest = 0
        for path in self._formats:
            pixels = _read(path)
            if pixels.ndim == 2:
                largest = max(largest, int(as_labels(pixels, str(path)).max(initial=0)))
                continue
            codes = _codes(pixels).ravel()
            known = np.array(sorted(found), np.int64)
            codes = codes[known[np.searchsorted(known, codes).clip(max=len(known) - 1)] != codes]
            codes, first = np.unique(codes, return_index=True)
            for code in codes[np.argsort(first)].tolist():
                found[code] = palette.get(code, -1)
                if code not in palette:
                    further.append(code)
            if len(found) > _MOST_COLOURS:
                raise UserError(
                    f"{folder} holds images of more than {_MOST_COLOURS} colours, not masks; choose another folder, "
                    "or save the masks without soft edges."
                )
        largest = max(largest, *found.values())
        found.update({code: largest + place for place, code in enumerate(further, 1)})
        if max(found.values()) > LARGEST_ID:
            raise UserError(f"{folder} mixes colours with ids up to {largest}; save all masks as indexed PNG.")
        self._colours = np.array(sorted(found), np.int64)
        self._colour_ids = np.array([found[code] for code in sorted(found)], np.uint16)


def _check_no_soft_edges(pixels: np.ndarray, path: Path) -> None:
    """Raise ``UserError`` if grey (Y, X) shows something white whose edge fades to black: each grey would be an id."""
    greys = (pixels != 0) & (pixels != _WHITE)
    flat = greys[:-1, :-1] & (pixels[:-1, :-1] == pixels[1:, :-1]) & (pixels[:-1, :-1] == pixels[:-1, 1:])
    count = np.count_nonzero(greys)
    few = len(np.unique(pixels[greys])) <= _MOST_GREYS_BESIDE_WHITE
    if few or 4 * np.count_nonzero(pixels == _WHITE) < count or np.count_nonzero(flat) > count // 10:
        return
    raise UserError(
        f"{path} is white with soft edges, in which every grey would be an object; save masks with hard edges, or with "
        "each object's id as its grey value."
    )


def _files_of_frames(folder: Path, files: list[Path], clip: Clip) -> list[Path | None]:
    by_name = {path.stem: path for path in files}
    if set(by_name) <= set(clip.frame_names):
        return [by_name.get(name) for name in clip.frame_names]
    if len(files) != len(clip):
        other = next(name for name in by_name if name not in set(clip.frame_names))
        raise UserError(
            f"{folder} holds {len(files)} masks but {clip.name} has {len(clip)} frames, and {other} is not the name of "
            "one; give one mask for each frame, or name them after the frames."
        )
    return list(files)


def _format_of(path: Path, first: ImageKind, first_path: Path) -> str:
    """Return grey, binary, indexed, wide (more than 8 bits) or colour, having checked the size."""
    kind = image_kind(path)
    kind.check_size(path, first, first_path)
    if kind.dtype.kind not in "ui":
        raise UserError(f"{path} holds {kind.dtype} values; masks must hold whole numbers: convert them first.")
    if kind.mode in _FORMATS:
        return _FORMATS[kind.mode]
    if kind.dtype == np.uint8:
        return "colour" if kind.colour else "grey"
    if kind.colour:
        raise UserError(f"{path} holds colours of {kind.dtype} values; save masks as indexed or grey images.")
    return "wide"


def _read(path: Path) -> np.ndarray:
    """Return the stored numbers, (Y, X), or (Y, X, 3) for colour."""
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            pixels: np.ndarray = tifffile.imread(path, key=0)
        else:
            with Image.open(path) as image:
                pixels = np.array(image.getchannel(0) if image.mode in ("PA", "LA") else _plain(image))
    except Exception as error:  # Decoders raise nearly anything on damaged data.
        raise unreadable(path, error) from error
    if pixels.ndim == 3 and pixels.shape[2] < 3:
        raise UserError(f"{path} has {pixels.shape[2]} channels; save masks as indexed or grey images.")
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return np.where(pixels[:, :, 3:] > 0, pixels[:, :, :3], 0)
    return pixels


def _plain(image: Image.Image) -> Image.Image:
    if image.mode in ("1", "L", "P", "RGB", "RGBA") or image.mode.startswith("I"):
        return image
    return image.convert("RGB")


def _codes(pixels: np.ndarray) -> np.ndarray:
    """Join the channels of (Y, X, 3) uint8 into one number a pixel."""
    wide = pixels.astype(np.int64)
    return wide[:, :, 0] << 16 | wide[:, :, 1] << 8 | wide[:, :, 2]
