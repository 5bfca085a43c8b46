"""Outlines decided by the frame's own colours and edges, at the video's resolution."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from napari_appearrefine.engine import colour_edges
from napari_appearrefine.engine.boxes import Box, whole
from napari_appearrefine.engine.colour_edges import Edges, Picture, along_edges, by_colour
from napari_appearrefine.engine.merging import render_planes
from napari_appearrefine.engine.object_masks import Plane

GRID = (96, 128)


def disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    """Return the pixels (y, x) bool of a disc, its place and radius as shares of the height."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    y, x = (rows + 0.5) / size[0], (columns + 0.5) / size[0]
    return np.hypot(y - centre[0], x - centre[1]) < radius


def soft(mask: np.ndarray, blur: float = 3.0, certainty: float = 0.9) -> np.ndarray:
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), blur)
    return (0.5 + (blurred - 0.5) * certainty).astype(np.float32)


def scene(scale: int, inside: tuple[int, ...] = (90, 60, 40), outside: tuple[int, ...] = (120, 140, 150)):
    """Return the frame and the truth, ``scale`` times the grid."""
    size = GRID[0] * scale, GRID[1] * scale
    truth = disc(size, (0.5, 0.6), 0.25)
    noise = np.random.default_rng(0).normal(scale=8, size=(*size, 3))
    frame = np.where(truth[..., None], inside, outside) + noise
    return np.clip(frame, 0, 255).astype(np.uint8), truth


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@pytest.mark.parametrize("shift", [-3, 3])
@pytest.mark.parametrize("grey", [False, True])
def test_an_outline_that_is_off_goes_to_where_the_colours_change(shift: int, grey: bool) -> None:
    frame, truth = scene(1, *((90,) * 3, (150,) * 3) if grey else ())
    rough = disc(GRID, (0.5, 0.6), 0.25 + shift / GRID[0])
    plane = Plane(whole(GRID), soft(rough))
    coloured = by_colour(plane, Picture.of(frame, GRID), plane.values)
    assert iou(coloured.values > 0.5, truth) > iou(plane.values > 0.5, truth) + 0.05
    assert np.isfinite(coloured.values).all()
    halfway = by_colour(plane, Picture.of(frame, GRID), plane.values, 0.0)
    assert np.allclose(halfway.values, plane.values, atol=1e-3)


def test_colours_that_do_not_differ_say_nothing() -> None:
    frame, truth = scene(1, (100, 100, 100), (100, 100, 100))
    plane = Plane(whole(GRID), soft(truth))
    coloured = by_colour(plane, Picture.of(frame, GRID), plane.values)
    assert iou(coloured.values > 0.5, plane.values > 0.5) > 0.9


def test_a_box_gives_what_the_whole_grid_gives() -> None:
    frame, truth = scene(1)
    values = soft(truth)
    picture = Picture.of(frame, GRID)
    box = Box(16, 80, 32, 96)
    small = by_colour(Plane(box, values[box.at()]), picture, values)
    large = by_colour(
        Plane(whole(GRID), np.where(Plane(box, np.ones(box.shape)).on(GRID) > 0, values, 0)), picture, values
    )
    assert small.values.shape == box.shape
    inner = (slice(4, -4), slice(4, -4))
    assert np.mean((small.values > 0.5)[inner] == (large.values[box.at()] > 0.5)[inner]) > 0.995


def test_an_object_is_not_weighed_against_its_neighbour_of_the_same_colour() -> None:
    touching = [disc(GRID, (0.5, 0.42), 0.2), disc(GRID, (0.5, 0.84), 0.2)]
    truth = touching[0] | touching[1]
    frame = np.where(truth[..., None], (90, 60, 40), (120, 140, 150)).astype(np.uint8)
    planes = [Plane(whole(GRID), soft(each, 2.0)) for each in touching]
    covered = np.minimum(planes[0].values + planes[1].values, 1)
    picture = Picture.of(frame, GRID)
    labels = render_planes(
        {key: by_colour(plane, picture, covered) for key, plane in enumerate(planes, start=1)}, GRID, GRID
    )
    for key, each in enumerate(touching, start=1):
        assert iou(labels == key, each) > 0.9


@pytest.mark.parametrize("scale", [2, 5])
def test_outlines_are_as_fine_as_the_video(scale: int) -> None:
    frame, truth = scene(scale)
    small = cv2.resize(truth.astype(np.float32), GRID[::-1], interpolation=cv2.INTER_AREA)
    plane = Plane(whole(GRID), soft(small, 1.5))
    picture = Picture.of(frame, GRID)
    plain = render_planes({1: plane}, GRID, truth.shape) == 1
    fine = render_planes({1: plane}, GRID, truth.shape, Edges(picture, {1: 1.0})) == 1
    assert 1 - iou(fine, truth) < 0.7 * (1 - iou(plain, truth))
    none = render_planes({1: plane}, GRID, truth.shape, Edges(picture, {1: 0.0})) == 1
    assert iou(none, plain) > 0.999


def test_objects_at_the_border_and_nothing_at_all() -> None:
    frame, _ = scene(3)
    picture = Picture.of(frame, GRID)
    edges = Edges(picture, {1: 1.0, 2: 1.0})
    corner = np.zeros(GRID, np.float32)
    corner[:20, :30] = 0.9
    planes = {1: Plane(whole(GRID), corner), 2: Plane(whole(GRID), np.zeros(GRID, np.float32))}
    planes = {key: by_colour(plane, picture, corner) for key, plane in planes.items()}
    labels = render_planes(planes, GRID, frame.shape[:2], edges)
    assert set(np.unique(labels)) == {0, 1}
    assert labels[:50, :80].mean() > 0.95
    assert along_edges(planes[2], picture).values.shape == (*GRID, 4)


def test_a_logo_in_the_colour_of_the_background_stays_in(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, truth = scene(1)
    logo = (slice(46, 50), slice(40, 44))
    frame[logo] = (120, 140, 150)
    plane = Plane(whole(GRID), soft(truth, certainty=0.8))
    picture = Picture.of(frame, GRID)
    assert (by_colour(plane, picture, plane.values).values[logo] > 0.5).all()
    monkeypatch.setattr(colour_edges, "_LEAST_PIECE", 0)
    assert (by_colour(plane, picture, plane.values).values[logo] < 0.5).all()
