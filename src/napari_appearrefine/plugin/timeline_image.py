"""Paints a row of the timeline into an array: strips of quality, marks, presence. NumPy alone, so it stays fast."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from .timeline_rows import Mark, TimelineRow
from .timeline_view import TimelineView

Colour = tuple[int, int, int]

# Okabe and Ito's palette, which people with any kind of colour blindness can tell apart.
MARK_COLOURS: dict[Mark, Colour] = {
    Mark.CHOSEN: (230, 159, 0),
    Mark.PINNED: (86, 180, 233),
    Mark.BANNED: (213, 94, 0),
    Mark.EDITED: (213, 94, 0),
    Mark.LOCKED: (204, 121, 167),
    Mark.ACCEPTED: (0, 158, 115),
    Mark.PROPOSED: (0, 114, 178),
}
_GLYPHS = {
    Mark.CHOSEN: ("..###..", ".#####.", "#######", "#######", "#######", ".#####.", "..###.."),
    Mark.PINNED: ("#######", "#######", ".#####.", ".#####.", "..###..", "..###..", "...#..."),
    Mark.BANNED: ("##...##", "###.###", ".#####.", "..###..", ".#####.", "###.###", "##...##"),
}
_BARS = (Mark.PROPOSED, Mark.EDITED, Mark.LOCKED, Mark.ACCEPTED)
GLYPH, STRIP, BAR, GAP = 7, 9, 3, 1
"""Heights of the parts of a row, in device-independent pixels."""


@dataclass(frozen=True)
class TimelineColours:
    """Colours of a theme.

    Parameters
    ----------
    background, unknown, empty, text, line : tuple of int
        Red, green, blue, 0..255: behind everything; a mask of unknown quality; a frame without the
        object; words; the line of the current frame.
    """

    background: Colour = (35, 36, 43)
    unknown: Colour = (97, 105, 110)
    empty: Colour = (46, 51, 62)
    text: Colour = (240, 241, 242)
    line: Colour = (255, 255, 255)


def row_height() -> int:
    """Return the height of a row's image in device-independent pixels."""
    return GLYPH + GAP + 2 * STRIP + len(_BARS) * (GAP + BAR)


def row_image(row: TimelineRow, view: TimelineView, scale: float, colours: TimelineColours) -> np.ndarray:
    """Paint one row.

    Parameters
    ----------
    row : TimelineRow
        The values.
    view : TimelineView
        Which frames to show, over how many device-independent pixels.
    scale : float
        Device pixels to one device-independent pixel.
    colours : TimelineColours
        Colours of the theme.

    Returns
    -------
    ndarray
        (Y, X, 3) uint8 in device pixels.
    """
    width = max(1, round(view.width * scale))
    image = np.empty((round(row_height() * scale), width, 3), np.uint8)
    image[:] = colours.background

    def band(top: float, height: float) -> slice:
        return slice(round(top * scale), round((top + height) * scale))

    marks = view.united(row.marks, width)
    present = view.united(row.present, width)
    top = GLYPH + GAP
    is_refined = not np.isnan(row.after).all()
    halves = [(row.before, STRIP), (row.after, STRIP)] if is_refined else [(row.before, 2 * STRIP)]
    for values, height in halves:
        image[band(top, height)] = _strip(view.lowest(values, width), present, colours)
        top += height
    for mark in _BARS:
        top += GAP
        image[band(top, BAR)] = np.where((marks & mark > 0)[:, None], MARK_COLOURS[mark], colours.background)
        top += BAR
    for mark in _GLYPHS:
        _paint_glyphs(image, row, mark, view, scale)
    return image


@cache
def quality_colours() -> np.ndarray:
    """Return the colours of quality from 0 to 1, (256, 3) uint8: viridis, dark is bad and bright is good."""
    from napari.utils.colormaps import ensure_colormap

    colours = ensure_colormap("viridis").map(np.linspace(0, 1, 256))[:, :3]
    return np.asarray((colours * 255).round(), np.uint8)


def _strip(quality: np.ndarray, present: np.ndarray, colours: TimelineColours) -> np.ndarray:
    known = ~np.isnan(quality)
    steps = np.clip(np.where(known, quality, 0) * 255, 0, 255).astype(np.intp)
    strip: np.ndarray = quality_colours()[steps]
    strip[~known] = colours.unknown
    strip[~present & ~known] = colours.empty
    return strip


def _paint_glyphs(image: np.ndarray, row: TimelineRow, mark: Mark, view: TimelineView, scale: float) -> None:
    frames = np.flatnonzero(row.marks & mark)
    centres = (frames + 0.5 - view.first) * (view.pixels_a_frame * scale)
    centres = np.unique(np.round(centres[(centres >= 0) & (centres < image.shape[1])]).astype(np.intp))
    if not centres.size:
        return
    rows, columns = np.nonzero(_glyph(mark, scale))
    columns = columns - round(GLYPH * scale) // 2
    if centres.size > 1 and np.diff(centres).min() < GLYPH * scale:
        # So near that the shapes would run together: a tick each.
        keep = np.abs(columns) <= scale / 2
        rows, columns = rows[keep], columns[keep]
    x = np.clip(centres[:, None] + columns, 0, image.shape[1] - 1)
    image[np.broadcast_to(rows, x.shape), x] = MARK_COLOURS[mark]


@cache
def _glyph(mark: Mark, scale: float) -> np.ndarray:
    shape = np.array([[pixel == "#" for pixel in line] for line in _GLYPHS[mark]])
    near = (np.arange(round(GLYPH * scale)) / scale).astype(np.intp).clip(max=GLYPH - 1)
    return np.asarray(shape[np.ix_(near, near)])
