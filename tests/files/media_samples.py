"""Makes small real video files for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path,
    codec: str = "libx264",
    count: int = 40,
    size: tuple[int, int] = (48, 64),
    *,
    b_frames: int = 0,
    group: int = 8,
    pixels: str = "yuv420p",
    milliseconds: Sequence[int] | None = None,
    turn: int = 0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode moving noise; ``milliseconds`` gives each frame its own time, ``turn`` a rotation on display."""
    base = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options={**_QUIET.get(codec, {}), **(options or {})})
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        stream.gop_size = group
        if b_frames:
            stream.max_b_frames = b_frames
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if turn:
            stream.set_display_rotation(turn)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(np.roll(base, (index, 2 * index), (0, 1)), "rgb24")
            if milliseconds is not None:
                frame.pts, frame.time_base = int(milliseconds[index]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def remux(source: Path, target: Path, shift: int = 0, skip: int = 0, options: dict[str, str] | None = None) -> Path:
    """Copy the packets of a video to another container, moved in time, without the first ones."""
    with av.open(str(source)) as opened, av.open(str(target), "w", container_options=options or {}) as written:
        stream = opened.streams.video[0]
        copy = written.add_stream_from_template(stream)
        for number, packet in enumerate(opened.demux(stream)):
            if packet.size and number >= skip:
                packet.stream = copy
                packet.pts += shift
                packet.dts += shift
                written.mux(packet)
    return target


def decode_in_order(path: Path, pixels: str = "rgb24") -> list[np.ndarray]:
    """Decode a video from start to end the plain way; packets that fail are left out."""
    frames = []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                continue
            frames += [frame.to_ndarray(format=pixels) for frame in decoded]
    return frames


_QUIET = {
    "libx264": {"x264-params": "log-level=none"},
    "libx265": {"x265-params": "log-level=none"},
    "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime"},
}
