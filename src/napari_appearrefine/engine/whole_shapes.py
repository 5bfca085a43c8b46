"""The whole shapes of a frame's objects, made one at a time: memory does not follow the number of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np


class WholeShapes(Mapping[int, np.ndarray]):
    """Shapes by object id, each of which is made anew whenever it is asked for.

    Parameters
    ----------
    objects : sequence of int
        The ids, in the order in which they come.
    shape_of : callable
        From an id to its shape, (Y, X) bool.
    """

    def __init__(self, objects: Sequence[int], shape_of: Callable[[int], np.ndarray]) -> None:
        self._objects = tuple(objects)
        self._shape_of = shape_of

    def __getitem__(self, object_id: int) -> np.ndarray:
        """Return the shape of an object, (Y, X) bool."""
        if object_id not in self._objects:
            raise KeyError(object_id)
        return self._shape_of(object_id)

    def __iter__(self) -> Iterator[int]:
        """Go through the ids."""
        return iter(self._objects)

    def __len__(self) -> int:
        return len(self._objects)
