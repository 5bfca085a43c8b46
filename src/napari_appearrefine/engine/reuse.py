"""Only what depends is computed again: results of earlier runs, found by all that they depend on."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.clip import Clip
from ..core.parameters import RefineParameters
from .digests import digest
from .feature_store import ClipFeatures
from .resources import Resources
from .result_store import ResultStore, packed, unpacked

if TYPE_CHECKING:
    from .interface import RefinementModel

_RESULT_BYTES = 64 << 20
_ENTRY_BYTES = 200

Arrays = tuple[np.ndarray, ...]


class RunStore:
    """What runs of one process computed: features, scores and corrected frames, and the loaded model.

    Every entry is found by a digest of everything that it depends on - pixels of the frame, its mask,
    the exemplars' pixels, masks and weights, the model - so a run that finds it computes what it would
    have computed, and nothing has to be declared out of date. Several threads may use a store at a time.

    Parameters
    ----------
    result_bytes : int
        Memory to take at most for results; what was used longest ago leaves first. How much features
        may take is for each run to say.

    Attributes
    ----------
    computed, reused : Counter of str
        How many steps of each kind the last run computed, and how many it did not need to: ``features``,
        ``score``, ``judgement``, ``correction`` and ``flow``.
    areas : mapping of int to ndarray, or None
        Object id to (T,) areas of the masks that the last run judged, to which it fitted the model.
    """

    def __init__(self, result_bytes: int = _RESULT_BYTES) -> None:
        self.kept_features = _CyclicShelf(0)
        self.kept_results = _Shelf(result_bytes)
        self.computed: Counter[str] = Counter()
        self.reused: Counter[str] = Counter()
        self.areas: Mapping[int, np.ndarray] | None = None
        self._loaded: tuple[RefineParameters, RefinementModel] | None = None
        self._tokens: weakref.WeakKeyDictionary[RefinementModel, int] = weakref.WeakKeyDictionary()
        self._next_token = itertools.count()

    def model(
        self, parameters: RefineParameters, load: Callable[[RefineParameters], RefinementModel]
    ) -> RefinementModel:
        """Return the model that the parameters name, loaded once."""
        if self._loaded is None or not _same_model(self._loaded[0], parameters):
            self._loaded = (parameters, load(parameters))
        return self._loaded[1]

    def start(self, model: RefinementModel | None, clip: Clip, resources: Resources | None = None) -> Reuse:
        """Begin to use what is kept for a model and a clip.

        Parameters
        ----------
        model : RefinementModel or None
            Known by its ``results_id`` if it has one, which names everything that results depend on
            besides what goes into a run and the code; else by being the same object, and then nothing is on
            disk. Its weights must not change. None for results of no model, and no features.
        clip : Clip
            The video.
        resources : Resources, optional
            How much memory features may take from now on, and where results are on disk.
        """
        resources = resources or Resources(self.kept_features.limit)
        self.kept_features.limit = resources.memory
        token: str | int | None = getattr(model, "results_id", None)
        on_disk = None if token is None else resources.results
        if model is not None and token is None:
            token = self._tokens.get(model)
            if token is None:
                token = self._tokens[model] = next(self._next_token)
        if on_disk is None and not self.kept_results.limit:
            # Frames then go by their numbers, which mean nothing to the next run.
            token = f"run {next(self._next_token)}"
        self.kept_features.begin()
        return Reuse(self, token, ClipFeatures(clip, model, resources.features), on_disk)


@dataclass(frozen=True)
class Found:
    """The answer to a question for results of an earlier run.

    Parameters
    ----------
    kind : str
        What they are.
    key : bytes
        Digest of all that they depend on.
    arrays : tuple of ndarray, or None
        The results; None if they have to be computed.
    """

    kind: str
    key: bytes
    arrays: Arrays | None


@dataclass
class Reuse:
    """One run's access to a :class:`RunStore` and to what is on disk; to be closed at the end.

    Results may be kept from any thread.
    """

    store: RunStore
    token: str | int | None
    frames: ClipFeatures
    on_disk: ResultStore | None
    computed: Counter[str] = field(default_factory=Counter)
    reused: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def remembers(self) -> bool:
        """Whether the next run of this process may find something."""
        return self.store.kept_results.limit > 0

    @property
    def keeps(self) -> bool:
        """Whether any other run may find something."""
        return self.remembers or self.on_disk is not None

    def image_digest(self, frame: int) -> bytes:
        """Return a digest of the pixels of a frame; where nothing outlives the run, its number does."""
        return self.frames.digest(frame) if self.keeps else b"%d" % frame

    def features(self, frame: int) -> Any:
        """Return the model's features of a frame, computed now if they are not kept."""
        return self.prepare_features(frame)()

    def prepare_features(self, frame: int) -> Callable[[], Any]:
        """Read what is needed of a frame and return what gives its features, in whatever thread."""
        key = self._key("features", [self.image_digest(frame)])
        kept = self.store.kept_features.get(key)
        if kept is None:
            kept = self.frames.kept(frame)
            if kept is not None:
                self.store.kept_features.put(key, kept, bytes_of(kept))
        if kept is not None:
            self._count(self.reused, "features")
            return lambda: kept
        compute = self.frames.prepare(frame)

        def compute_and_keep() -> Any:
            features = compute()
            self._count(self.computed, "features")
            self.store.kept_features.put(key, features, bytes_of(features))
            return features

        return compute_and_keep

    def find(self, kind: str, parts: Iterable[Any]) -> Found:
        """Look for arrays that depend on the model and on ``parts`` alone, also on disk."""
        if not self.keeps:
            return Found(kind, b"", None)
        key = self._key(kind, parts)
        data = self.store.kept_results.get(key)
        if data is None and self.on_disk is not None:
            data = self.on_disk.read(key)
            if data is not None:
                self._put(key, data)
        if data is None:
            return Found(kind, key, None)
        self._count(self.reused, kind)
        return Found(kind, key, unpacked(data))

    def keep(self, found: Found, arrays: Arrays) -> None:
        """Keep what was not found and had to be computed."""
        self._count(self.computed, found.kind)
        if not self.keeps:
            return
        data = packed(arrays)
        self._put(found.key, data)
        if self.on_disk is not None:
            self.on_disk.write(found.key, data)

    def result(self, kind: str, parts: Iterable[Any], compute: Callable[[], Arrays]) -> Arrays:
        """Return arrays that depend on the model and on ``parts`` alone, computed now if this process has none."""
        return self.prepare_result(kind, parts, lambda: compute)()

    def prepare_result(
        self, kind: str, parts: Iterable[Any], prepare: Callable[[], Callable[[], Arrays]]
    ) -> Callable[[], Arrays]:
        """Return what gives arrays as :meth:`result` does, in whatever thread; ``prepare`` reads what they need."""
        key = self._key(kind, parts)
        data = self.store.kept_results.get(key)
        if data is not None:
            self._count(self.reused, kind)
            return lambda: unpacked(data)
        compute = prepare()

        def compute_and_keep() -> Arrays:
            arrays = compute()
            self._count(self.computed, kind)
            self._put(key, packed(arrays))
            return arrays

        return compute_and_keep

    def recall(self, kind: str, parts: Iterable[Any]) -> Any | None:
        """Return what was remembered for the model and ``parts``, or None."""
        return self.store.kept_results.get(self._key(kind, parts))

    def remember(self, kind: str, parts: Iterable[Any], value: Any, size: int) -> None:
        """Keep a value of ``size`` bytes, which nobody may change, for :meth:`recall`."""
        self.store.kept_results.put(self._key(kind, parts), value, size)

    def close(self) -> None:
        """Stop reading frames ahead."""
        self.frames.close()

    def _key(self, kind: str, parts: Iterable[Any]) -> bytes:
        return digest([kind, self.token, *parts])

    def _put(self, key: bytes, data: bytes) -> None:
        self.store.kept_results.put(key, data, len(data) + _ENTRY_BYTES)

    def _count(self, steps: Counter[str], kind: str) -> None:
        with self._lock:
            steps[kind] += 1


