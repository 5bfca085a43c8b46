"""What happens when a graphics card's memory is used up: the run goes on, on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..core.events import FrameLabels, Progress
from .interface import ClipInputs, RefinementModel

_log = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that a device's memory is used up; on some it has no class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error).lower()
    )


class RetreatingModel:
    """A model that goes on, on the CPU, once the memory of its device is used up.

    Frames that were finished stay; those that the model kept as results are not computed again.

    Parameters
    ----------
    model : RefinementModel
        What computes.
    on_cpu : callable
        Loads the same model for the CPU.
    """

    def __init__(self, model: RefinementModel, on_cpu: Callable[[], RefinementModel]) -> None:
        self._model = model
        self._on_cpu = on_cpu
        self._fit: Callable[[RefinementModel], RefinementModel] = lambda loaded: loaded
        self._fitted: dict[int, RetreatingModel] = {}
        self.notices: list[str] = []
        results_id = getattr(model, "results_id", None)
        if results_id is not None:
            # Results of before the retreat are those of this run, too.
            self.results_id = results_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def fitted_to(self, size: tuple[int, int], areas: Mapping[int, np.ndarray]) -> RetreatingModel:
        """Return the model fitted to a clip."""
        model = self._model.fitted_to(size, areas)
        if model is self._model:
            return self
        fitted = self._fitted.setdefault(id(model), RetreatingModel(model, self._on_cpu))
        fitted._fit = lambda loaded: loaded.fitted_to(size, areas)
        return fitted

    def features(self, image: np.ndarray) -> Any:
        """Compute what the model needs of one frame."""
        try:
            return self._model.features(image)
        except RuntimeError as error:
            self._retreat(error)
        return self._model.features(image)

    def score(self, inputs: ClipInputs) -> Generator[Progress, None, np.ndarray]:
        """Judge every mask."""
        try:
            return (yield from self._model.score(inputs))
        except RuntimeError as error:
            self._retreat(error)
        return (yield from self._model.score(inputs))

    def correct(
        self, inputs: ClipInputs, scores: np.ndarray, exemplars: Mapping[int, Sequence[int]]
    ) -> Iterator[FrameLabels | Progress]:
        """Repair every frame, each given once."""
        given: set[int] = set()
        try:
            for event in self._model.correct(inputs, scores, exemplars):
                yield event
                if isinstance(event, FrameLabels):
                    given.add(event.frame)
            return
        except RuntimeError as error:
            self._retreat(error)
        for event in self._model.correct(inputs, scores, exemplars):
            if not (isinstance(event, FrameLabels) and event.frame in given):
                yield event

    def _retreat(self, error: RuntimeError) -> None:
        """Change over to the CPU, or raise what was no lack of a device's memory or happened there already."""
        if self.notices or not is_out_of_memory(error):
            raise error
        self.notices.append("The memory of the graphics card was used up, so the rest was computed on the CPU.")
        _log.warning(self.notices[0])
        self._model = self._fit(self._on_cpu())
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
