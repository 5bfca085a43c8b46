"""Masks from motion from end to end: rendered video in, events out, and what a user is told when it cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from flow_files import write_flo
from napari_appearrefine.core.clip import Clip
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.events import FrameLabels, Progress, Report
from napari_appearrefine.core.parameters import FlowMaskParameters
from napari_appearrefine.engine.flow import flow_pair
from napari_appearrefine.engine.flow_masks import flow_masks
from napari_appearrefine.engine.flow_sources import flow_sequence, measured_flow
from napari_appearrefine.engine.foreground import ThresholdForeground, guided_filter
from napari_appearrefine.engine.merging import render_labels
from napari_appearrefine.engine.motion_cues import MotionCues
from napari_appearrefine.engine.oclr_masks import FrameLayers
from napari_appearrefine.engine.oclr_objects import collect_planes

CPU = FlowMaskParameters(device="cpu")


def textured(size: tuple[int, int], seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((*size, 3)).astype(np.float32)
    planes = sum(cv2.GaussianBlur(noise, (0, 0), s) / cv2.GaussianBlur(noise, (0, 0), s).std() for s in (1.5, 5))
    return np.clip(128 + 35 * planes, 0, 255).astype(np.uint8)


def rendered(
    paths: Sequence[Sequence[tuple[float, float]]],
    size: tuple[int, int] = (112, 160),
    pan: float = 1.5,
    radius: int = 15,
) -> tuple[np.ndarray, np.ndarray]:
    """Textured ellipses on a panning textured background: (T, Y, X, 3) uint8 and (T, Y, X) truth."""
    frames = len(paths[0])
    wide = textured((size[0], size[1] + int(abs(pan) * frames) + 2), 0)
    skins = [textured((2 * radius + 1, 2 * radius + 1), 10 + index)[..., ::-1] for index in range(len(paths))]
    video, labels = np.zeros((frames, *size, 3), np.uint8), np.zeros((frames, *size), np.uint8)
    grid_rows, grid_columns = np.mgrid[: size[0], : size[1]]
    for t in range(frames):
        shift = np.array([[1, 0, -pan * t], [0, 1, 0]], np.float32)
        video[t] = cv2.warpAffine(wide, shift, size[::-1], flags=cv2.INTER_LINEAR)
        for index, path in enumerate(paths):
            x, y = path[t]
            there = np.array([[1, 0, x - radius], [0, 1, y - radius]], np.float32)
            skin = cv2.warpAffine(skins[index], there, size[::-1], flags=cv2.INTER_LINEAR)
            inside = ((grid_columns - x) / radius) ** 2 + ((grid_rows - y) / (0.8 * radius)) ** 2 < 0.85
            video[t][inside] = skin[inside]
            labels[t][inside] = index + 1
    return video, labels


def run(clip: Clip, parameters: FlowMaskParameters = CPU) -> tuple[np.ndarray, Report, list[Progress]]:
    masks = np.zeros((len(clip), *clip.size), np.uint16)
    steps: list[Progress] = []
    report = None
    for event in flow_masks(clip, parameters, foreground=ThresholdForeground()):
        assert report is None, "the report comes last"
        if isinstance(event, FrameLabels):
            assert event.labels.shape == clip.size
            assert event.labels.dtype in (np.uint8, np.uint16)
            masks[event.frame] = event.labels
        elif isinstance(event, Progress):
            steps.append(event)
        else:
            report = event
    assert report is not None
    return masks, report, steps


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def test_two_objects_under_a_panning_camera() -> None:
    paths = [[(30 + 3 * t, 35) for t in range(14)], [(125 - 3 * t, 80 + 0.5 * t) for t in range(14)]]
    video, truth = rendered(paths)
    masks, report, steps = run(Clip(video, "two"))
    assert report.objects == [1, 2]
    assert report.frames == 14
    assert report.model == "threshold"
    assert report.exemplars == {}
    assert [step.done for step in steps if step.stage == "Measuring motion"] == list(range(15))
    first = 1 if jaccard(masks == 1, truth == 1) > jaccard(masks == 1, truth == 2) else 2
    for t in range(14):
        assert jaccard(masks[t] == first, truth[t] == 1) > 0.6
        assert jaccard(masks[t] == 3 - first, truth[t] == 2) > 0.6


def test_what_passes_behind_another_object_is_completed() -> None:
    paths = [[(25 + 4 * t, 60) for t in range(28)], [(80 + 0.8 * t, 30 + 2.2 * t) for t in range(28)]]
    video, truth = rendered(paths)
    alone = rendered(paths[:1])[1] == 1
    events = flow_masks(
        Clip(video, "crossing"), FlowMaskParameters(device="cpu", amodal=True), foreground=ThresholdForeground()
    )
    frames = [event for event in events if isinstance(event, FrameLabels)]
    assert [event.frame for event in frames] == list(range(28))
    front = frames[15].front_to_back[0]
    back = 3 - front
    assert jaccard(frames[0].labels == back, truth[0] == 1) > 0.6
    gained = []
    for t in range(13, 21):
        event = frames[t]
        assert event.front_to_back == (front, back)
        gained.append(jaccard(event.whole[back], alone[t]) - jaccard(event.labels == back, alone[t]))
        np.testing.assert_array_equal(event.whole[front], event.labels == front)
    assert min(gained) > 0.05
    assert np.mean(gained) > 0.2


def test_one_object_when_one_is_asked_for() -> None:
    paths = [[(30 + 3 * t, 35) for t in range(8)], [(125 - 3 * t, 80) for t in range(8)]]
    masks, report, _ = run(Clip(rendered(paths)[0]), FlowMaskParameters(device="cpu", objects=1))
    assert report.objects == [1]
    assert set(np.unique(masks)) == {0, 1}


def test_masks_have_the_size_of_the_video_and_smooth_outlines() -> None:
    video, truth = rendered([[(40 + 3 * t, 55) for t in range(6)]])
    large = np.stack([cv2.resize(frame, (640, 448), interpolation=cv2.INTER_CUBIC) for frame in video])
    masks, _, _ = run(Clip(large))
    expected = cv2.resize(truth[3], (640, 448), interpolation=cv2.INTER_LINEAR) > 0
    assert masks.shape == (6, 448, 640)
    assert jaccard(masks[3] == 1, expected) > 0.7


def test_rendering_interpolates_and_keeps_objects_apart() -> None:
    planes = {1: np.zeros((20, 30), np.float32), 300: np.zeros((20, 30), np.float32)}
    planes[1][5:15, 4:14] = 1
    planes[300][5:15, 14:24] = 1
    labels = render_labels(planes, (80, 120))
    assert labels.dtype == np.uint16
    assert (labels[22:58, 18:54] == 1).all()
    assert (labels[22:58, 58:94] == 300).all()
    assert not labels[:16].any()
    # A block of 4 x 4 whose corner lies at the square's corner would fill it whole.
    assert labels[20, 16] == 0


def test_only_some_parts_of_the_frame_hold_objects_at_its_border() -> None:
    plane = np.zeros((20, 30), np.float32)
    plane[:, 25:] = 1
    labels = render_labels({1: plane}, (60, 90))
    assert (labels[:, 78:] == 1).all()
    assert not labels[:, :72].any()


def microscope(frames: int = 10, count: int = 40, size: tuple[int, int] = (256, 256)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    cells = [(x, y) for y in range(22, 250, 35) for x in range(22, 250, 35)][:count]
    starts = np.array(cells) + rng.uniform(-4, 4, (count, 2))
    angles = rng.uniform(0, 2 * np.pi, count)
    steps = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.9, 1.6, (count, 1))
    video = np.full((frames, *size), 900.0, np.float32)
    truth = np.zeros((frames, *size), np.uint8)
    for t in range(frames):
        for index in range(count):
            x, y = starts[index] + steps[index] * t
            distance = ((columns - x) / 6) ** 2 + ((rows - y) / 5) ** 2
            video[t] += 9000 * np.exp(-distance) * (1 + 0.3 * np.sin(columns + index))
            truth[t][distance < 1.2] = index + 1
    noise = rng.normal(0, 60, video.shape)
    return np.clip(video + noise, 0, 65535).astype(np.uint16), truth


def test_most_of_many_small_blobs_in_a_grey_16_bit_stack_are_found() -> None:
    video, truth = microscope()
    masks, report, _ = run(Clip(video, "cells"))
    found = 0
    for index in range(1, 41):
        middle = truth[5] == index
        ids = masks[5][middle]
        best = int(np.bincount(ids[ids > 0]).argmax()) if (ids > 0).any() else 0
        found += bool(best and jaccard(masks[5] == best, middle) > 0.3)
    assert found >= 30
    assert len(report.objects) <= 50


def test_one_frame_has_no_motion() -> None:
    with pytest.raises(UserError, match="clip has only one frame"):
        list(flow_masks(Clip(np.zeros((1, 64, 64), np.uint8), "clip")))


@pytest.mark.parametrize("pan", [0.0, 2.0])
def test_a_video_in_which_nothing_moves_by_itself_is_said_to_be_one(pan: float) -> None:
    wide = textured((96, 160), 5)
    video = np.stack([wide[:, int(pan * t) : int(pan * t) + 128] for t in range(6)])
    with pytest.raises(UserError, match="Nothing moves by itself in still"):
        list(flow_masks(Clip(video, "still"), CPU, foreground=ThresholdForeground()))


def test_closing_the_generator_stops_it() -> None:
    read: list[int] = []

    class Frames:
        shape, dtype = (50, 64, 64), np.dtype(np.uint8)

        def __len__(self) -> int:
            return 50

        def __getitem__(self, index: int) -> np.ndarray:
            read.append(index)
            return np.zeros((64, 64), np.uint8)

    events = flow_masks(Clip(Frames()), CPU, foreground=ThresholdForeground())
    for _ in range(3):
        next(events)
    events.close()
    assert len(read) < 20


def test_flow_from_a_folder_takes_the_place_of_measured_flow(tmp_path: Path) -> None:
    video = np.zeros((6, 96, 128, 3), np.uint8)
    for gap in (1, -1):
        folder = tmp_path / f"Flows_gap{gap}" / "given"
        folder.mkdir(parents=True)
        for t in range(6):
            if 0 <= t + gap < 6:
                flow = np.zeros((96, 128, 2), np.float32)
                flow[30:60, 30 + 4 * t : 60 + 4 * t] = (4 * gap, 0)
                write_flo(folder / f"{t:05d}.flo", flow)
    masks, report, _ = run(Clip(video, "given"), FlowMaskParameters(device="cpu", flow_root=tmp_path))
    assert report.objects == [1]
    for t in range(6):
        expected = np.zeros((96, 128), bool)
        expected[30:60, 30 + 4 * t : 60 + 4 * t] = True
        assert jaccard(masks[t] == 1, expected) > 0.8


def test_a_missing_flow_folder_is_named(tmp_path: Path) -> None:
    parameters = FlowMaskParameters(device="cpu", flow_root=tmp_path)
    with pytest.raises(UserError, match="Flows_gap1"):
        list(flow_masks(Clip(np.zeros((4, 64, 64), np.uint8)), parameters, foreground=ThresholdForeground()))


def test_oclr_needs_its_checkpoint() -> None:
    with pytest.raises(UserError, match="--checkpoint"):
        list(flow_masks(Clip(np.zeros((4, 64, 64), np.uint8)), FlowMaskParameters(model="oclr", device="cpu")))


def test_oclr_planes_that_change_places_keep_their_ids_and_are_ranked() -> None:
    frames = []
    for t in range(6):
        planes = np.zeros((3, 32, 40), bool)
        planes[0, 5:9, 3 + t : 8 + t] = True
        planes[1, 15:30, 20 - t : 35 - t] = True
        planes[2, 0, 0] = True
        whole = planes.copy()
        whole[0, 5:9, 3 + t : 12 + t] = True
        places = [0, 1, 2] if t < 3 else [2, 0, 1]
        depth = np.array([2, 1, 0])  # a single pixel in front, then the large plane
        frames.append((t, FrameLayers(planes[places], whole[places], depth[places])))
    steps = collect_planes(iter(frames), 6, None)
    packed = None
    while packed is None:
        try:
            next(steps)
        except StopIteration as stop:
            packed = stop.value
    for t, layers in enumerate(packed):
        labels = layers.labels.unpack()
        assert (labels[15:30, 20 - t : 35 - t] == 1).all()
        assert (labels[5:9, 3 + t : 8 + t] == 2).all()
        assert labels[0, 0] == 0
        assert sorted(layers.whole) == [1, 2]
        assert layers.whole[2].unpack()[5:9, 3 + t : 12 + t].all()
        assert layers.front_to_back == (1, 2)


def test_measured_flow_is_read_like_a_sequence() -> None:
    video, _ = rendered([[(40 + 3 * t, 55) for t in range(3)]])
    clip = Clip(video)
    flows = flow_sequence(clip, 1, measured_flow(clip, "dis", torch.device("cpu")))
    assert len(flows) == 3
    assert flows[2] is None
    assert np.array_equal(flows[0], flow_pair(video[0], video[1], smooth=True))
    with pytest.raises(IndexError):
        flows[3]


def test_threshold_finds_what_moves_in_both_directions() -> None:
    residual = np.zeros((4, 64, 80, 2), np.float32)
    residual[:, 20:40, 20:50] = (3, 1)
    residual[:1, 20:40, 50:60] = (3, 1)
    cues = MotionCues((1, -1, 4, -4), residual, residual, np.zeros((4, 64, 80)), np.full(4, 0.1), *np.ones((2, 64, 80)))
    probability, _ = ThresholdForeground().foreground(np.full((64, 80, 3), 90, np.uint8), cues)
    assert probability[25:35, 28:42].min() > 0.8
    assert probability[25:35, 54:58].max() < 0.3
    assert probability[:10].max() < 0.1


def test_guided_filter_follows_the_edges_of_its_guide() -> None:
    guide = np.zeros((40, 40), np.float32)
    guide[:, 20:] = 1
    plane = np.zeros((40, 40), np.float32)
    plane[:, 18:] = 1
    filtered = guided_filter(guide, plane)
    assert filtered[20, 19] < 0.5 < filtered[20, 20]
    assert np.array_equal(guided_filter(guide, np.ones_like(plane)).round(4), np.ones_like(plane))
