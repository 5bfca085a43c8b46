"""Features of frames on disk, found again by the frame's content and the model: the next run skips computing them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..core.clip import Clip
from ..core.read_ahead import ReadAhead
from .digests import image_digest
from .folder_store import FolderStore

LIMIT = 8 << 30


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
    """Named tensors in a :class:`FolderStore`, one file a frame."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._files = FolderStore(folder, limit, ".safetensors")

    def key(self, features_id: str, image_digest: bytes) -> str:
        """Return the name under which a model's features of an image are kept."""
        return hashlib.blake2b(features_id.encode() + image_digest, digest_size=20).hexdigest()

    def read(self, key: str) -> dict[str, Tensor] | None:
        """Return what is kept, or None if there is nothing that can be read."""
        data = self._files.read(key)
        try:
            return None if data is None else load(data)
        except SafetensorError:
            return None

    def write(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors, if the disk takes them."""
        self._files.write(key, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


class ClipFeatures:
    """The features of any frame of a clip: those of an earlier run if they are kept, else computed now.

    Frames are decoded ahead of need, and none whose digest and features are known already. To be closed at the end.

    Parameters
    ----------
    clip : Clip
        The video.
    model : object or None
        Has ``features``; if it is a :class:`StorableFeatures` too, the store is used. None for digests alone.
    store : FeatureStore, optional
        Where features are kept.
    """

    def __init__(self, clip: Clip, model: Any, store: FeatureStore | None = None) -> None:
        self._model = model
        # Not isinstance: a model may hand on what another one offers.
        self._storable: StorableFeatures | None = model if hasattr(model, "features_id") else None
        self._store = store
        self._digests: dict[int, bytes] = {}
        self._last: tuple[int, np.ndarray] | None = None

        def seen(frame: int) -> tuple[np.ndarray, bytes]:
            image = clip.rgb(frame)
            return image, self._digests.get(frame) or image_digest(image)

        self._frames = ReadAhead(seen, len(clip))

    def digest(self, frame: int) -> bytes:
        """Return a digest of the pixels of a frame."""
        if frame not in self._digests:
            self._image(frame)
        return self._digests[frame]

    def __call__(self, frame: int) -> Any:
        """Return the features of one frame."""
        kept = self.kept(frame)
        return self.prepare(frame)() if kept is None else kept

    def kept(self, frame: int) -> Any | None:
        """Return the features of one frame that an earlier run, or this one, stored; None if there are none."""
        if self._store is None or self._storable is None:
            return None
        stored = self._store.read(self._store.key(self._storable.features_id, self.digest(frame)))
        return None if stored is None else self._storable.unpack(stored)

    def prepare(self, frame: int) -> Callable[[], Any]:
        """Read what is needed of a frame and return what computes its features and stores them, in whatever thread."""
        image, store, storable = self._image(frame), self._store, self._storable
        if store is None or storable is None:
            return lambda: self._model.features(image)
        pixels = self.digest(frame)

        def compute() -> Any:
            features = self._model.features(image)
            # Asked for once more: a model that had to change to another device has another id now.
            store.write(store.key(storable.features_id, pixels), storable.pack(features))
            return features

        return compute

    def close(self) -> None:
        """Stop reading ahead."""
        self._frames.close()

    def _image(self, frame: int) -> np.ndarray:
        if self._last is None or self._last[0] != frame:
            image, self._digests[frame] = self._frames(frame)
            self._last = frame, image
        return self._last[1]
