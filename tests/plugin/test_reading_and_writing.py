"""Files through napari's own plugin machinery: what opens as what, and what is written."""

from __future__ import annotations

import av
import dask.array
import numpy as np
import pytest
import tifffile
from conftest import FRAMES, HEIGHT, OBJECT, WIDTH, make_truth, make_video
from napari.components import ViewerModel
from napari.plugins.io import save_layers
from npe2 import PluginManager, PluginManifest
from PIL import Image

from napari_appearrefine.core.errors import UserError
from napari_appearrefine.files.palette import davis_palette
from napari_appearrefine.plugin.reader import get_reader

PLUGIN = "napari-appearrefine"


@pytest.fixture(autouse=True)
def plugin(npe2pm) -> PluginManager:
    npe2pm.register(PluginManifest.from_distribution(PLUGIN))
    return npe2pm


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def opened(viewer, path):
    (layer,) = viewer.open(path, plugin=PLUGIN)
    return layer


def write_mask_pngs(folder, palette):
    folder.mkdir()
    for frame, labels in enumerate(make_truth()):
        image = Image.fromarray(labels)
        if palette:
            image.putpalette(davis_palette().tobytes())
        image.save(folder / f"frame{frame:02d}.png")


def test_frames_that_are_missing_are_told(viewer, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("napari_appearrefine.plugin.reader.show_warning", told.append)
    (tmp_path / "frames").mkdir()
    for frame in (1, 2, 4):
        Image.fromarray(make_video()[frame]).save(tmp_path / "frames" / f"{frame}.png")
    assert len(opened(viewer, tmp_path / "frames").data) == 3
    assert told == ["frames: there is no frame between 2 and 4."]


def test_video_file_is_a_lazy_time_series(viewer, tmp_path):
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in make_video():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    layer = opened(viewer, path)
    assert isinstance(layer.data, dask.array.Array)
    assert layer.data.chunks[0] == (1,) * FRAMES
    assert layer.rgb
    assert layer.name == "clip"
    assert tuple(layer.axis_labels) == ("t", "y", "x")
    assert viewer.dims.range[0].stop == FRAMES - 1
    assert np.abs(np.asarray(layer.data[5]).mean(2) - make_video()[5].mean(2)).mean() < 4


def test_16_bit_stack_is_shown_with_its_own_contrast(viewer, tmp_path):
    cells = np.random.default_rng(1).integers(300, 900, (5, 30, 40)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "cells.tif", cells, photometric="minisblack")
    layer = opened(viewer, tmp_path / "cells.tif")
    assert layer._type_string == "image"
    assert isinstance(layer.data, dask.array.Array)
    np.testing.assert_array_equal(np.asarray(layer.data), cells)
    low, high = layer.contrast_limits
    assert 300 <= low < 310
    assert 890 < high < 900


def test_dim_recording_with_few_grey_levels_is_no_mask(viewer, tmp_path):
    photons = np.random.default_rng(1).poisson(1.0, (5, 30, 40)).astype(np.uint16)
    np.save(tmp_path / "photons.npy", photons)
    assert opened(viewer, tmp_path / "photons.npy")._type_string == "image"


def test_folder_of_pictures_is_a_video(viewer, tmp_path):
    for frame, image in enumerate(make_video()):
        Image.fromarray(image).save(tmp_path / f"{frame:03d}.png")
    layer = opened(viewer, tmp_path)
    assert layer._type_string == "image"
    np.testing.assert_array_equal(np.asarray(layer.data), make_video())


@pytest.mark.parametrize("kind", ["palette", "grey", "tif", "npy", "npz"])
def test_masks_become_editable_labels(viewer, tmp_path, kind):
    path = tmp_path / f"masks.{kind}"
    if kind in ("palette", "grey"):
        path = tmp_path / "masks"
        write_mask_pngs(path, palette=kind == "palette")
    elif kind == "tif":
        tifffile.imwrite(path, make_truth(), photometric="minisblack")
    elif kind == "npy":
        np.save(path, make_truth().astype(np.int64))
    else:
        np.savez(path, masks=make_truth())
    layer = opened(viewer, path)
    assert layer._type_string == "labels"
    assert layer.name == "masks"
    assert layer.data.dtype == np.uint8
    np.testing.assert_array_equal(layer.data, make_truth())
    layer.data_setitem((np.array([0]), np.array([0]), np.array([0])), 1)
    assert layer.data[0, 0, 0] == 1
    added = np.array([0x56, 0xB4, 0xE9]) / 255
    assert all(np.abs(layer.colormap.map(label)[:3] - added).max() > 0.25 for label in (1, 2, 3))


def test_damaged_file_is_the_sentence_of_the_error(viewer, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match=r"broken\.mp4"):
        viewer.open(tmp_path / "broken.mp4", plugin=PLUGIN)
    assert not viewer.layers


def test_reader_leaves_other_things_to_others(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader([str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]) is None
    assert get_reader(str(tmp_path / "A.MP4")) is not None


def writer_for(plugin, display_name):
    (writer,) = (writer for writer in plugin.iter_compatible_writers(["labels"]) if writer.display_name == display_name)
    return writer


def test_folder_has_the_palette_and_the_names_of_the_frames(viewer, plugin, tmp_path):
    write_mask_pngs(tmp_path / "in", palette=False)
    layer = opened(viewer, tmp_path / "in")
    saved = save_layers(tmp_path / "out", list(viewer.layers), _writer=writer_for(plugin, "Folder of indexed PNG"))
    assert saved == [str(tmp_path / "out")]
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == [f"frame{frame:02d}.png" for frame in range(FRAMES)]
    with Image.open(tmp_path / "out" / names[4]) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), layer.data[4])
        assert image.getpalette()[3 * OBJECT : 3 * OBJECT + 3] == davis_palette()[OBJECT].tolist()