def bytes_of(features: object) -> int:
    """Return the bytes of memory that a model's features of one frame take."""
    if isinstance(features, dict):
        return sum(bytes_of(value) for value in features.values())
    if isinstance(features, list | tuple):
        return sum(bytes_of(value) for value in features)
    return int(getattr(features, "nbytes", 0))


def _same_model(one: RefineParameters, other: RefineParameters) -> bool:
    unrelated = ("exemplars", "rounds", "memory_limit", "cache", "cache_dir")
    return replace(one, **{name: getattr(other, name) for name in unrelated}) == other


class _Shelf:
    """Values by key within a limit of bytes; what was used longest ago leaves first, the last one never."""

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
            self._use(key)
            return found[0]

    def put(self, key: bytes, value: Any, size: int) -> None:
        with self._lock:
            self._bytes += size - self._kept.pop(key, (None, 0))[1]
            self._kept[key] = (value, size)
            self._use(key)
            while self._bytes > self.limit and len(self._kept) > 1:
                self._bytes -= self._kept.pop(self._next_to_leave())[1]

    def _use(self, key: bytes) -> None:
        self._kept.move_to_end(key)

    def _next_to_leave(self) -> bytes:
        return next(iter(self._kept))


class _CyclicShelf(_Shelf):
    """A shelf for a run that goes through all frames of a clip several times.

    What the run has not used leaves first; then what it used last, but for the newest: it is what will be needed
    again last. If instead what was used longest ago left, every frame would leave shortly before it is needed again.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._unused: set[bytes] = set()

    def begin(self) -> None:
        """Begin another run."""
        with self._lock:
            self._unused = set(self._kept)

    def _use(self, key: bytes) -> None:
        super()._use(key)
        self._unused.discard(key)

    def _next_to_leave(self) -> bytes:
        longest_ago = super()._next_to_leave()
        if longest_ago in self._unused:
            self._unused.discard(longest_ago)
            return longest_ago
        return next(itertools.islice(reversed(self._kept), 1, None))
