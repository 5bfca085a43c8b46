"""The sample clips that come with the package: where they lie, and how they open."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ..core.clip import Clip, FrameSource
from ..core.errors import UserError


@dataclass(frozen=True)
class Sample:
    """One sample clip.

    Parameters
    ----------
    name : str
        The name of its folder.
    title : str
        What a menu shows.
    video, truth : str
        File or folder of the frames and of the exact masks, relative to the folder.
    """

    name: str
    title: str
    video: str
    truth: str


SAMPLES = {
    sample.name: sample
    for sample in (
        Sample("crossing", "Two objects that cross (colour)", "video.mp4", "truth"),
        Sample("cells", "Moving cells (16-bit microscopy)", "video.tif", "truth.tif"),
    )
}


def sample_folder(name: str) -> Path:
    """Return the folder of a sample clip.

    In an installed wheel the samples are package data; in an editable installation they are the
    repository's own folder.

    Raises
    ------
    UserError
        If there is no sample of this name, or its files are missing.
    """
    if name not in SAMPLES:
        raise UserError(f"There is no sample clip named {name!r}; choose one of {', '.join(SAMPLES)}.")
    places = _places()
    for place in places:
        if (place / name / SAMPLES[name].video).exists():
            return place / name
    raise UserError(f"The sample clip {name!r} is missing from {places[0]}; install napari-appearrefine again.")


def is_sample(path: str | Path) -> bool:
    """Whether a file belongs to the sample clips, beside which nothing of a person's should be written."""
    return any(Path(path).resolve().is_relative_to(place.resolve()) for place in _places())


def _places() -> tuple[Path, Path]:
    package = Path(str(files("napari_appearrefine")))
    return package / "sample_data", package.parents[1] / "sample_data"


def open_sample(name: str) -> tuple[Clip, FrameSource]:
    """Open a sample clip and its exact masks.

    Returns
    -------
    Clip
        The video.
    FrameSource
        (T, Y, X) label maps.

    Raises
    ------
    UserError
        If there is no sample of this name, or its files are missing.
    """
    from .masks import open_masks
    from .video import open_video

    folder = sample_folder(name)
    clip = open_video(folder / SAMPLES[name].video)
    clip.name = name
    return clip, open_masks(folder / SAMPLES[name].truth, clip)
