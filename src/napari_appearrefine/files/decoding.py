"""Decoding a video file: packets and frames from any place, damaged parts skipped, the place of every frame."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import av
from av.stream import Disposition
from av.video.stream import VideoStream

from ..core.errors import UserError

# Without the list, a playlist or script that is named like a video would make FFmpeg open other files.
_OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg",
    "protocol_whitelist": "file",
}
# Codecs of which every packet is one frame that is shown, so that counting packets counts frames.
_INTRA_CODECS = {"dnxhd", "ffv1", "ffvhuff", "huffyuv", "mjpeg", "png", "prores", "qtrle", "rawvideo", "utvideo"}
_INTER_CODECS = {"av1", "h264", "hevc", "libdav1d", "libvpx-vp9", "mpeg1video", "mpeg2video", "mpeg4", "vp9"}
_ONE_PACKET_ONE_FRAME = _INTRA_CODECS | _INTER_CODECS
_FRAMES_CHECKED_AT_HEAD = 48
_PIXELS_CHECKED_AT_TAIL = 4_000_000_000


@dataclass(frozen=True)
class KeyFrame:
    """A place where decoding may start.

    Parameters
    ----------
    frame : int
        Its index among the frames that are shown.
    pts, dts : int
        Time stamps of its packet, in units of the stream.
    """

    frame: int
    pts: int
    dts: int


@dataclass(frozen=True)
class FrameIndex:
    """Where every frame of a video is.

    Parameters
    ----------
    count : int
        Frames that can be decoded.
    stamps : dict of int to int
        Time stamp to frame index; empty if time stamps are missing or repeated, and then frames
        can only be counted from the start.
    keys : list of KeyFrame
        Ascending; without the first frame's, which is reached by starting over.
    sound : bool
        Whether the file is as it should be, as far as was looked at.
    missing : int
        Further frames that the file tells of and that cannot be decoded.
    """

    count: int
    stamps: dict[int, int]
    keys: list[KeyFrame]
    sound: bool
    missing: int = 0


@dataclass(frozen=True)
class _Packet:
    pts: int | None
    dts: int | None
    key: bool
    shown: bool


class Decoder:
    """One opened video file with a place in it.

    Parameters
    ----------
    path : Path
        The file.
    quick : bool
        Whether to decode several frames at once. For sound files only: where one of them is
        damaged its neighbours may get lost, and what is shown instead depends on chance.

    Raises
    ------
    UserError
        If FFmpeg does not know the file, or it holds no video.
    """

    def __init__(self, path: Path, quick: bool) -> None:
        try:
            self._container = av.open(str(path), container_options=dict(_OPTIONS))
        except PermissionError as error:
            raise UserError(f"{path} may not be read; check its permissions.") from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UserError(
                f"{path} is no video that can be opened: it is damaged, cut off or of another format; "
                "convert it again, for example to mp4."
            ) from error
        self._close = weakref.finalize(self, self._container.close)
        stream = self._container.streams.best("video")
        # A song's cover picture is a stream of one frame.
        if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
            raise UserError(f"{path} holds no video; choose another file.")
        stream.thread_type = "AUTO" if quick else "SLICE"
        self.stream = stream

    def close(self) -> None:
        """Let go of the file."""
        self._close()

    def packets(self) -> list[_Packet]:
        """Read to the end without decoding; packets that an edit list cuts away are decoded but not shown."""
        return [
            _Packet(packet.pts, packet.dts, packet.is_keyframe, not packet.is_discard)
            for packet in self._demux()
            if packet.size
        ]

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decode from the current place to the end; packets that cannot be decoded are skipped."""
        for packet in self._demux():
            try:
                frames = self.stream.decode(packet)
            except av.FFmpegError:
                continue
            yield from frames
        try:
            # After an error there was no last, empty packet that makes the decoder give all it has.
            frames = self.stream.decode(None)
        except av.FFmpegError:
            return
        yield from frames

    def seek(self, stamp: int) -> bool:
        """Go to the key frame at or before a time stamp; False if the file has no way to."""
        try:
            self._container.seek(stamp, stream=self.stream, backward=True)
        except (av.FFmpegError, OSError):
            return False
        return True

    def _demux(self) -> Iterator[av.Packet[VideoStream]]:
        packets = iter(self._container.demux(self.stream))
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError):
                return
            if packet is None:
                return
            yield packet


