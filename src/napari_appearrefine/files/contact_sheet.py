"""One picture of a whole clip: some frames side by side, a row for each set of masks, objects as contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..core.clip import Clip, FrameSource

# Okabe and Ito's palette (2008), told apart with the common colour blindnesses; its black is the halo here.
_COLOURS = ((230, 159, 0), (86, 180, 233), (240, 228, 66), (0, 158, 115), (213, 94, 0), (204, 121, 167), (0, 114, 178))
_TEXT = (255, 255, 255)
_GROUND = (24, 24, 24)
_GAP = 8
_LINE = 26


@dataclass(frozen=True)
class SheetRow:
    """One row of a contact sheet.

    Parameters
    ----------
    title : str
        Written above the row.
    masks : FrameSource
        (T, Y, X) label maps of the clip's size.
    captions : dict of int to str
        Frame to a few words written under its picture.
    """

    title: str
    masks: FrameSource
    captions: Mapping[int, str] = field(default_factory=dict)


def contact_sheet(clip: Clip, rows: Sequence[SheetRow], frames: Sequence[int], tile_width: int = 400) -> np.ndarray:
    """Draw a contact sheet.

    Parameters
    ----------
    clip : Clip
        The video.
    rows : sequence of SheetRow
        From top to bottom.
    frames : sequence of int
        The frames shown, from left to right.
    tile_width : int
        Width of one picture in pixels.

    Returns
    -------
    ndarray
        (Y, X, 3) uint8.
    """
    height, width = clip.size
    tile = (tile_width, max(1, round(tile_width * height / width)))
    row_height = _LINE + tile[1] + _LINE + _GAP
    sheet = Image.new("RGB", (_GAP + len(frames) * (tile_width + _GAP), _LINE + _GAP + len(rows) * row_height), _GROUND)
    draw = ImageDraw.Draw(sheet)
    text = ImageFont.load_default(18)
    for column, frame in enumerate(frames):
        left = _GAP + column * (tile_width + _GAP)
        draw.text((left, _GAP), f"frame {frame}", _TEXT, text)
        image = cv2.resize(clip.rgb(frame), tile, interpolation=cv2.INTER_LINEAR)
        for number, row in enumerate(rows):
            top = _LINE + _GAP + number * row_height
            if column == 0:
                draw.text((left, top), row.title, _TEXT, text)
            picture = _with_contours(image, np.asarray(row.masks[frame]), tile)
            sheet.paste(picture, (left, top + _LINE))
            draw.text((left, top + _LINE + tile[1] + 3), row.captions.get(frame, ""), _TEXT, text)
    return np.asarray(sheet)


def _with_contours(image: np.ndarray, labels: np.ndarray, tile: tuple[int, int]) -> Image.Image:
    drawn = image.copy()
    enlarged = cv2.resize(labels.astype(np.uint16), tile, interpolation=cv2.INTER_NEAREST)
    centres = {}
    for object_id in np.unique(enlarged[enlarged > 0]).tolist():
        plane = (enlarged == object_id).astype(np.uint8)
        contours, _ = cv2.findContours(plane, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        # A dark halo keeps the coloured line visible on a background of its own colour.
        cv2.drawContours(drawn, contours, -1, (0, 0, 0), 5, cv2.LINE_AA)
        cv2.drawContours(drawn, contours, -1, _COLOURS[(object_id - 1) % len(_COLOURS)], 2, cv2.LINE_AA)
        depth = cv2.distanceTransform(np.pad(plane, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        centres[object_id] = (int(x), int(y))
    picture = Image.fromarray(drawn)
    draw = ImageDraw.Draw(picture)
    for object_id, centre in centres.items():
        draw.text(
            centre,
            str(object_id),
            _COLOURS[(object_id - 1) % len(_COLOURS)],
            ImageFont.load_default(20),
            anchor="mm",
            stroke_width=3,
            stroke_fill=(0, 0, 0),
        )
    return picture
