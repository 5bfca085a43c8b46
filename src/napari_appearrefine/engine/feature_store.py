"""Features of frames on disk, found again by the frame's content and the model: the next run skips computing them."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from ..core.clip import Clip
from ..core.errors import UserError
from ..core.read_ahead import ReadAhead
from ..files.atomic import atomic_path

LIMIT = 8 << 30
_SUFFIX = ".safetensors"
_log = logging.getLogger(__name__)


@runtime_checkable
class StorableFeatures(Protocol):
    """What a refinement model offers, besides ``features``, to have its features kept on disk."""

    @property
    def features_id(self) -> str:
        """Everything that features depend on besides the frame: weights, size, precision, version."""

    def pack(self, features: Any) -> dict[str, Tensor]:
        """Turn the features of one frame into named tensors on the CPU."""

    def unpack(self, kept: Mapping[str, Tensor]) -> Any:
        """Turn named tensors back into the features of one frame."""


class FeatureStore:
    """A folder of features, one file a frame, which several processes may use at once.

    A file appears whole or not at all, and any file may vanish at any time. When the folder grows
    beyond its limit, or takes more than half of what is free on the disk, the files used longest ago
    are removed.

    Parameters
    ----------
    folder : Path
        Where; made when the first file is written.
    limit : int
        Bytes.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder = folder
        self._limit = limit
        self._unchecked = limit
        self._writable = True

    def key(self, features_id: str, image: np.ndarray) -> str:
        """Return the name under which a model's features of an image (Y, X, 3) uint8 are kept."""
        digest = hashlib.blake2b(f"{features_id} {image.shape}".encode(), digest_size=20)
        digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

    def read(self, key: str) -> dict[str, Tensor] | None:
        """Return what is kept, or None if there is nothing that can be read."""
        path = self._path(key)
        try:
            # Copied, not mapped: another process may remove the file meanwhile, which some systems
            # refuse for a file that is mapped.
            kept = load(path.read_bytes())
        except (OSError, SafetensorError):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return kept

    def write(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors; where the disk takes no more, nothing is kept from then on, and a run goes on."""
        if not self._writable:
            return
        size = sum(tensor.nbytes for tensor in tensors.values())
        self._unchecked += size
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._unchecked > self._limit // 20:
                self._make_room(size)
                self._unchecked = 0
            with atomic_path(self._path(key)) as beside:
                save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside)
        except (OSError, SafetensorError, UserError) as error:
            _log.warning("Features are not kept for the next run: %s", error)
            self._writable = False

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"

    def _make_room(self, size: int) -> None:
        """Remove the files used longest ago, a little more than needed so that it is not needed again at once."""
        entries = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        total = size + sum(length for _, length, _ in entries)
        room = min(self._limit, (total + shutil.disk_usage(self._folder).free) // 2)
        if total <= room:
            return
        for _, length, path in sorted(entries):
            with contextlib.suppress(OSError):
                path.unlink()
            total -= length
            if total <= room * 9 // 10:
                return


class FrameFeatures:
    """The features of any frame of a clip: those of an earlier run if they are kept, else computed now.

    Frames are decoded, and features read from disk, ahead of need. To be closed at the end.

    Parameters
    ----------
    clip : Clip
        The video.
    model : object
        Has ``features``; if it is a :class:`StorableFeatures`, the store is used.
    store : FeatureStore, optional
        Where features are kept.
    """

    def __init__(self, clip: Clip, model: Any, store: FeatureStore | None = None) -> None:
        self._model = model
        self._store = store if isinstance(model, StorableFeatures) else None
        self._frames = ReadAhead(lambda frame: self._found(clip.rgb(frame)), len(clip))

    def __call__(self, frame: int) -> Any:
        """Return the features of one frame."""
        return self._features(*self._frames(frame))

    def of_image(self, image: np.ndarray) -> Any:
        """Return the features of an image (Y, X, 3) uint8."""
        return self._features(*self._found(image))

    def close(self) -> None:
        """Stop reading ahead."""
        self._frames.close()

    def _found(self, image: np.ndarray) -> tuple[np.ndarray, str, dict[str, Tensor] | None]:
        if self._store is None:
            return image, "", None
        key = self._store.key(self._model.features_id, image)
        return image, key, self._store.read(key)

    def _features(self, image: np.ndarray, key: str, kept: dict[str, Tensor] | None) -> Any:
        if kept is not None:
            return self._model.unpack(kept)
        features = self._model.features(image)
        if self._store is not None:
            self._store.write(key, self._model.pack(features))
        return features


def weights_digest(*modules: nn.Module) -> str:
    """Return what tells networks of other weights apart."""
    digest = hashlib.blake2b(digest_size=16)
    for module in modules:
        for name, value in module.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
