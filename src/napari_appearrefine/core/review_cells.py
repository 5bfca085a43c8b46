"""What is known of one object in one frame - provenance, qualities, marks - and edits of it that can be taken back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np


class Source(IntEnum):
    """Where a mask comes from; the number of the run is kept beside it."""

    IMPORTED = 0
    FLOW = 1
    RUN = 2
    PERSON = 3


class ExemplarState(IntEnum):
    """Whether a frame is an exemplar of an object, and who says so."""

    AUTO = 0
    CHOSEN = 1
    PINNED = 2
    BANNED = 3


CELL = np.dtype(
    [
        ("before", np.float32),
        ("after", np.float32),
        ("source", np.uint8),
        ("run", np.uint16),
        ("exemplar", np.uint8),
        ("present", np.bool_),
        ("edited", np.bool_),
        ("locked", np.bool_),
        ("accepted", np.bool_),
    ]
)
"""One frame of one object.

``before`` and ``after`` are the estimated quality of the mask that went into the last run and of the
one that came out of it, NaN if unknown; ``source`` and ``run`` where the mask comes from;
``exemplar`` an :class:`ExemplarState`; ``present`` whether the object has pixels; ``edited`` whether a
person painted it; ``locked`` whether it is never written; ``accepted`` whether a person agreed with it.
"""


@dataclass(frozen=True)
class Run:
    """A run that was made.

    Parameters
    ----------
    number : int
        From 1; what a cell's ``run`` refers to.
    parameters : dict
        Its parameters, JSON-ready.
    """

    number: int
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """New cells of one object.

    Parameters
    ----------
    object_id : int
        Whose cells.
    cells : ndarray or None
        (n,) of :data:`CELL`, one for each of ``frames``; or all T of them, or None to take the object
        away, if ``frames`` is None.
    frames : ndarray, optional
        (n,) int frames without repetition.
    fields : tuple of str, optional
        Which fields of the cells of ``frames`` are new; all of them if not given.
    """

    object_id: int
    cells: np.ndarray | None
    frames: np.ndarray | None = None
    fields: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Edit:
    """A change of a review table; :meth:`core.review.ReviewTable.apply` returns the edit that takes it back.

    Parameters
    ----------
    title : str
        What it does, for an undo menu.
    changes : tuple of Change
        Applied in order.
    names : mapping of int to str or None
        New names of objects; None removes one.
    runs : tuple of Run, optional
        The list of runs afterwards; as it was if not given.
    """

    title: str
    changes: tuple[Change, ...] = ()
    names: Mapping[int, str | None] = field(default_factory=dict)
    runs: tuple[Run, ...] | None = None

    def then(self, later: Edit) -> Edit:
        """Return this edit with another one after it, as one of this title."""
        runs = self.runs if later.runs is None else later.runs
        return Edit(self.title, (*self.changes, *later.changes), {**self.names, **later.names}, runs)
