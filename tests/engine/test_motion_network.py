"""The motion network's input: it says the same of a mirrored video, and how the camera moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from napari_appearrefine.engine.motion_cues import GAPS, MotionCues
from napari_appearrefine.engine.networks.motion import CUE_CHANNELS, cue_channels, mirror_cues

SIZE = (32, 48)


def random_cues(seed: int = 0) -> MotionCues:
    rng = np.random.default_rng(seed)
    flow, residual = rng.normal(0, 3, (2, len(GAPS), *SIZE, 2)).astype(np.float32)
    inconsistency = rng.uniform(0, 5, (len(GAPS), *SIZE)).astype(np.float32)
    scale = rng.uniform(0.1, 1, len(GAPS)).astype(np.float32)
    texture, confidence = rng.uniform(0, 1, (2, *SIZE)).astype(np.float32)
    return MotionCues(GAPS, flow, residual, inconsistency, scale, texture, confidence)


def mirrored(cues: MotionCues) -> MotionCues:
    other_way = np.array([-1, 1], np.float32)
    return replace(
        cues,
        flow=cues.flow[:, :, ::-1] * other_way,
        residual=cues.residual[:, :, ::-1] * other_way,
        inconsistency=cues.inconsistency[:, :, ::-1],
        texture=cues.texture[:, ::-1],
        confidence=cues.confidence[:, ::-1],
    )


def test_channels_of_a_mirrored_video_are_the_mirrored_channels():
    cues = random_cues()
    channels = torch.from_numpy(cue_channels(cues))[None]
    assert channels.shape == (1, CUE_CHANNELS, SIZE[0] // 2, SIZE[1] // 2)
    of_mirrored = torch.from_numpy(cue_channels(mirrored(cues)))[None]
    torch.testing.assert_close(mirror_cues(channels), of_mirrored, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(mirror_cues(mirror_cues(channels)), channels)


def test_the_camera_shows_where_the_picture_can_be_believed():
    cues = random_cues()
    pan = np.array([4, -2], np.float32)
    steady = replace(cues, flow=cues.residual + pan, confidence=np.ones(SIZE, np.float32))
    camera = cue_channels(steady)[-4:].astype(np.float32)
    expected = np.concatenate([np.arcsinh(pan / (cues.scale[gap] + 0.3)) * 0.5 for gap in (0, 2)])
    np.testing.assert_allclose(camera, np.broadcast_to(expected[:, None, None], camera.shape), atol=2e-3)
    unbelieved = cue_channels(replace(steady, confidence=np.zeros(SIZE, np.float32)))
    assert not unbelieved[-4:].any()
