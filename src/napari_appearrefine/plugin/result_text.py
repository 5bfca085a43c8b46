"""What a run did, in words for the person who pressed the button."""

from __future__ import annotations

from collections.abc import Sequence

from .controller import RunResult, Task

_FRAMES_NAMED = 10
_OBJECTS_NAMED = 6


def describe(result: RunResult) -> str:
    """Describe a run in a few sentences of plain text, one a line."""
    if result.undone:
        return "Stopped, because the run was undone. Redo brings back the frames that were finished."
    if result.layer is None:
        return "Cancelled. Nothing was changed." if result.cancelled else "No frame was computed. Nothing was changed."
    lines = [_headline(result), *_examples(result)]
    if result.report is not None:
        lines += result.report.details.get("notices", [])
    if result.kept:
        lines.append(f"Your own edits during the run were kept in {_frames(result.kept)}.")
    return "\n".join(lines)


def _headline(result: RunResult) -> str:
    assert result.layer is not None
    verb = {Task.REFINE: "Refined", Task.PROPOSE: "Judged", Task.FIND_MASKS: "Found masks in"}[result.task]
    if result.cancelled:
        return f"Cancelled. The {len(result.finished)} finished frames of {result.frames} are in “{result.layer.name}”."
    seconds = "" if result.report is None else f" in {_duration(result.report.seconds)}"
    if result.task is Task.PROPOSE:
        return f"{verb} {len(result.finished)} frames{seconds}."
    return f"{verb} {len(result.finished)} frames{seconds}. The result is “{result.layer.name}”."


def _examples(result: RunResult) -> list[str]:
    if result.report is None or result.task is not Task.REFINE:
        return []
    chosen = list(result.report.exemplars.items())
    lines = [
        f"Object {object_id} was learned from {_frames(frames)}, where its mask looked best."
        if frames
        else f"Object {object_id} had no mask to learn from."
        for object_id, frames in chosen[:_OBJECTS_NAMED]
    ]
    if len(chosen) > _OBJECTS_NAMED:
        lines.append(f"And so on for {len(chosen) - _OBJECTS_NAMED} more objects.")
    return lines


def _frames(frames: Sequence[int]) -> str:
    named = ", ".join(str(frame) for frame in frames[:_FRAMES_NAMED])
    rest = len(frames) - _FRAMES_NAMED
    return f"frame {named}" if len(frames) == 1 else f"frames {named}" + (f" and {rest} more" if rest > 0 else "")


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
