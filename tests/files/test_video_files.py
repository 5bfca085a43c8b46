"""Video files: every frame, in any order, as decoding from start to end gives it."""

from __future__ import annotations

import threading
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media_samples import decode_in_order, remux, write_video

from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.labels import check_masks
from napari_appearrefine.files import decoding
from napari_appearrefine.files.video import as_dask, open_video

X264_OPEN = {"x264-params": "open-gop=1:log-level=none"}
X264_REFRESH = {"x264-params": "intra-refresh=1:log-level=none"}
X265_OPEN = {"x265-params": "open-gop=1:bframes=4:log-level=none"}
VARIABLE = np.cumsum([0, *np.random.default_rng(1).integers(5, 200, 39)]).tolist()

KINDS = {
    "b-frames.mp4": {"b_frames": 3},
    "b-frames.mov": {"b_frames": 2},
    "variable-rate.mp4": {"b_frames": 2, "milliseconds": VARIABLE},
    "variable-rate.mkv": {"b_frames": 2, "milliseconds": VARIABLE},
    "negative-offsets.mp4": {"b_frames": 3, "container_options": {"movflags": "+negative_cts_offsets"}},
    "fragmented.mp4": {"b_frames": 3, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "open-group.mp4": {"b_frames": 3, "options": X264_OPEN},
    "open-group-hevc.mp4": {"codec": "libx265", "b_frames": 4, "options": X265_OPEN},
    "intra-refresh.mp4": {"options": X264_REFRESH},
    "one-key-frame.mkv": {"b_frames": 3, "group": 1000},
    "plain.avi": {"codec": "mpeg4"},
    "b-frames.avi": {"codec": "mpeg4", "b_frames": 2},
    "wrong-stamps.avi": {"b_frames": 3},
    "jpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "h264.mkv": {"b_frames": 3},
    "ffv1.mkv": {"codec": "ffv1"},
    "mpeg2.mkv": {"codec": "mpeg2video", "b_frames": 2},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    "vp8.webm": {"codec": "libvpx"},
    "ten-bit.mp4": {"pixels": "yuv420p10le", "b_frames": 2},
    "odd-size.mkv": {"codec": "ffv1", "pixels": "yuv444p", "size": (37, 51)},
    "one-frame.mp4": {"count": 1},
    "one-frame.webm": {"codec": "libvpx-vp9", "count": 1},
    "two-frames.mkv": {"count": 2, "b_frames": 2},
}


def check_every_order(path: Path, expected: list[np.ndarray], seed: int = 0) -> None:
    """Compare in order, backwards and at random, each with a freshly opened clip."""
    count = len(expected)
    orders = [range(count), range(count)[::-1], np.random.default_rng(seed).integers(0, count, 2 * count).tolist()]
    for order in orders:
        clip = open_video(path)
        assert len(clip) == count
        for frame in order:
            np.testing.assert_array_equal(clip.raw(frame), expected[frame], err_msg=f"frame {frame} of {path.name}")


@pytest.mark.parametrize("name", KINDS)
def test_any_order_equals_decoding_in_order(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, **KINDS[name])
    expected = decode_in_order(path)
    assert len(expected) == KINDS[name].get("count", 40)
    assert not open_video(path).notice
    check_every_order(path, expected)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("trimmed.mp4", {"shift": -512 * 20, "options": {"avoid_negative_ts": "disabled"}}),
        ("late.mp4", {"shift": 512 * 30}),
        ("late.mkv", {"shift": 512 * 30}),
        ("no-first-key.mp4", {"skip": 3}),
        ("no-first-key.mkv", {"skip": 3}),
    ],
)
def test_cut_and_shifted_streams(tmp_path: Path, name: str, change: dict) -> None:
    source = write_video(tmp_path / "source.mp4", b_frames=3, count=60)
    path = remux(source, tmp_path / name, **change)
    expected = decode_in_order(path)
    assert 30 <= len(expected) <= 60
    if not name.startswith("late"):
        assert len(expected) < 60
    check_every_order(path, expected)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", b_frames=3, count=90, group=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(-90, 89), min_size=1, max_size=20))
