"""The review table: what is known of each object's mask in each frame, and what a person decided about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from .guidance import Guidance
from .review_cells import CELL, Change, Edit, ExemplarState, Run, Source


class ReviewTable:
    """What is known of every object in every frame of a clip.

    Its methods that plan a change return an :class:`Edit` and change nothing; :meth:`apply` changes.

    Parameters
    ----------
    frames : int
        Frames of the clip.
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.names: dict[int, str] = {}
        self.runs: tuple[Run, ...] = ()
        self._rows: dict[int, np.ndarray] = {}

    @property
    def object_ids(self) -> list[int]:
        """Ids of the objects, ascending."""
        return sorted(self._rows)

    @property
    def free_id(self) -> int:
        """The smallest id above all that are in use."""
        return max([*self.object_ids, 0]) + 1

    def title(self, object_id: int) -> str:
        """Return what to call an object: its name, or its id if it has none."""
        return self.names.get(object_id) or f"object {object_id}"

    def cells(self, object_id: int) -> np.ndarray:
        """Return the (T,) :data:`CELL` of an object; read it, do not write it."""
        row = self._rows[object_id].view()
        row.flags.writeable = False
        return row

    def column(self, name: str, object_ids: Sequence[int] | None = None) -> np.ndarray:
        """Return one field of the cells for all or some objects, (T, Q)."""
        ids = self.object_ids if object_ids is None else object_ids
        if not ids:
            return np.zeros((self.frames, 0), CELL[name])
        return np.stack([self._rows[object_id][name] for object_id in ids], axis=1)

    def frames_with(self, name: str, object_id: int, value: int = True) -> frozenset[int]:
        """Return the frames where a field of an object's cells has a value."""
        return frozenset(np.flatnonzero(self._rows[object_id][name] == value).tolist())

    def settled(self, frame: int) -> list[int]:
        """Return the objects whose masks a run must not write in a frame: edited or locked ones, ascending."""
        cells = {key: self._rows[key][frame] for key in self.object_ids}
        return [key for key, cell in cells.items() if cell["edited"] or cell["locked"]]

    def is_settled(self, object_ids: Sequence[int] | None = None) -> np.ndarray:
        """Return which masks of all or some objects a run must not write, (T, Q) bool."""
        return np.asarray(self.column("edited", object_ids) | self.column("locked", object_ids))

    @property
    def settled_frames(self) -> int:
        """In how many frames there are masks that a run must not write."""
        return int(self.is_settled().any(axis=1).sum())

    def guidance(self) -> Guidance:
        """Return what the marks tell a run: edited frames are true."""
        ids = self.object_ids
        return Guidance(
            pinned={key: self.frames_with("exemplar", key, ExemplarState.PINNED) for key in ids},
            banned={key: self.frames_with("exemplar", key, ExemplarState.BANNED) for key in ids},
            truth={key: self.frames_with("edited", key) for key in ids},
            locked={key: self.frames_with("locked", key) for key in ids},
        )

    def apply(self, edit: Edit) -> Edit:
        """Apply an edit and return the one that takes it back.

        Raises
        ------
        KeyError
            If it changes cells of an object that is not there.
        """
        undone = [self._apply_change(change) for change in edit.changes]
        names: dict[int, str | None] = {object_id: self.names.get(object_id) for object_id in edit.names}
        for object_id, name in edit.names.items():
            if name is None:
                self.names.pop(object_id, None)
            else:
                self.names[object_id] = name
        runs = None
        if edit.runs is not None:
            runs, self.runs = self.runs, edit.runs
        return Edit(edit.title, tuple(reversed(undone)), names, runs)

    def set(self, title: str, object_ids: Iterable[int], frames: Iterable[int], **values: Any) -> Edit:
        """Plan the same values for some fields of cells, such as ``locked=True`` or ``edited=True, source=...``.

        Parameters
        ----------
        title : str
            For an undo menu.
        object_ids, frames : iterable of int
            Which cells: all pairs.
        **values
            Field of :data:`CELL` to a value, or to (n,) values, one for each frame.
        """
        chosen = np.unique(np.fromiter(frames, np.int64))
        changes = []
        for object_id in object_ids:
            cells = self._rows[object_id][chosen].copy()
            for name, value in values.items():
                cells[name] = value
            changes.append(Change(object_id, cells, chosen, tuple(values)))
        return Edit(title, tuple(changes))

    def edited(self, object_ids: Iterable[int], frames: Iterable[int], present: bool | None = None) -> Edit:
        """Plan the marks of a person's stroke; its quality is unknown until the next run, and it is accepted."""
        values = {} if present is None else {"present": present}
        return self.set(
            "Edit masks",
            object_ids,
            frames,
            edited=True,
            accepted=True,
            source=Source.PERSON,
            run=0,
            before=np.nan,
            after=np.nan,
            **values,
        )

    def ran(
        self,
        parameters: Mapping[str, Any],
        object_ids: Sequence[int],
        before: np.ndarray,
        exemplars: Mapping[int, Iterable[int]],
        after: np.ndarray | None = None,
    ) -> Edit:
        """Plan what a finished run tells: its number, qualities and chosen exemplars; pins and bans stay.

        Parameters
        ----------
        parameters : mapping
            JSON-ready.
        object_ids : sequence of int
            The objects of the run, Q of them.
        before, after : ndarray
            (T, Q) float estimated quality of the masks that went in and came out.
        exemplars : mapping of int to iterable of int
            Frames that were exemplars of each object.
        """
        number = self.runs[-1].number + 1 if self.runs else 1
        changes = []
        for slot, object_id in enumerate(object_ids):
            cells = self._rows[object_id].copy() if object_id in self._rows else self._new_row(Source.IMPORTED)
            cells["before"] = before[:, slot]
            cells["after"] = np.nan if after is None else after[:, slot]
            machine = cells["exemplar"] == ExemplarState.CHOSEN
            cells["exemplar"][machine] = ExemplarState.AUTO
            chosen = np.fromiter(exemplars.get(object_id, ()), np.int64)
            free = chosen[cells["exemplar"][chosen] == ExemplarState.AUTO]
            cells["exemplar"][free] = ExemplarState.CHOSEN
            changes.append(Change(object_id, cells))
        return Edit(f"Run {number}", tuple(changes), runs=(*self.runs, Run(number, dict(parameters))))

    def taken_over(
        self,
        object_id: int,
        frames: Iterable[int],
        run: int,
        present: Mapping[int, bool] | None = None,
        accepted: bool = True,
    ) -> Edit:
        """Plan that masks of a run replaced those that were there; ``accepted`` if a person agreed with them.

        Edited and locked frames stay what they are: a run never writes them. ``present`` tells of frames
        whether the object is there now; it stays as it was in the others.
        """
        row, now = self._rows[object_id], present or {}
        chosen = np.unique(np.fromiter(frames, np.int64))
        free = chosen[~(row["edited"][chosen] | row["locked"][chosen])]
        there = row["present"][free]
        if now:
            there = [now.get(frame, bool(was)) for frame, was in zip(free.tolist(), there, strict=True)]
        return self.set("Accept", [object_id], free, source=Source.RUN, run=run, accepted=accepted, present=there)

    def rejected(self, frames: Mapping[int, np.ndarray]) -> Edit:
        """Plan that masks stay as they are, by object id: the quality of the run's masks says nothing about them."""
        of_objects = (self.set("", [object_id], stay, after=np.nan) for object_id, stay in frames.items())
        return Edit("Reject proposed masks", tuple(change for edit in of_objects for change in edit.changes))

    def added(self, object_id: int, source: Source = Source.PERSON, present: Iterable[int] = ()) -> Edit:
        """Plan a new object.

        Raises
        ------
        ValueError
            If there is one of this id.
        """
        self._check_free(object_id)
        row = self._new_row(source)
        row["present"][list(present)] = True
        return Edit(f"Add object {object_id}", (Change(object_id, row),))

    def deleted(self, object_id: int) -> Edit:
        """Plan that an object goes."""
        return Edit(f"Delete object {object_id}", (Change(object_id, None),), {object_id: None})

    def named(self, object_id: int, name: str) -> Edit:
        """Plan a name for an object; an empty one removes it."""
        return Edit(f"Name object {object_id}", names={object_id: name or None})

    def renumbered(self, object_id: int, new_id: int) -> Edit:
        """Plan another id for an object, with all its marks.

        Raises
        ------
        ValueError
            If there is an object of the new id.
        """
        self._check_free(new_id)
        changes = (Change(object_id, None), Change(new_id, self._rows[object_id].copy()))
        names = {object_id: None, new_id: self.names.get(object_id)}
        return Edit(f"Change id {object_id} to {new_id}", changes, names)

    def swapped(self, one: int, other: int, start: int) -> Edit:
        """Plan that two objects exchange their cells from a frame on."""
        frames = np.arange(start, self.frames)
        changes = (
            Change(one, self._rows[other][start:].copy(), frames),
            Change(other, self._rows[one][start:].copy(), frames),
        )
        return Edit(f"Swap {one} and {other} from frame {start}", changes)

    def merged(self, into: int, other: int, start: int = 0) -> Edit:
        """Plan that an object takes over another from a frame on; the other goes if nothing of it is left.

        Where both have pixels, marks are joined: edited only if both were, locked if one was.
        """
        kept, gone = self._rows[into][start:].copy(), self._rows[other][start:]
        only_other, both = gone["present"] & ~kept["present"], gone["present"] & kept["present"]
        kept[only_other] = gone[only_other]
        kept["edited"][both] &= gone["edited"][both]
        kept["locked"][both] |= gone["locked"][both]
        kept["accepted"][both] &= gone["accepted"][both]
        kept["before"][both] = kept["after"][both] = np.nan
        changes = [Change(into, kept, np.arange(start, self.frames))]
        names: dict[int, str | None] = {}
        if start and self._rows[other]["present"][:start].any():
            changes.append(Change(other, self._new_row(Source.PERSON)[start:], np.arange(start, self.frames)))
        else:
            changes.append(Change(other, None))
            names[other] = None
        return Edit(f"Merge {other} into {into}", tuple(changes), names)

    def split(self, object_id: int, new_id: int, frames: Iterable[int], whole: bool) -> Edit:
        """Plan a new object that gets the pixels of another, or a part of them, in some frames.

        Parameters
        ----------
        object_id, new_id : int
            Whose pixels go to whom.
        frames : iterable of int
            Where.
        whole : bool
            Whether the old object loses all its pixels there (a new identity from a frame on) or a
            part of them, after which the quality of both is unknown.

        Raises
        ------
        ValueError
            If there is an object of the new id.
        """
        self._check_free(new_id)
        chosen = np.unique(np.fromiter(frames, np.int64))
        old, new = self._rows[object_id][chosen].copy(), self._new_row(Source.PERSON)
        if not whole:
            old["before"] = old["after"] = np.nan
        new[chosen] = old
        if whole:
            old = self._new_row(Source.PERSON)[chosen]
        return Edit(f"Split {object_id}", (Change(object_id, old, chosen), Change(new_id, new)))

    def to_arrays(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return plain arrays and JSON-ready objects that hold the table.

        Returns
        -------
        arrays : dict of str to ndarray
            One (T, Q) array for each field of :data:`CELL`, columns in the order of ``objects``.
        facts : dict
            ``frames``, ``objects``, ``names`` and ``runs``.
        """
        facts = {
            "frames": self.frames,
            "objects": self.object_ids,
            "names": {str(object_id): name for object_id, name in self.names.items()},
            "runs": [asdict(run) for run in self.runs],
        }
        return {name: self.column(name) for name in CELL.names or ()}, facts

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> ReviewTable:
        """Return the table that :meth:`to_arrays` stored.

        Raises
        ------
        ValueError, KeyError
            If arrays and facts do not belong together.
        """
        table = cls(int(facts["frames"]))
        table.names = {int(object_id): str(name) for object_id, name in facts["names"].items()}
        table.runs = tuple(Run(int(run["number"]), dict(run["parameters"])) for run in facts["runs"])
        ids = [int(object_id) for object_id in facts["objects"]]
        rows = np.zeros((len(ids), table.frames), CELL)
        for name in CELL.names or ():
            if arrays[name].shape != (table.frames, len(ids)):
                raise ValueError(f"{name} is {arrays[name].shape}, not {(table.frames, len(ids))}")
            rows[name] = arrays[name].T
        table._rows = dict(zip(ids, rows, strict=True))
        return table

    @classmethod
    def of_masks(cls, frames: int, areas: Mapping[int, np.ndarray], source: Source) -> ReviewTable:
        """Return the table of masks that were just loaded or computed.

        Parameters
        ----------
        frames : int
            Frames of the clip.
        areas : mapping of int to ndarray
            Object id to (T,) areas in pixels, from :func:`core.labels.object_areas`.
        source : Source
            Where the masks come from.
        """
        table = cls(frames)
        for object_id, area in areas.items():
            table.apply(table.added(object_id, source, np.flatnonzero(area)))
        return table

    def _apply_change(self, change: Change) -> Change:
        before = self._rows.get(change.object_id)
        if change.frames is None:
            if change.cells is None:
                del self._rows[change.object_id]
            else:
                self._rows[change.object_id] = change.cells.copy()
            return Change(change.object_id, before)
        if before is None:
            raise KeyError(change.object_id)
        undone = Change(change.object_id, before[change.frames].copy(), change.frames, change.fields)
        assert change.cells is not None
        for name in CELL.names or () if change.fields is None else change.fields:
            before[name][change.frames] = change.cells[name]
        return undone

    def _new_row(self, source: Source) -> np.ndarray:
        row = np.zeros(self.frames, CELL)
        row["before"] = row["after"] = np.nan
        row["source"] = source
        return row

    def _check_free(self, object_id: int) -> None:
        if object_id in self._rows:
            raise ValueError(f"there is an object {object_id} already")
