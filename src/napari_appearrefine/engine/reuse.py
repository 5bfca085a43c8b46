"""Only what depends is computed again: results of earlier runs, found by all that they depend on."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..core.clip import Clip
from ..core.parameters import RefineParameters
from .digests import digest
from .feature_store import FrameFeatures
from .interface import Found, RefinementModel
from .result_store import ResultStore, packed, unpacked

_FEATURE_BYTES = 16 << 20
_RESULT_BYTES = 64 << 20
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
        self._loaded: tuple[RefineParameters, RefinementModel] | None = None
        self._tokens: weakref.WeakKeyDictionary[RefinementModel, int] = weakref.WeakKeyDictionary()
        self._next_token = itertools.count()

    @property
    def reused_results(self) -> bool:
        """Whether the last run took scores or corrected frames from an earlier one."""
        return any(cost.reused for kind, cost in self.costs.items() if kind in ("score", "correction"))

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
        features: FrameFeatures | None = None,
        kept: ResultStore | None = None,
    ) -> Reuse:
        """Begin to use what is kept for a model and a clip.

        Parameters
        ----------
        model : RefinementModel or None
            Known by its ``results_id`` if it has one, which names everything that results depend on
            besides what goes into a run and the code; else by being the same object. Its weights must
            not change. None for results of no model.
        clip : Clip
            The video.
        counted : bool
            Whether this is a run, whose costs are of interest afterwards.
        features : FrameFeatures, optional
            Gives the model's features, instead of the model itself.
        kept : ResultStore, optional
            Where results are on disk, if the model has a ``results_id``.
        """
        token: str | int | None = getattr(model, "results_id", None)
        storable = token is not None
        if model is not None and not storable:
            token = self._tokens.get(model)
            if token is None:
                token = self._tokens[model] = next(self._next_token)
        reuse = Reuse(self, token, features or FrameFeatures(clip, model), kept if storable else None)
        if counted:
            self.costs = reuse.costs
        return reuse


@dataclass
class Reuse:
    """One run's access to a :class:`RunStore`, and to results on disk; results may come from several threads."""

    store: RunStore
    token: str | int | None
    frames: FrameFeatures
    kept: ResultStore | None = None
    costs: dict[str, Cost] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def features(self, frame: int, size_of: Callable[[Any], int]) -> Any:
        """Return the model's features of a frame, computed now if they are not kept."""
        key = digest(["features", self.token, self.image_digest(frame)])
        found = self.store.kept_features.get(key)
        if found is not None:
            self._count("features")
            return found
        start = time.perf_counter()
        features = self.frames(frame)
        self._count("features", time.perf_counter() - start)
        self.store.kept_features.put(key, features, size_of(features))
        return features

    def image_digest(self, frame: int) -> bytes:
        """Return a digest of the pixels of a frame."""
        return self.frames.digest(frame)

    def result(self, kind: str, parts: Iterable[Any], compute: Callable[[], Arrays]) -> Arrays:
        """Return arrays that depend on the model and on ``parts`` alone, computed now if this process has none."""
        key = digest([kind, self.token, *parts])
        data = self.store.kept_results.get(key)
        if data is not None:
            self._count(kind)
            return unpacked(data)
        start = time.perf_counter()
        arrays: Arrays = compute()
        self._count(kind, time.perf_counter() - start)
        self._put(key, packed(arrays))
        return arrays

    def find(self, kind: str, parts: Iterable[Any]) -> Found:
        """Look for arrays that depend on the model and on ``parts`` alone, also on disk."""
        key = digest([kind, self.token, *parts])
        data = self.store.kept_results.get(key)
        if data is None and self.kept is not None:
            data = self.kept.read(key)
            if data is not None:
                self._put(key, data)
        if data is None:
            return Found(kind, key, None)
        self._count(kind)
        return Found(kind, key, unpacked(data))

    def recall(self, kind: str, parts: Iterable[Any]) -> Any | None:
        """Return what was remembered for the model and ``parts``, or None."""
        return self.store.kept_results.get(digest([kind, self.token, *parts]))

    def remember(self, kind: str, parts: Iterable[Any], value: Any, size: int) -> None:
        """Keep a value of ``size`` bytes, which nobody may change, for :meth:`recall`."""
        self.store.kept_results.put(digest([kind, self.token, *parts]), value, size)

    def keep(self, found: Found, arrays: Arrays, seconds: float) -> None:
        """Keep what was not found and took so long to compute."""
        self._count(found.kind, seconds)
        data = packed(arrays)
        self._put(found.key, data)
        if self.kept is not None:
            self.kept.write(found.key, data)

    def _put(self, key: bytes, data: bytes) -> None:
        self.store.kept_results.put(key, data, len(data) + _ENTRY_BYTES)

    def _count(self, kind: str, seconds: float | None = None) -> None:
        with self._lock:
            cost = self.costs.setdefault(kind, Cost())
            if seconds is None:
                cost.reused += 1
            else:
                cost.computed += 1
                cost.seconds += seconds


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
