"""The whole shapes of objects as files: one folder of masks an object, and their order by depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..core.clip import Clip
from ..core.events import FrameLabels
from ..core.labels import label_dtype
from ..files.masks import MaskFolderWriter
from ..files.report import write_json


class WholeShapesWriter:
    """Writes ``DIR/<id>/<frame>.png``, which may overlap between objects, and ``DIR/order.json``.

    Parameters
    ----------
    folder : Path
        Made with the first frame.
    clip : Clip
        The video; its frame names become file names.
    """

    def __init__(self, folder: Path, clip: Clip) -> None:
        self._folder = folder
        self._clip = clip
        self._writers: dict[int, MaskFolderWriter] = {}
        self._order: dict[str, list[int]] = {}

    def write(self, event: FrameLabels) -> None:
        """Write the shapes of one frame.

        Raises
        ------
        UserError
            If a file cannot be written, or a folder holds other images.
        """
        for object_id, shape in event.whole.items():
            if object_id not in self._writers:
                folder = self._folder / str(object_id)
                names = self._clip.frame_names
                self._writers[object_id] = MaskFolderWriter(folder, names, self._clip.size, [object_id])
            self._writers[object_id].write(event.frame, shape * label_dtype([object_id])(object_id))
        self._order[self._clip.frame_names[event.frame]] = list(event.front_to_back)

    def finish(self) -> None:
        """Write empty shapes where an object is not, and the order: each frame's name to the ids, frontmost first."""
        nothing = np.zeros(self._clip.size, np.uint8)
        for object_id, writer in self._writers.items():
            for frame, name in enumerate(self._clip.frame_names):
                if object_id not in self._order[name]:
                    writer.write(frame, nothing)
        write_json(self._folder / "order.json", self._order)