def frames_from_key(decoder: Decoder, key: KeyFrame, stamps: dict[int, int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode from a key frame on.

    The frames before it, which need what came earlier (an open group of pictures), are left out.
    The iterator is empty if the key frame cannot be reached exactly, or is not one after all
    (a "recovery point" of a stream that is refreshed bit by bit).

    Yields
    ------
    int, av.VideoFrame
        Frame index and frame.
    """
    for stamp in (key.pts, key.dts):
        if not decoder.seek(stamp):
            return
        frames = _numbered(decoder.frames(), stamps, key.frame)
        first = next(frames, None)
        if first is not None and first[0] == key.frame and first[1].key_frame:
            yield first
            yield from frames
            return


def frames_from_start(decoder: Decoder, stamps: dict[int, int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode a freshly opened file from its start; yields frame indices and frames."""
    return _numbered(decoder.frames(), stamps, 0) if stamps else enumerate(decoder.frames())


def _numbered(
    frames: Iterator[av.VideoFrame], stamps: dict[int, int], first: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    for frame in frames:
        index = stamps.get(frame.pts, -1) if frame.pts is not None else -1
        if index >= first:
            yield index, frame


def index_frames(path: Path) -> FrameIndex:
    """Find every frame of a video.

    Reading the packets without decoding them is enough where that can be trusted: if every packet
    is one frame, has its own time stamp, and the frames decoded at the head and after the last
    key frame are the expected ones. Everything else is decoded once from start to end.

    Raises
    ------
    UserError
        If the file cannot be opened.
    """
    decoder = Decoder(path, quick=True)
    packets = decoder.packets()
    trusted = decoder.stream.codec_context.name in _ONE_PACKET_ONE_FRAME
    pixels = decoder.stream.codec_context.width * decoder.stream.codec_context.height
    told = max(decoder.stream.frames, len(packets)) if trusted else 0
    decoder.close()
    index = (_index_of_packets(path, packets, pixels) if trusted else None) or _index_by_decoding(path, packets)
    hidden = sum(not packet.shown for packet in packets)
    return replace(index, missing=max(told - hidden - index.count, 0))


def _index_of_packets(path: Path, packets: list[_Packet], pixels: int) -> FrameIndex | None:
    shown = sorted({packet.pts for packet in packets if packet.shown and packet.pts is not None})
    if not shown or not packets[0].key or len(shown) != sum(packet.shown for packet in packets):
        return None
    stamps = {pts: frame for frame, pts in enumerate(shown)}
    decoder = Decoder(path, quick=True)
    head = [frame.pts for frame in islice(decoder.frames(), _FRAMES_CHECKED_AT_HEAD)]
    decoder.close()
    if head != shown[:_FRAMES_CHECKED_AT_HEAD]:
        return None
    keys = _keys(packets, stamps)
    last = keys[-1] if keys else KeyFrame(0, shown[0], shown[0])
    if (len(shown) - last.frame) * pixels <= _PIXELS_CHECKED_AT_TAIL:
        decoder = Decoder(path, quick=True)
        found = frames_from_key(decoder, last, stamps) if keys else frames_from_start(decoder, stamps)
        tail = [frame for frame, _ in found]
        decoder.close()
        if tail != list(range(last.frame, len(shown))):
            return None
    return FrameIndex(len(shown), stamps, keys, sound=True)


def _index_by_decoding(path: Path, packets: list[_Packet]) -> FrameIndex:
    decoder = Decoder(path, quick=False)
    decoded = [frame.pts for frame in decoder.frames()]
    decoder.close()
    stamps = {pts: frame for frame, pts in enumerate(decoded) if pts is not None}
    if len(stamps) != len(decoded):
        return FrameIndex(len(decoded), {}, [], sound=False)
    return FrameIndex(len(decoded), stamps, _keys(packets, stamps), sound=False)


def _keys(packets: list[_Packet], stamps: dict[int, int]) -> list[KeyFrame]:
    keys = [
        KeyFrame(stamps[packet.pts], packet.pts, packet.pts if packet.dts is None else packet.dts)
        for packet in packets
        if packet.key and packet.pts is not None and stamps.get(packet.pts, 0) > 0
    ]
    return sorted(keys, key=lambda key: key.frame)
