"""Folders of images, TIFF stacks and NumPy files as videos."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_appearrefine.core.errors import UserError
from napari_appearrefine.files.names import natural_key, numbering_gap
from napari_appearrefine.files.tiff_stack import find_layout
from napari_appearrefine.files.video import as_dask, open_video

RNG = np.random.default_rng(7)


def colour(count: int = 4, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    return RNG.integers(0, 256, (count, *size, 3), dtype=np.uint8)


def grey(dtype: type = np.uint8, count: int = 4, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max + 1, (count, *size), dtype=dtype)


def check(path: Path, expected: np.ndarray) -> None:
    clip = open_video(path)
    assert clip.shape == expected.shape
    for frame in (len(expected) - 1, 0, *range(len(expected))):
        found = clip.raw(frame)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected[frame])


# --- folders


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_colour_folders(tmp_path: Path, suffix: str) -> None:
    frames = colour()
    for index, frame in enumerate(frames):
        options = {"lossless": True} if suffix == "webp" else {}
        Image.fromarray(frame).save(tmp_path / f"{index:05d}.{suffix}", **options)
    check(tmp_path, frames)


def test_jpeg_folder_in_davis_layout(tmp_path: Path) -> None:
    folder = tmp_path / "JPEGImages" / "480p" / "bear"
    folder.mkdir(parents=True)
    for index, frame in enumerate(colour(3)):
        Image.fromarray(frame).save(folder / f"{index:05d}.jpg")
    clip = open_video(folder)
    assert clip.name == "bear"
    assert clip.frame_names == ["00000", "00001", "00002"]
    with Image.open(folder / "00002.jpg") as image:
        np.testing.assert_array_equal(clip.raw(2), np.array(image))
    with pytest.raises(UserError, match="holds no images; choose one of its folders"):
        open_video(folder.parent)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_folder(tmp_path: Path, suffix: str) -> None:
    frames = grey(np.uint16)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{index}.{suffix}")
    check(tmp_path, frames)
    assert as_dask(open_video(tmp_path))[1].compute().dtype == np.uint16


def test_compressed_big_endian_tiff_folder(tmp_path: Path) -> None:
    frames = grey(np.uint16)
    for index, frame in enumerate(frames):
        tifffile.imwrite(tmp_path / f"{index}.tif", frame, compression="zstd", byteorder=">")
    check(tmp_path, frames)


def test_numbers_with_gaps_natural_order_and_strangers(tmp_path: Path) -> None:
    frames = grey(count=5)
    names = ["f1", "f2", "f9", "f10", "f100"]
    for name, frame in zip(names, frames, strict=True):
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("not an image either")
    (tmp_path / "inner").mkdir()
    check(tmp_path, frames)
    assert open_video(tmp_path).frame_names == names


def test_grey_and_colour_together_are_colour(tmp_path: Path) -> None:
    frames = colour(2)
    Image.fromarray(frames[0]).save(tmp_path / "0.png")
    Image.fromarray(frames[1, :, :, 0]).save(tmp_path / "1.png")
    clip = open_video(tmp_path)
    assert clip.shape == (2, 20, 30, 3)
    np.testing.assert_array_equal(clip.raw(1), np.repeat(frames[1, :, :, :1], 3, axis=2))


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1"])
def test_other_modes_look_as_they_should(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(colour(1)[0]).convert(mode)
    image.save(tmp_path / "0.png")
    expected = np.array(image.convert("L" if mode in ("LA", "1") else "RGB"))
    check(tmp_path, expected[None])


def test_different_sizes_name_the_file(tmp_path: Path) -> None:
    Image.fromarray(grey(size=(20, 30))[0]).save(tmp_path / "0.png")
    Image.fromarray(grey(size=(20, 31))[0]).save(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"1\.png is 31 x 20 pixels but 0\.png is 30 x 20"):
        open_video(tmp_path)


def test_different_depths_name_the_file(tmp_path: Path) -> None:
    Image.fromarray(grey()[0]).save(tmp_path / "0.png")
    Image.fromarray(grey(np.uint16)[0]).save(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"1\.png holds uint16 values"):
        open_video(tmp_path)


def test_two_files_of_one_frame_are_refused(tmp_path: Path) -> None:
    Image.fromarray(grey()[0]).save(tmp_path / "0.png")
    Image.fromarray(grey()[0]).save(tmp_path / "0.jpg")
    with pytest.raises(UserError, match=r"holds both 0\.jpg and 0\.png|holds both 0\.png and 0\.jpg"):
        open_video(tmp_path)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no images; choose another folder"):
        open_video(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.parametrize("kept", [0, 10, 400])
def test_damaged_images_name_the_file(tmp_path: Path, suffix: str, kept: int) -> None:
    for index in range(2):
        Image.fromarray(colour(1)[0]).save(tmp_path / f"{index}.{suffix}")
    path = tmp_path / f"1.{suffix}"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=rf"1\.{suffix} cannot be read"):
        open_video(tmp_path).raw(1)


def test_stacks_inside_a_folder_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "0.tif", grey(), photometric="minisblack")
    with pytest.raises(UserError, match=r"0\.tif holds 4 pages; open it by itself"):
        open_video(tmp_path)


@given(st.lists(st.integers(0, 10**9), unique=True, min_size=2))
def test_natural_order_is_that_of_numbers(numbers: list[int]) -> None:
    assert sorted((f"frame{number}b" for number in numbers), key=natural_key) == [
        f"frame{number}b" for number in sorted(numbers)
    ]


# --- TIFF stacks


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_stacks(tmp_path: Path, compression: str | None, dtype: type, byteorder: str) -> None:
    frames = grey(dtype, count=7)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, frames, photometric="minisblack", compression=compression, byteorder=byteorder)
    check(path, frames)
    assert open_video(path).name == "stack"


def test_plain_stacks_are_mapped_and_compressed_ones_read_by_page(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", grey(count=7), photometric="minisblack")
    tifffile.imwrite(tmp_path / "packed.tif", grey(count=7), photometric="minisblack", compression="zlib")
    assert isinstance(open_video(tmp_path / "plain.tif")._frames._mapped, np.memmap)
    assert open_video(tmp_path / "packed.tif")._frames._mapped is None


STACKS = [
    ("TCYX", {"imagej": True}),
    ("TCYX", {"ome": True}),
    ("CTYX", {"ome": True}),
    ("TCYX", {"ome": True, "compression": "zlib"}),
    ("CTYX", {"ome": True, "compression": "zlib"}),
    ("TCYX", {"compression": "zlib"}),
    ("TYXC", {"metadata": None}),
    ("TYXC", {"compression": "lzw"}),
]


@pytest.mark.parametrize(
    ("axes", "options", "channels"),
    # Fewer than three samples are no colour, so that no such file with its channels last is written.
    [(*stack, channels) for stack in STACKS for channels in (1, 2, 3, 4) if channels > 2 or stack[0] != "TYXC"],
)
def test_channels(tmp_path: Path, axes: str, options: dict, channels: int) -> None:
    frames = RNG.integers(0, 65536, (5, channels, 20, 30), dtype=np.uint16)
    stored = frames.transpose(["TCYX".index(axis) for axis in axes])
    path = tmp_path / ("a.ome.tif" if options.get("ome") else "a.tif")
    if "metadata" not in options and axes != "TYXC":
        options = {**options, "metadata": {"axes": axes}}
    photometric = "rgb" if axes == "TYXC" else "minisblack"
    planar = {} if axes == "TYXC" or channels == 1 else {"planarconfig": None}
    tifffile.imwrite(path, stored, photometric=photometric, **planar, **options)
    expected = frames.transpose(0, 2, 3, 1)[..., :3]
    if channels == 1:
        expected = expected[..., 0]
    elif channels == 2:
        expected = np.concatenate([expected, np.zeros_like(expected[..., :1])], axis=3)
    check(path, expected)


def test_five_channels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "five.tif"
    tifffile.imwrite(path, np.zeros((3, 5, 20, 30), np.uint8), imagej=True, metadata={"axes": "TCYX"})
    with pytest.raises(UserError, match=r"five\.tif has 5 channels"):
        open_video(path)


def test_depth_and_time_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, np.zeros((3, 5, 20, 30), np.uint8), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(UserError, match=r"deep\.tif has more axes"):
        open_video(path)


def test_depth_alone_is_taken_for_time(tmp_path: Path) -> None:
    frames = grey(np.uint16, count=6)
    path = tmp_path / "z.tif"
    tifffile.imwrite(path, frames, imagej=True, metadata={"axes": "ZYX"})
    check(path, frames)


def test_imagej_default_axes_are_taken_for_time(tmp_path: Path) -> None:
    frames = grey(count=6)
    path = tmp_path / "c.tif"
    tifffile.imwrite(path, frames, imagej=True)
    check(path, frames)


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_as_many_grey_frames_as_a_picture_has_colours_are_frames(tmp_path: Path, count: int, dtype: type) -> None:
    """tifffile, told nothing but the array, writes them as the separate colours of one page."""
    frames = grey(count=count).astype(dtype)
    tifffile.imwrite(tmp_path / "few.tif", frames, photometric="rgb", planarconfig="separate")
    check(tmp_path / "few.tif", frames)


def test_one_page_and_one_volume(tmp_path: Path) -> None:
    frames = grey(count=6, size=(32, 32))
    tifffile.imwrite(tmp_path / "one.tif", frames[0])
    check(tmp_path / "one.tif", frames[:1])
    tifffile.imwrite(tmp_path / "volume.tif", frames, volumetric=True, tile=(16, 16, 16), compression="zlib")
    check(tmp_path / "volume.tif", frames)


def test_pages_of_different_sizes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mixed.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(grey()[0], metadata=None)
        writer.write(grey(size=(10, 10))[0], metadata=None)
    with pytest.raises(UserError, match=r"mixed\.tif holds 2 images of different kinds"):
        open_video(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.95])
def test_cut_off_stacks_raise_one_sentence(tmp_path: Path, compression: str | None, part: float) -> None:
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, grey(count=20), photometric="minisblack", compression=compression)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])

    def read_all() -> None:
        clip = open_video(path)
        for frame in range(20):
            clip.raw(frame)

    with pytest.raises(UserError, match=r"cut\.tif"):
        read_all()


@pytest.mark.parametrize(
    ("shape", "axes", "frames"),
    [
        ((9, 20, 30), "QYX", (9, 20, 30)),
        ((9, 3, 20, 30), "QQYX", (9, 20, 30, 3)),
        ((9, 1, 20, 30, 3), "TZYXS", (9, 20, 30, 3)),
        ((1, 1, 20, 30), "TCYX", (1, 20, 30)),
        ((3, 20, 30), "CYX", (1, 20, 30, 3)),
        ((20, 30, 3), "YXS", (1, 20, 30, 3)),
        ((9, 3, 20, 30), "TSYX", (9, 20, 30, 3)),
        ((2, 9, 20, 30), "CTYX", (9, 20, 30, 3)),
    ],
)
def test_layouts(shape: tuple[int, ...], axes: str, frames: tuple[int, ...]) -> None:
    assert find_layout(shape, axes, "a.tif").frame_shape == frames


# --- NumPy files


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int16, np.bool_, ">u2"])
def test_npy(tmp_path: Path, dtype: str) -> None:
    frames = RNG.integers(0, 2, (5, 20, 30)).astype(dtype)
    np.save(tmp_path / "v.npy", frames)
    check(tmp_path / "v.npy", frames.astype(frames.dtype.newbyteorder("=")))
    assert isinstance(open_video(tmp_path / "v.npy")._frames._array, np.memmap)


def test_npy_colour(tmp_path: Path) -> None:
    frames = colour()
    np.save(tmp_path / "v.npy", frames)
    check(tmp_path / "v.npy", frames)


class Opened:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([Opened(tmp_path / "ran")] * 2, dtype=object), allow_pickle=True)
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Opened(tmp_path / "ran")))
    with pytest.raises(UserError, match=r"objects\.npy holds Python objects"):
        open_video(tmp_path / "objects.npy")
    with pytest.raises(UserError, match=r"raw\.npy is not a NumPy array"):
        open_video(tmp_path / "raw.npy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("shape", [(5,), (20, 30), (5, 20, 30, 7), (0, 20, 30), (2, 5, 20, 30, 3)])
def test_npy_of_another_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "v.npy", np.zeros(shape, np.uint8))
    with pytest.raises(UserError):
        open_video(tmp_path / "v.npy")


@pytest.mark.parametrize("kept", [0, 20, 90, 500])
def test_cut_off_npy(tmp_path: Path, kept: int) -> None:
    np.save(tmp_path / "v.npy", grey())
    content = (tmp_path / "v.npy").read_bytes()
    (tmp_path / "v.npy").write_bytes(content[:kept])
    with pytest.raises(UserError, match=r"v\.npy"):
        open_video(tmp_path / "v.npy")


def test_complex_values_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros((3, 20, 30), np.complex64))
    with pytest.raises(UserError, match="complex64"):
        open_video(tmp_path / "v.npy")


@pytest.mark.parametrize(
    ("names", "gap"),
    [
        (["00000", "00001", "00003"], ("00001", "00003")),
        (["f0", "f5", "f15", "f20"], ("f5", "f15")),
        (["00000", "00005", "00010"], None),
        (["8", "9", "10"], None),
        (["a1", "b", "c9"], None),
        (["7"], None),
        ([], None),
    ],
)
def test_a_gap_in_the_numbering_is_found(names: list[str], gap: tuple[str, str] | None) -> None:
    assert numbering_gap(names) == gap