def test_folder_takes_ids_above_255(viewer, plugin, tmp_path):
    viewer.add_labels(make_truth().astype(np.uint16) * 200, name="many")
    save_layers(tmp_path / "out", list(viewer.layers), _writer=writer_for(plugin, "Folder of indexed PNG"))
    with Image.open(tmp_path / "out" / "00003.png") as image:
        np.testing.assert_array_equal(np.asarray(image), make_truth()[3].astype(np.uint16) * 200)


@pytest.mark.parametrize(("suffix", "load"), [(".tif", tifffile.imread), (".npy", np.load)])
def test_stack_is_written_small_and_whole(viewer, tmp_path, suffix, load):
    viewer.add_labels(make_truth().astype(np.int32), name="wide")
    viewer.layers.save(tmp_path / f"masks{suffix}", plugin=PLUGIN)
    written = load(tmp_path / f"masks{suffix}")
    assert written.dtype == np.uint8
    np.testing.assert_array_equal(written, make_truth())


def test_negative_label_is_refused_before_anything_is_written(viewer, plugin, tmp_path):
    labels = make_truth().astype(np.int32)
    labels[-1, 0, 0] = -1
    viewer.add_labels(labels, name="wrong")
    with pytest.raises(UserError, match=r"wrong \(frame 7\) holds negative labels"):
        save_layers(tmp_path / "out", list(viewer.layers), _writer=writer_for(plugin, "Folder of indexed PNG"))
    assert not (tmp_path / "out").exists()


def test_manifest_offers_what_it_should(plugin):
    manifest = plugin.get_manifest(PLUGIN)
    assert [widget.display_name for widget in manifest.contributions.widgets] == ["Refine masks"]
    assert {sample.key for sample in manifest.contributions.sample_data} == {"crossing", "cells"}
    (entry,) = manifest.contributions.menus["napari/layers/segment"]
    assert entry.command == "napari-appearrefine.refine_masks"
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        assert callable(getattr(__import__(module, fromlist=[name]), name))


def test_preferences_are_the_defaults_of_the_panel(plugin_settings, plugin):
    from napari.settings import get_plugin_settings

    from napari_appearrefine.core.parameters import RefineParameters
    from napari_appearrefine.plugin.preferences import preferred_parameters

    assert preferred_parameters() == RefineParameters()
    get_plugin_settings(PLUGIN).refine.exemplars = 4
    get_plugin_settings(PLUGIN).refine.device = "cpu"
    assert preferred_parameters() == RefineParameters(exemplars=4, device="cpu")
