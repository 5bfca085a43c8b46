"""A video file as frames that can be read in any order, exactly as decoding it from start to end gives them."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ..core.errors import UserError
from .decoding import Decoder, frames_from_key, frames_from_start, index_frames

_KEPT_FRAMES = 48
_KEPT_BYTES = 96 << 20


class VideoFile:
    """The frames of a video file, (T, Y, X, 3) uint8, or (T, Y, X) uint8 or uint16 if it is stored grey.

    Reading forward decodes each frame once; reading elsewhere starts at the nearest key frame
    before. The frames decoded last are kept, so that stepping back is quick. May be read from
    several threads.

    Parameters
    ----------
    path : Path
        A file that FFmpeg decodes.

    Raises
    ------
    UserError
        If the file is no video or no frame of it can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._index = index_frames(path)
        if self._index.count == 0:
            raise UserError(f"{path} holds no frame that can be decoded; convert the video again.")
        self._keys = self._index.keys
        self._reformatter = VideoReformatter()
        self._kept: OrderedDict[int, av.VideoFrame] = OrderedDict()
        self._decoder: Decoder | None = None
        self._coming: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._position = 0
        first = self._decode(0)
        self._format = _target_format(first.format)
        self._coded_size = (first.height, first.width)
        # The display matrix says how far to turn counterclockwise; phones store upright video lying.
        self._quarter_turns = round(first.rotation / 90) % 4
        image = self._convert(first)
        self.dtype: np.dtype[Any] = image.dtype
        self.shape: tuple[int, ...] = (self._index.count, *image.shape)

    @property
    def missing(self) -> int:
        """How many further frames the file tells of that cannot be decoded, as where it is cut off."""
        return self._index.missing

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frame: int) -> np.ndarray:
        """Return one frame as a new array.

        Raises
        ------
        UserError
            If that frame cannot be decoded or has another size than the first.
        """
        frame = range(len(self))[frame]
        with self._lock:
            picture = self._decode(frame)
            if (picture.height, picture.width) != self._coded_size:
                height, width = self._coded_size
                raise UserError(
                    f"Frame {frame} of {self._path} is {picture.width} x {picture.height} pixels but the first is "
                    f"{width} x {height}; convert the video to one size."
                )
            return self._convert(picture)

    def _convert(self, picture: av.VideoFrame) -> np.ndarray:
        image = self._reformatter.reformat(picture, format=self._format).to_ndarray()
        return np.ascontiguousarray(np.rot90(image, self._quarter_turns))

    def _decode(self, frame: int) -> av.VideoFrame:
        if frame in self._kept:
            self._kept.move_to_end(frame)
            return self._kept[frame]
        self._approach(frame)
        for found, picture in self._coming:
            self._keep(found, picture)
            self._position = found + 1
            if found == frame:
                return picture
            if found > frame:
                break
        raise UserError(
            f"Frame {frame} of {self._path} cannot be decoded; the file is damaged there: cut the video before it, "
            "or convert it again."
        )

    def _approach(self, frame: int) -> None:
        """Place the decoder at or before a frame, without starting anew if it is on the way."""
        number = bisect_right(self._keys, frame, key=lambda key: key.frame) - 1
        start = self._keys[number].frame if number >= 0 else 0
        if self._decoder is not None and start <= self._position <= frame:
            return
        if number >= 0:
            self._decoder = self._decoder or Decoder(self._path, self._index.sound)
            coming = frames_from_key(self._decoder, self._keys[number], self._index.stamps)
            first = next(coming, None)
            if first is not None:
                self._coming, self._position = chain([first], coming), start
                return
            # This file's key frames are no places to start: from now on only its beginning is one.
            self._keys = []
        if self._decoder is not None:
            self._decoder.close()
        self._decoder = Decoder(self._path, self._index.sound)
        self._coming, self._position = frames_from_start(self._decoder, self._index.stamps), 0

    def _keep(self, frame: int, picture: av.VideoFrame) -> None:
        self._kept[frame] = picture
        room = max(1, min(_KEPT_FRAMES, _KEPT_BYTES // max(1, sum(plane.buffer_size for plane in picture.planes))))
        while len(self._kept) > room:
            self._kept.popitem(last=False)


def _target_format(stored: av.VideoFormat) -> str:
    if not stored.name.startswith("gray"):
        return "rgb24"
    return "gray" if stored.name == "gray" else "gray16le"
