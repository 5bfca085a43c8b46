"""Masks in every format: ids as they are stored, matched to the clip, and back to the last bit."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw, ImageFilter

from napari_appearrefine.core.clip import Clip, FrameSource
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.files.masks import MaskFolderWriter, open_masks, write_npy, write_tiff
from napari_appearrefine.files.palette import davis_palette

SIZE = (12, 16)
RNG = np.random.default_rng(3)


def whole(masks: FrameSource) -> np.ndarray:
    return np.stack([masks[frame] for frame in range(len(masks))])


def make_clip(count: int, names: list[str] | None = None) -> Clip:
    return Clip(np.zeros((count, *SIZE), np.uint8), "film", names)


def ids(*values: int, count: int = 3) -> np.ndarray:
    return RNG.choice(np.array([0, *values]), (count, *SIZE))


def save(folder: Path, frames: np.ndarray, names: list[str] | None = None, mode: str | None = None) -> None:
    folder.mkdir(exist_ok=True)
    for name, frame in zip(names or [f"{i:05d}" for i in range(len(frames))], frames, strict=True):
        image = Image.fromarray(frame)
        if mode == "P":
            image.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
        image.save(folder / f"{name}.png")


# --- folders


def test_palette_is_that_of_voc() -> None:
    palette = davis_palette()
    assert palette.shape == (256, 3)
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 7: (128, 128, 128)}
    expected |= {8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128), 21: (128, 64, 128), 255: (224, 224, 192)}
    for number, colour in expected.items():
        assert tuple(palette[number]) == colour


def test_palette_and_masks_of_davis() -> None:
    folder = Path(__file__).parents[3] / "shared" / "data" / "davis-dev" / "Annotations" / "480p" / "two-bus-dog"
    if not folder.is_dir():
        pytest.skip("the DAVIS clips are not here")
    first = min(folder.iterdir())
    with Image.open(first) as image:
        stored, colours = np.array(image), image.getpalette()
    assert colours is not None
    np.testing.assert_array_equal(np.reshape(colours, (-1, 3))[:32], davis_palette()[:32])
    np.testing.assert_array_equal(open_masks(folder)[0], stored)


def test_indexed_ids_are_indices_whatever_the_colours(tmp_path: Path) -> None:
    frames = ids(1, 7, 255).astype(np.uint8)
    save(tmp_path / "m", frames, mode="P")
    masks = open_masks(tmp_path / "m", make_clip(3))
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(whole(masks), frames)


@pytest.mark.parametrize(("dtype", "values"), [(np.uint8, (1, 2, 255)), (np.uint16, (1, 300, 65535))])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_values_are_ids(tmp_path: Path, dtype: type, values: tuple[int, ...], suffix: str) -> None:
    frames = ids(*values).astype(dtype)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{index}.{suffix}")
    masks = open_masks(tmp_path)
    assert masks.dtype == dtype
    np.testing.assert_array_equal(whole(masks), frames)


def test_black_and_white_is_object_one(tmp_path: Path) -> None:
    frames = ids(255).astype(np.uint8)
    frames[0] = 0
    save(tmp_path / "m", frames)
    np.testing.assert_array_equal(whole(open_masks(tmp_path / "m")), frames // 255)


def test_one_other_value_makes_white_an_id(tmp_path: Path) -> None:
    frames = ids(255).astype(np.uint8)
    frames[2, 0, 0] = 1
    save(tmp_path / "m", frames)
    np.testing.assert_array_equal(whole(open_masks(tmp_path / "m")), frames)


def test_black_and_white_with_soft_edges_is_refused(tmp_path: Path) -> None:
    """Each grey of an edge would become an object."""
    disk = Image.new("L", (32, 24))
    ImageDraw.Draw(disk).ellipse((4, 4, 26, 20), fill=255)
    disk.filter(ImageFilter.GaussianBlur(1)).save(tmp_path / "0.png")
    with pytest.raises(UserError, match=r"0\.png is white with soft edges"):
        open_masks(tmp_path)


def test_many_small_objects_beside_white_are_ids(tmp_path: Path) -> None:
    frame = np.full(SIZE, 255, np.uint8)
    frame[4:8] = np.arange(1, 17, dtype=np.uint8).reshape(2, 8).repeat(2, axis=0).repeat(2, axis=1)
    save(tmp_path, frame[None])
    np.testing.assert_array_equal(whole(open_masks(tmp_path)), frame[None])


def test_an_indexed_255_stays_255(tmp_path: Path) -> None:
    frames = ids(255).astype(np.uint8)
    save(tmp_path / "m", frames, mode="P")
    np.testing.assert_array_equal(whole(open_masks(tmp_path / "m")), frames)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_one_bit_masks(tmp_path: Path, suffix: str) -> None:
    frames = ids(1).astype(bool)
    for index, frame in enumerate(frames):
        if suffix == "png":
            Image.fromarray(frame).save(tmp_path / f"{index}.png")
        else:
            tifffile.imwrite(tmp_path / f"{index}.tif", frame)
    np.testing.assert_array_equal(whole(open_masks(tmp_path)), frames)


def test_colours_get_palette_ids_then_the_next_ones(tmp_path: Path) -> None:
    palette = davis_palette()
    blue, pink = np.array([10, 20, 250], np.uint8), np.array([250, 20, 200], np.uint8)
    frames = np.zeros((3, *SIZE, 3), np.uint8)
    frames[0, :2] = palette[3]
    frames[1, 5:7] = pink
    frames[1, 8:] = blue
    frames[2, :2] = blue
    frames[2, 3:5] = palette[1]
    expected = np.zeros((3, *SIZE), np.uint8)
    expected[0, :2], expected[1, 5:7], expected[1, 8:], expected[2, :2], expected[2, 3:5] = 3, 4, 5, 5, 1
    save(tmp_path / "m", frames)
    np.testing.assert_array_equal(whole(open_masks(tmp_path / "m", make_clip(3))), expected)


def test_colour_order_follows_natural_order_and_transparency_is_background(tmp_path: Path) -> None:
    frames = np.zeros((2, *SIZE, 4), np.uint8)
    frames[0, :2] = (1, 2, 3, 255)
    frames[0, 2:4] = (9, 9, 9, 0)
    frames[1, :2] = (4, 5, 6, 255)
    save(tmp_path / "m", frames, names=["10", "9"])
    masks = whole(open_masks(tmp_path / "m"))
    assert masks[0].max() == masks[0, 0, 0] == 1
    assert set(np.unique(masks[1])) == {0, 2}
    assert (masks[1, 2:] == 0).all()


def test_blank_grey_frames_among_colour_ones(tmp_path: Path) -> None:
    save(tmp_path / "m", np.zeros((1, *SIZE), np.uint8), names=["0"])
    frame = np.zeros((1, *SIZE, 3), np.uint8)
    frame[0, 2:5] = 255
    save(tmp_path / "m", frame, names=["1"])
    masks = whole(open_masks(tmp_path / "m"))
    assert masks[0].max() == 0
    assert set(np.unique(masks[1])) == {0, 1}


def test_photographs_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "m", RNG.integers(0, 256, (1, 60, 60, 3), dtype=np.uint8))
    with pytest.raises(UserError, match="more than 1024 colours, not masks"):
        open_masks(tmp_path / "m")


def test_jpeg_masks_are_refused(tmp_path: Path) -> None:
    Image.fromarray(ids(1).astype(np.uint8)[0]).save(tmp_path / "0.jpg")
    with pytest.raises(UserError, match="save masks as PNG"):
        open_masks(tmp_path)


# --- matching to a clip


def test_sparse_folder_is_matched_by_names(tmp_path: Path) -> None:
    frames = ids(1, 2, count=2).astype(np.uint8)
    save(tmp_path / "m", frames, names=["00001", "00004"], mode="P")
    masks = open_masks(tmp_path / "m", make_clip(6))
    assert masks.shape == (6, *SIZE)
    np.testing.assert_array_equal(masks[1], frames[0])
    np.testing.assert_array_equal(masks[4], frames[1])
    for empty in (0, 2, 3, 5):
        assert not masks[empty].any()
    assert len(open_masks(tmp_path / "m")) == 2


def test_names_decide_before_order(tmp_path: Path) -> None:
    frames = ids(1, 2, count=3).astype(np.uint8)
    save(tmp_path / "m", frames, names=["a", "b", "c"], mode="P")
    masks = open_masks(tmp_path / "m", make_clip(3, ["c", "a", "b"]))
    np.testing.assert_array_equal(whole(masks), frames[[2, 0, 1]])


def test_other_names_are_matched_by_order_if_the_count_is_equal(tmp_path: Path) -> None:
    frames = ids(1, 2, count=3).astype(np.uint8)
    save(tmp_path / "m", frames, names=["m1", "m2", "m10"], mode="P")
    np.testing.assert_array_equal(whole(open_masks(tmp_path / "m", make_clip(3))), frames)
    with pytest.raises(UserError, match="holds 3 masks but film has 4 frames, and m1 is not the name"):
        open_masks(tmp_path / "m", make_clip(4))


def test_sizes_must_agree(tmp_path: Path) -> None:
    save(tmp_path / "m", np.zeros((2, 5, 6), np.uint8))
    with pytest.raises(UserError, match="is 6 x 5 pixels but film is 16 x 12"):
        open_masks(tmp_path / "m", make_clip(2))
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(tmp_path / "m" / "00001.png")
    with pytest.raises(UserError, match=r"00001\.png is 7 x 5 pixels but 00000\.png is 6 x 5"):
        open_masks(tmp_path / "m")


# --- arrays


@pytest.mark.parametrize(
    ("dtype", "suffix"),
    [
        *product([np.bool_, np.uint8, np.uint16, np.int16, np.int32, np.uint32], ["tif", "packed.tif", "npy", "npz"]),
        *product([np.int64, ">i4"], ["npy", "npz"]),
    ],
)
def test_integer_arrays(tmp_path: Path, dtype: str, suffix: str) -> None:
    frames = ids(1, 100).astype(dtype) if np.dtype(dtype) != np.bool_ else ids(1).astype(bool)
    path = tmp_path / f"m.{suffix}"
    if suffix == "npy":
        np.save(path, frames)
    elif suffix == "npz":
        np.savez_compressed(path, frames)
    else:
        tifffile.imwrite(path, frames, photometric="minisblack", compression="zlib" if suffix == "packed.tif" else None)
    masks = open_masks(path, make_clip(3))
    assert masks.dtype == (np.uint8 if np.dtype(dtype).itemsize == 1 else np.uint16)
    np.testing.assert_array_equal(whole(masks), frames)


def test_three_frames_are_not_taken_for_channels(tmp_path: Path) -> None:
    frames = ids(1, 2).astype(np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", frames, imagej=True)
    np.testing.assert_array_equal(whole(open_masks(tmp_path / "m.tif", make_clip(3))), frames)


def test_npz_names(tmp_path: Path) -> None:
    frames = ids(1, 2).astype(np.uint8)
    np.savez(tmp_path / "a.npz", scores=np.zeros(3), masks=frames, labels=frames * 0)
    np.testing.assert_array_equal(whole(open_masks(tmp_path / "a.npz")), frames)
    np.savez(tmp_path / "b.npz", only=frames)
    np.testing.assert_array_equal(whole(open_masks(tmp_path / "b.npz")), frames)
    np.savez(tmp_path / "c.npz", one=frames, two=frames)
    with pytest.raises(UserError, match="holds the arrays one, two"):
        open_masks(tmp_path / "c.npz")


@pytest.mark.parametrize("suffix", ["npy", "npz", "tif"])
@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (np.zeros((3, *SIZE), np.float32), "float32"),
        (-np.ones((3, *SIZE), np.int16), "negative labels"),
        (np.full((3, *SIZE), 70000, np.int32), "labels above 65535"),
        (np.zeros((4, *SIZE), np.uint8), "has 4 frames but film has 3"),
        (np.zeros((3, 5, 6), np.uint8), "is 6 x 5 pixels but film is 16 x 12"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, suffix: str, frames: np.ndarray, words: str) -> None:
    path = tmp_path / f"m.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, frames, photometric="minisblack")
    elif suffix == "npy":
        np.save(path, frames)
    else:
        np.savez(path, frames)
    with pytest.raises(UserError, match=words) as caught:
        open_masks(path, make_clip(3))
    assert f"m.{suffix}" in str(caught.value)


def test_float_labels_are_refused_without_a_clip(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.zeros((3, *SIZE)))
    with pytest.raises(UserError, match="float64"):
        open_masks(tmp_path / "m.npy")


def test_pickles_damage_and_strangers_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", masks=np.array([{}, {}], dtype=object))
    with pytest.raises(UserError, match="holds Python objects"):
        open_masks(tmp_path / "objects.npz")
    np.savez_compressed(tmp_path / "cut.npz", masks=ids(1))
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "text.npy").write_text("text")
    (tmp_path / "film.mp4").write_text("text")
    (tmp_path / "empty").mkdir()
    for name in ("cut.npz", "text.npz", "text.npy", "film.mp4", "empty", "nowhere.tif"):
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            open_masks(tmp_path / name)


def test_damaged_png_names_the_file(tmp_path: Path) -> None:
    save(tmp_path / "m", ids(1, 2).astype(np.uint8), mode="P")
    path = tmp_path / "m" / "00001.png"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 40])
    with pytest.raises(UserError, match=r"00001\.png cannot be read"):
        whole(open_masks(tmp_path / "m", make_clip(3)))


# --- writing, and round trips

LABELS = st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 9)).flatmap(
    lambda shape: st.one_of(hnp.arrays(np.uint8, shape), hnp.arrays(np.uint16, shape))
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=LABELS)
def test_round_trips(tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray) -> None:
    folder = tmp_path_factory.mktemp("trip")
    clip = Clip(labels, "film")
    writer = MaskFolderWriter(folder / "masks", clip.frame_names, clip.size, np.unique(labels).tolist())
    for frame in reversed(range(len(labels))):
        writer.write(frame, labels[frame])
    write_tiff(folder / "m.tif", labels)
    write_npy(folder / "m.npy", labels)
    np.savez_compressed(folder / "m.npz", masks=labels)
    for name in ("masks", "m.tif", "m.npy", "m.npz"):
        np.testing.assert_array_equal(whole(open_masks(folder / name, clip)), labels, err_msg=name)


def test_written_png_are_indexed_with_the_davis_palette(tmp_path: Path) -> None:
    labels = ids(1, 5).astype(np.uint8)
    writer = MaskFolderWriter(tmp_path / "new" / "masks", ["a", "b", "c"], SIZE, [1, 5])
    path = writer.write(1, labels[1])
    assert path == tmp_path / "new" / "masks" / "b.png"
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), labels[1])
        np.testing.assert_array_equal(np.reshape(image.getpalette(), (-1, 3)), davis_palette())
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["b.png"]


def test_large_ids_make_the_whole_folder_sixteen_bit(tmp_path: Path) -> None:
    writer = MaskFolderWriter(tmp_path, ["a", "b"], SIZE, [1, 300])
    for frame, value in enumerate((1, 300)):
        path = writer.write(frame, np.full(SIZE, value, np.uint16))
        with Image.open(path) as image:
            assert image.mode == "I;16"
    np.testing.assert_array_equal(whole(open_masks(tmp_path))[:, 0, 0], [1, 300])


def test_ids_that_were_not_announced_are_an_error(tmp_path: Path) -> None:
    writer = MaskFolderWriter(tmp_path, ["a"], SIZE, [1])
    with pytest.raises(ValueError, match="was not announced"):
        writer.write(0, np.full(SIZE, 256, np.uint16))
    with pytest.raises(ValueError, match="not \\(12, 16\\)"):
        writer.write(0, np.zeros((5, 5), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_replaces_frame_by_frame(tmp_path: Path) -> None:
    for value in (1, 2):
        writer = MaskFolderWriter(tmp_path, ["a", "b"], SIZE, [value])
        writer.write(0, np.full(SIZE, value, np.uint8))
        if value == 1:
            writer.write(1, np.full(SIZE, value, np.uint8))
    np.testing.assert_array_equal(whole(open_masks(tmp_path))[:, 0, 0], [2, 1])


@pytest.mark.parametrize("name", ["other.png", "a.jpg", "c.tif"])
def test_folders_of_other_images_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(UserError, match="already holds other images"):
        MaskFolderWriter(tmp_path, ["a", "b"], SIZE)
    assert (tmp_path / name).read_bytes() == b"precious"


def test_other_files_in_the_folder_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    MaskFolderWriter(tmp_path, ["a"], SIZE).write(0, np.zeros(SIZE, np.uint8))
    assert (tmp_path / "report.json").read_text() == "{}"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(UserError, match="is a file; give the name of a folder"):
        MaskFolderWriter(tmp_path / "f", ["a"], SIZE)
    with pytest.raises(UserError, match="is a file, not a folder"):
        MaskFolderWriter(tmp_path / "f" / "g", ["a"], SIZE)


def test_no_space_left_keeps_the_old_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = MaskFolderWriter(tmp_path, ["a"], SIZE, [1])
    writer.write(0, np.ones(SIZE, np.uint8))

    def full(self: Image.Image, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match=r"a\.png cannot be written, there is no space left"):
        writer.write(0, np.zeros(SIZE, np.uint8))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert open_masks(tmp_path)[0].all()


@pytest.mark.parametrize("write", [write_tiff, write_npy])
def test_bad_labels_leave_the_old_file(tmp_path: Path, write: object) -> None:
    path = tmp_path / "m.tif"
    path.write_bytes(b"old")
    labels = np.zeros((3, *SIZE), np.int32)
    labels[2] = -1
    with pytest.raises(UserError, match="negative"):
        write(path, labels)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.tif"]
