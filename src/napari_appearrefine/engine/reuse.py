"""Only what depends is computed again: results of earlier runs, found by all that they depend on."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..core.clip import Clip
from ..core.parameters import RefineParameters
from .interface import RefinementModel

_FEATURE_BYTES = 1 << 30
_RESULT_BYTES = 1 << 28
_ENTRY_BYTES = 200

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
    have computed, and nothing has to be declared out of date. Several threads may use a store at a time.

    Parameters
    ----------
    feature_bytes : int, optional
        Memory to take at most for features; what was used longest ago leaves first. Each run's own
        limit if not given.
    result_bytes : int
        The same for results.

    Attributes
    ----------
    costs : dict of str to Cost
        What the last run computed, by kind: ``features``, ``score``, ``correction`` and ``flow``.
    areas : mapping of int to ndarray, or None
        Object id to (T,) areas of the masks that the last run judged, to which it fitted the model.
    """

    def __init__(self, feature_bytes: int | None = None, result_bytes: int = _RESULT_BYTES) -> None:
        self._feature_bytes = feature_bytes
        self.kept_features = _Shelf(feature_bytes or _FEATURE_BYTES)
        self.kept_results = _Shelf(result_bytes)
        self.costs: dict[str, Cost] = {}
        self.areas: Mapping[int, np.ndarray] | None = None
        self._known: dict[str, Cost] = {}
        self._loaded: tuple[RefineParameters, RefinementModel] | None = None
        self._tokens: weakref.WeakKeyDictionary[RefinementModel, int] = weakref.WeakKeyDictionary()
        self._next_token = itertools.count()

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

    def limit_features(self, limit: int) -> None:
        """Set how many bytes features may take, unless the store was made with a limit of its own."""
        self.kept_features.limit = self._feature_bytes or limit

    def model(
        self, parameters: RefineParameters, load: Callable[[RefineParameters], RefinementModel]
    ) -> RefinementModel:
        """Return the model that the parameters name, loaded once."""
        if self._loaded is None or not _same_model(self._loaded[0], parameters):
            self._loaded = (parameters, load(parameters))
        return self._loaded[1]

    def start(
        self,
        model: RefinementModel | None,
        clip: Clip,
        counted: bool = True,
        compute: Callable[[np.ndarray], Any] | None = None,
    ) -> Reuse:
        """Begin to use what is kept for a model and a clip.

        Parameters
        ----------
        model : RefinementModel or None
            Known by being the same object; its weights must not change. None for results of no model.
        clip : Clip
            The video.
        counted : bool
            Whether this is a run, whose costs are of interest afterwards.
        compute : callable, optional
            Gives the model's features of an image (Y, X, 3) uint8, instead of the model itself.
        """
        token = None if model is None else self._tokens.get(model)
        if model is not None and token is None:
            token = self._tokens[model] = next(self._next_token)
        if compute is None and model is not None:
            compute = model.features
        reuse = Reuse(self, token, compute, clip)
        if counted:
            self._known |= {kind: cost for kind, cost in self.costs.items() if cost.computed}
            self.costs = reuse.costs
        return reuse


@dataclass
class Reuse:
    """One run's access to a :class:`RunStore`."""

    store: RunStore
    token: int | None
    compute: Callable[[np.ndarray], Any] | None
    clip: Clip
    costs: dict[str, Cost] = field(default_factory=dict)
    _digests: dict[int, bytes] = field(default_factory=dict)

    def features(self, frame: int, size_of: Callable[[Any], int]) -> Any:
        """Return the model's features of a frame, computed now if they are not kept."""
        image = None
        if frame not in self._digests:
            image = self.clip.rgb(frame)
            self._digests[frame] = digest([image])
        key = digest(["features", self.token, self._digests[frame]])
        found = self.store.kept_features.get(key)
        if found is not None:
            self._cost("features").reused += 1
            return found
        if self.compute is None:
            raise ValueError("features need a model")
        pixels, compute = self.clip.rgb(frame) if image is None else image, self.compute
        features = self._timed("features", lambda: compute(pixels))
        self.store.kept_features.put(key, features, size_of(features))
        return features

    def image_digest(self, frame: int) -> bytes:
        """Return a digest of the pixels of a frame."""
        if frame not in self._digests:
            self._digests[frame] = digest([self.clip.rgb(frame)])
        return self._digests[frame]

    def result(self, kind: str, parts: Iterable[Any], compute: Callable[[], Arrays]) -> Arrays:
        """Return arrays that depend on the model and on ``parts`` alone, computed now if they are not kept."""
        key = digest([kind, self.token, *parts])
        packed = self.store.kept_results.get(key)
        if packed is not None:
            self._cost(kind).reused += 1
            return tuple(_unpacked(each) for each in packed)
        arrays: Arrays = self._timed(kind, compute)
        stored = tuple(_packed(np.asarray(array)) for array in arrays)
        self.store.kept_results.put(key, stored, sum(len(each[2]) + _ENTRY_BYTES for each in stored))
        return arrays

    def recall(self, kind: str, parts: Iterable[Any]) -> Any | None:
        """Return what was remembered for the model and ``parts``, or None."""
        return self.store.kept_results.get(digest([kind, self.token, *parts]))

    def remember(self, kind: str, parts: Iterable[Any], value: Any, size: int) -> None:
        """Keep a value of ``size`` bytes, which nobody may change, for :meth:`recall`."""
        self.store.kept_results.put(digest([kind, self.token, *parts]), value, size)

    def _timed(self, kind: str, compute: Callable[[], Any]) -> Any:
        """Compute and take the time; features computed on the way count as features."""
        cost, of_features = self._cost(kind), self._cost("features")
        before = of_features.seconds
        start = time.perf_counter()
        value = compute()
        cost.seconds += time.perf_counter() - start - (of_features.seconds - before)
        cost.computed += 1
        return value

    def _cost(self, kind: str) -> Cost:
        return self.costs.setdefault(kind, Cost())


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
    unrelated = ("exemplars", "memory_limit", "cache", "cache_dir")
    return replace(one, **{name: getattr(other, name) for name in unrelated}) == other


class _Shelf:
    """Values by key within a limit of bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._bytes = 0
        self._kept: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> Any | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: bytes, value: Any, size: int) -> None:
        with self._lock:
            self._bytes += size - self._kept.pop(key, (None, 0))[1]
            self._kept[key] = (value, size)
            while self._bytes > self.limit and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1]


def _packed(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    data = np.ascontiguousarray(array).data
    # Flow hardly shrinks, and packing it takes a third of the time that computing it took.
    return array.dtype.str, array.shape, bytes(data) if array.dtype.kind == "f" else zlib.compress(data, 1)


def _unpacked(packed: tuple[str, tuple[int, ...], bytes]) -> np.ndarray:
    dtype, shape, data = packed
    plain = data if np.dtype(dtype).kind == "f" else zlib.decompress(data)
    return np.frombuffer(plain, dtype).reshape(shape).copy()