def test_random_access_property(film: Path, order: list[int]) -> None:
    expected = decode_in_order(film)
    frames = open_video(film)._frames
    for frame in order:
        np.testing.assert_array_equal(frames[frame], expected[frame])


def test_the_quick_index_is_the_one_found_by_decoding(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = decoding.index_frames(film)
    monkeypatch.setattr(decoding, "_ONE_PACKET_ONE_FRAME", set())
    slow = decoding.index_frames(film)
    assert quick.sound
    assert not slow.sound
    assert (quick.count, quick.stamps, quick.keys) == (slow.count, slow.stamps, slow.keys)
    assert len(quick.keys) >= 7


def test_reading_forward_never_starts_anew(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = open_video(film)
    seeks = []
    plain_seek = decoding.Decoder.seek
    monkeypatch.setattr(decoding.Decoder, "seek", lambda self, stamp: seeks.append(stamp) or plain_seek(self, stamp))
    for frame in range(len(clip)):
        clip.raw(frame)
        clip.raw(max(frame - 1, 0))
    assert seeks == []
    clip.raw(2)
    clip.raw(30)
    assert len(seeks) == 1


def test_threads_may_share_a_clip(film: Path) -> None:
    expected = decode_in_order(film)
    clip = open_video(film)
    wrong: list[int] = []

    def read(seed: int) -> None:
        for frame in np.random.default_rng(seed).integers(0, len(expected), 40).tolist():
            if not np.array_equal(clip.raw(frame), expected[frame]):
                wrong.append(frame)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_frames_are_own_writable_arrays(film: Path) -> None:
    clip = open_video(film)
    before = clip.raw(5).copy()
    clip.raw(5)[:] = 0
    np.testing.assert_array_equal(clip.raw(5), before)
    with pytest.raises(IndexError):
        clip.raw(90)


def test_a_long_video_opens_without_being_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "long.mp4", count=2000, size=(32, 32), b_frames=2, group=50)
    decoded = 0
    plain_frames = decoding.Decoder.frames

    def counted(self: decoding.Decoder) -> object:
        nonlocal decoded
        for frame in plain_frames(self):
            decoded += 1
            yield frame

    monkeypatch.setattr(decoding.Decoder, "frames", counted)
    clip = open_video(path)
    assert len(clip) == 2000
    assert decoded < 150
    np.testing.assert_array_equal(clip.raw(1777), decode_in_order(path)[1777])
    assert decoded < 250


def test_kept_frames_are_few(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_appearrefine.files.video_file._KEPT_FRAMES", 4)
    frames = open_video(film)._frames
    for frame in range(30):
        frames[frame]
    assert len(frames._kept) == 4


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_rotation_is_honoured(tmp_path: Path, turn: int) -> None:
    path = write_video(tmp_path / "turned.mp4", turn=turn, count=3)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation % 360 == turn % 360
    clip = open_video(path)
    assert clip.size == ((48, 64) if turn == 180 else (64, 48))
    np.testing.assert_array_equal(clip.raw(1), np.rot90(decode_in_order(path)[1], turn // 90))
    if turn != 180:
        with pytest.raises(
            UserError, match="64 x 48 pixels but turned is 48 x 64; give masks that are turned as players"
        ):
            check_masks(np.zeros((3, 48, 64), np.uint8), clip)


@pytest.mark.parametrize(("pixels", "dtype"), [("gray", np.uint8), ("gray16le", np.uint16)])
def test_grey_video_stays_grey(tmp_path: Path, pixels: str, dtype: type) -> None:
    path = write_video(tmp_path / "grey.mkv", "ffv1", pixels=pixels, count=5)
    clip = open_video(path)
    assert clip.shape == (5, 48, 64)
    assert clip.raw(0).dtype == dtype
    for frame, expected in enumerate(decode_in_order(path, pixels)):
        np.testing.assert_array_equal(clip.raw(frame), expected)


def test_names(film: Path) -> None:
    clip = open_video(str(film))
    assert clip.name == "film"
    assert clip.frame_names[:2] == ["00000", "00001"]


def test_dask_array_reads_single_frames(film: Path) -> None:
    clip = open_video(film)
    lazy = as_dask(clip)
    assert lazy.shape == clip.shape
    assert lazy.dtype == np.uint8
    assert lazy.chunks[0] == (1,) * 90
    reads: list[int] = []
    plain_raw = clip.raw
    clip.raw = lambda frame: reads.append(frame) or plain_raw(frame)  # type: ignore[method-assign]
    np.testing.assert_array_equal(lazy[41].compute(), plain_raw(41))
    assert reads == [41]


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("half.mkv", "libx264", {}),
        ("half.avi", "mpeg4", {}),
        ("half.webm", "libvpx-vp9", {}),
        ("half.mp4", "libx264", FRAGMENTS),
    ],
)
def test_the_head_of_a_cut_off_file_is_used(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    whole = write_video(tmp_path / name, codec, count=60, container_options=options)
    expected = decode_in_order(whole)
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) * 6 // 10])
    clip = open_video(whole)
    assert len(clip) == len(decode_in_order(whole))
    assert 5 < len(clip) < 60
    # Only an avi tells at its head how many frames there are; of the others one knows that something is missing.
    told = "frames are lost" if name == "half.avi" else f"cut off; anything after its {len(clip)} frames is lost"
    assert told in clip.notice
    for frame in (len(clip) - 2, 0, len(clip) // 2):
        np.testing.assert_array_equal(clip.raw(frame), expected[frame])
    clip.raw(len(clip) - 1)


def test_a_live_recording_that_does_not_know_its_length_is_not_called_cut_off(tmp_path: Path) -> None:
    path = write_video(tmp_path / "live.mkv", container_options={"live": "1"})
    assert not open_video(path).notice


def test_an_mp4_cut_off_after_its_table_counts_what_decodes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", b_frames=3, count=60, container_options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    expected = decode_in_order(path)
    assert 5 < len(expected) < 60
    clip = open_video(path)
    assert len(clip) == len(expected)
    assert clip.notice.startswith(f"{60 - len(expected)} of 60 frames are lost")
    np.testing.assert_array_equal(clip.raw(len(clip) - 3), expected[-3])


def test_an_mp4_without_its_table_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.mp4")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cut\.mp4 is no video"):
        open_video(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a video\n" * 50, b"#EXTM3U\n#EXTINF:1,\nfilm.mp4\n", b"ffconcat version 1.0\nfile film.mp4\n"],
)
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_other_files_named_like_videos_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    write_video(tmp_path / "film.mp4", count=2)
    path = tmp_path / f"fake{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"fake\{suffix} is no video"):
        open_video(path)


@pytest.mark.parametrize("cover", [False, True])
def test_sound_alone_is_refused(tmp_path: Path, cover: bool) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.height, picture.width, picture.pix_fmt = 48, 64, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
            container.mux(picture.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UserError, match="holds no video"):
        open_video(path)


def test_zero_frames_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "nothing.mkv", "ffv1", count=10)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for place, size in places:
        content[place : place + size + 16] = bytes(size + 16)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"nothing\.mkv"):
        open_video(path)


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "damaged.mkv", "ffv1", count=120, group=1)
    expected = decode_in_order(path)
    with av.open(str(path)) as container:
        sizes = [packet.size for packet in container.demux(video=0)]
    content = bytearray(path.read_bytes())
    # The 61st frame's packet, found by its content, made unreadable in its first bytes.
    with av.open(str(path)) as container:
        packet = next(packet for number, packet in enumerate(container.demux(video=0)) if number == 60)
        place = content.find(bytes(packet))
    assert place > 0
    content[place : place + sizes[60]] = b"\xff" * sizes[60]
    path.write_bytes(content)
    clip = open_video(path)
    readable = decode_in_order(path)
    assert len(readable) == 119
    np.testing.assert_array_equal(clip.raw(59), expected[59])
    with pytest.raises(UserError, match=r"Frame 60 of .*damaged\.mkv cannot be decoded"):
        clip.raw(60)
    np.testing.assert_array_equal(clip.raw(61), expected[61])
    np.testing.assert_array_equal(clip.raw(100), expected[100])


def test_missing_and_unknown_paths(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.mp4 does not exist"):
        open_video(tmp_path / "nowhere.mp4")
    (tmp_path / "text.txt").write_text("text")
    with pytest.raises(UserError, match=r"text\.txt is no kind of video"):
        open_video(tmp_path / "text.txt")
