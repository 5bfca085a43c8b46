"""The overlay picture: its size, its contours, its order."""

from __future__ import annotations

import numpy as np

from napari_appearrefine.core.clip import Clip
from napari_appearrefine.files.contact_sheet import SheetRow, contact_sheet

GREY = 100


def make_rows() -> tuple[Clip, list[SheetRow]]:
    clip = Clip(np.full((4, 50, 100), GREY, np.uint8))
    masks = np.zeros((4, 50, 100), np.uint8)
    masks[:, 10:40, 20:60] = 1
    masks[:, 5:45, 70:95] = 2
    empty = np.zeros_like(masks)
    return clip, [SheetRow("before", empty, {0: "a caption"}), SheetRow("after", masks)]


def pixels_of(sheet: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.all(sheet == colour, axis=2)


def test_a_column_a_frame_and_a_row_a_set_of_masks() -> None:
    clip, rows = make_rows()
    one = contact_sheet(clip, rows[:1], [0], tile_width=200)
    both = contact_sheet(clip, rows, [0, 2, 3], tile_width=200)
    assert one.dtype == both.dtype == np.uint8
    assert both.shape[1] - one.shape[1] == 2 * (200 + 8)
    # The video itself covers most of every tile: 200 x 100 pixels each.
    assert pixels_of(one, (GREY,) * 3).sum() == 200 * 100
    assert pixels_of(both, (GREY,) * 3).sum() > 3 * 200 * 100


def test_objects_are_outlined_in_their_colours_and_only_in_their_row() -> None:
    clip, rows = make_rows()
    sheet = contact_sheet(clip, rows, [1], tile_width=200)
    half = sheet.shape[0] // 2
    for colour in ((230, 159, 0), (86, 180, 233)):
        drawn = pixels_of(sheet, colour)
        assert not drawn[:half].any()
        assert drawn[half:].sum() > 100
    orange = np.argwhere(pixels_of(sheet, (230, 159, 0)))
    # Object 1 is 40 x 30 pixels, drawn at twice the size.
    np.testing.assert_allclose(np.ptp(orange, axis=0), (60, 80), atol=4)


def test_16_bit_ids_and_empty_frames() -> None:
    clip, _ = make_rows()
    masks = np.zeros((4, 50, 100), np.uint16)
    masks[0, 10:40, 20:60] = 40000
    sheet = contact_sheet(clip, [SheetRow("large id", masks)], [0, 1], tile_width=200)
    colours = {tuple(colour) for colour in sheet.reshape(-1, 3).tolist()}
    # (40000 - 1) % 7 is 1: the second colour.
    assert (86, 180, 233) in colours
