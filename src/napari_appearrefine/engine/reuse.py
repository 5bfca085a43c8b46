"""Only what depends is computed again: results of earlier runs, found by all that they depend on."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.clip import Clip
from ..core.parameters import RefineParameters
from .interface import RefinementModel

_FEATURE_BYTES = 1 << 30
_RESULT_BYTES = 1 << 28

Arrays = tuple[np.ndarray, ...]


@dataclass
class Cost:
    """How long the steps of one kind took that were really computed, and how many were not needed.

    Parameters
    ----------
    seconds : float
        Time of the computed ones in all.
    computed, reused : int
        Their number, and that of those that an earlier run had computed.
    """

    seconds: float = 0.0
    computed: int = 0
    reused: int = 0

    @property
    def seconds_each(self) -> float:
        """Mean time of one that is computed; 0 before the first."""
        return self.seconds / self.computed if self.computed else 0.0


class RunStore:
    """What runs of one process computed: features, scores and corrected frames, and the loaded model.

    Every entry is found by a digest of everything that it depends on - pixels of the frame, its mask,
    the exemplars' pixels, masks and weights, the model - so a run that finds it computes what it would
    have computed, and nothing has to be declared out of date.

    Parameters
    ----------
    feature_bytes, result_bytes : int
        Memory to take at most for features and for results; what was used longest ago leaves first.

    Attributes
    ----------
    costs : dict of str to Cost
        What the last run computed, by kind: ``features``, ``score``, ``correction`` and ``flow``.
    """

    def __init__(self, feature_bytes: int = _FEATURE_BYTES, result_bytes: int = _RESULT_BYTES) -> None:
        self._features = _Shelf(feature_bytes)
        self._results = _Shelf(result_bytes)
        self._models: list[RefinementModel] = []
        self._loaded: tuple[RefineParameters, RefinementModel] | None = None
        self.costs: dict[str, Cost] = {}
        self._known: dict[str, Cost] = {}

    def expected_seconds(self, frames: int, again: bool = False) -> float | None:
        """Estimate how long a run will take at most, from what the steps of earlier runs took.

        Parameters
        ----------
        frames : int
            Frames of the clip.
        again : bool
            Whether only marks or a person's masks changed since the last run: features and scores are
            kept then, and at most all frames are corrected anew.

        Returns
        -------
        float or None
            Seconds; None if nothing was measured yet.
        """
        known = self._known | {kind: cost for kind, cost in self.costs.items() if cost.computed}
        if "correction" not in known:
            return None
        kinds = ["correction"] if again else ["features", "score", "correction"]
        return frames * sum(known[kind].seconds_each for kind in kinds if kind in known)

    def model(
        self, parameters: RefineParameters, load: Callable[[RefineParameters], RefinementModel]
    ) -> RefinementModel:
        """Return the model that the parameters name, loaded once."""
        if self._loaded is None or not _same_model(self._loaded[0], parameters):
            self._loaded = (parameters, load(parameters))
        return self._loaded[1]

    def start(self, model: RefinementModel, clip: Clip) -> Reuse:
        """Begin a run of a model on a clip."""
        self._known |= {kind: cost for kind, cost in self.costs.items() if cost.computed}
        self.costs = {}
        return Reuse(self, self._token_of(model), model, clip)

    def features(self, key: bytes, compute: Callable[[], Any], size_of: Callable[[Any], int]) -> Any:
        """Return features by their key, computed now if they are not kept."""
        found = self._features.get(key)
        if found is None:
            found = self._timed("features", compute)
            self._features.put(key, found, size_of(found))
        else:
            self._cost("features").reused += 1
        return found

    def result(self, kind: str, key: bytes, compute: Callable[[], Arrays]) -> Arrays:
        """Return arrays by their key, computed now if they are not kept."""
        packed = self._results.get(key)
        if packed is not None:
            self._cost(kind).reused += 1
            return tuple(_unpacked(each) for each in packed)
        arrays: Arrays = self._timed(kind, compute)
        stored = tuple(_packed(np.asarray(array)) for array in arrays)
        self._results.put(key, stored, sum(len(each[2]) + 200 for each in stored))
        return arrays

    def _token_of(self, model: RefinementModel) -> int:
        # The list keeps the models alive, so that no other one can come to have the same place.
        for place, known in enumerate(self._models):
            if known is model:
                return place
        self._models.append(model)
        return len(self._models) - 1

    def _timed(self, kind: str, compute: Callable[[], Any]) -> Any:
        nested = self._cost("features").seconds if kind != "features" else 0.0
        start = time.perf_counter()
        value = compute()
        cost = self._cost(kind)
        cost.seconds += time.perf_counter() - start
        if kind != "features":
            cost.seconds -= self._cost("features").seconds - nested
        cost.computed += 1
        return value

    def _cost(self, kind: str) -> Cost:
        return self.costs.setdefault(kind, Cost())


@dataclass
class Reuse:
    """One run's access to a :class:`RunStore`."""

    store: RunStore
    token: int
    model: RefinementModel
    clip: Clip
    _digests: dict[int, bytes] = field(default_factory=dict)

    def features(self, frame: int, size_of: Callable[[Any], int]) -> Any:
        """Return the model's features of a frame."""
        image = None
        if frame not in self._digests:
            image = self.clip.rgb(frame)
            self._digests[frame] = digest([image])
        key = digest(["features", self.token, self._digests[frame]])
        return self.store.features(
            key, lambda: self.model.features(self.clip.rgb(frame) if image is None else image), size_of
        )

    def image_digest(self, frame: int) -> bytes:
        """Return a digest of the pixels of a frame."""
        if frame not in self._digests:
            self._digests[frame] = digest([self.clip.rgb(frame)])
        return self._digests[frame]

    def result(self, kind: str, parts: Iterable[Any], compute: Callable[[], Arrays]) -> Arrays:
        """Return arrays that depend on the model and on ``parts`` alone, computed now if they are not kept."""
        return self.store.result(kind, digest([kind, self.token, *parts]), compute)


def digest(parts: Iterable[Any]) -> bytes:
    """Return a digest of arrays, bytes, numbers, strings and sequences of them; equal only for equal parts."""
    state = hashlib.blake2b(digest_size=16)
    _feed(state, list(parts))
    return state.digest()


def _feed(state: Any, part: Any) -> None:
    if isinstance(part, np.ndarray):
        state.update(f"a{part.dtype.str}{part.shape}".encode())
        state.update(np.ascontiguousarray(part).data)
    elif isinstance(part, bytes):
        state.update(f"b{len(part)}:".encode())
        state.update(part)
    elif isinstance(part, list | tuple):
        state.update(f"l{len(part)}:".encode())
        for each in part:
            _feed(state, each)
    else:
        text = repr(part).encode()
        state.update(f"r{len(text)}:".encode())
        state.update(text)


def _same_model(one: RefineParameters, other: RefineParameters) -> bool:
    names = ("model", "device", "selector_checkpoint", "corrector_checkpoint", "dino8", "dino16")
    return all(getattr(one, name) == getattr(other, name) for name in names)


class _Shelf:
    """Values by key within a limit of bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()

    def get(self, key: bytes) -> Any | None:
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: bytes, value: Any, size: int) -> None:
        self._kept[key] = (value, size)
        self._bytes += size
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1][1]


def _packed(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, zlib.compress(np.ascontiguousarray(array).data, 1)


def _unpacked(packed: tuple[str, tuple[int, ...], bytes]) -> np.ndarray:
    dtype, shape, data = packed
    return np.frombuffer(zlib.decompress(data), dtype).reshape(shape).copy()
