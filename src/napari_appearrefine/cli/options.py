"""The arguments and options of the commands; help and choices come from :mod:`core.parameters`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, cast, get_args, get_type_hints

import typer

from ..core.parameters import FLOW_MODELS, RefineParameters


class Only:
    """Says in the annotation of a command's settings which of them have an option there, and in which order."""

    def __init__(self, *names: str) -> None:
        self.names = names


def for_each_setting(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that takes whole :mod:`core.parameters` have one option for each of their settings.

    Parameters
    ----------
    command : callable
        An argument annotated with a class of settings, or with that class and :class:`Only`, stands for options
        with the names, defaults and help of its settings. Its other arguments stay as they are.

    Raises
    ------
    UserError
        By the returned command, if a setting is outside its limits.
    """
    shown: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, Sequence[str]]] = {}
    signature = inspect.signature(command, eval_str=True)
    for argument in signature.parameters.values():
        settings, *details = get_args(argument.annotation) or (argument.annotation,)
        if is_dataclass(settings):
            names = details[0].names if details else [setting.name for setting in fields(settings)]
            groups[argument.name] = (cast(type, settings), names)
            shown += [_parameter(settings, name) for name in names]
        else:
            shown.append(argument.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def with_options(**given: Any) -> None:
        for argument, (settings, names) in groups.items():
            given[argument] = settings(**{name: given.pop(name) for name in names})
        command(**given)

    cast(Any, with_options).__signature__ = signature.replace(parameters=shown)
    return with_options


def _parameter(settings: Any, name: str) -> inspect.Parameter:
    annotation: Any = Annotated[get_type_hints(settings)[name], _option(settings, name)]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=getattr(settings, name), annotation=annotation
    )


def _option(settings: Any, name: str) -> Any:
    setting = next(setting for setting in fields(settings) if setting.name == name)
    choices = setting.metadata.get("choices")
    path = ("DIR" if "folder" in setting.metadata else "FILE") if "Path" in str(setting.type) else None
    metavar = "|".join(choices) if choices else path or (None if setting.type == "bool" else "N")
    return typer.Option(help=setting.metadata["help"], metavar=metavar, parser=given_path if path else None)


def _check_flow_model(model: str) -> str:
    # The parameters know this setting as --model and would name that in their message.
    if model not in FLOW_MODELS:
        raise typer.BadParameter(f"{model!r}; choose one of {', '.join(FLOW_MODELS)}.")
    return model


def given_path(text: str) -> Path:
    """Return the path; a ``~`` that the shell left, as in ``--output=~/masks``, is the person's own folder.

    An empty one, as of a shell's variable that is not set, would be the current folder.

    Raises
    ------
    typer.BadParameter
        If it is empty.
    """
    if not text:
        raise typer.BadParameter("the path is empty; name a file or a folder.")
    return Path(os.path.expanduser(text))


Video = Annotated[
    Path,
    typer.Argument(
        parser=given_path,
        metavar="VIDEO",
        help="A video file, a folder of numbered images, a TIFF stack or a .npy.",
        show_default=False,
    ),
]
MaskFolder = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        parser=given_path,
        metavar="OUT",
        help="Folder for the masks, one indexed PNG a frame.",
        show_default=False,
    ),
]
Masks = Annotated[
    Path,
    typer.Option(
        "--masks",
        parser=given_path,
        metavar="MASKS",
        help="A folder of PNG, a TIFF stack, a .npy or .npz.",
        show_default=False,
    ),
]
ReportFile = Annotated[
    Path | None,
    typer.Option(
        "--report",
        parser=given_path,
        metavar="FILE.json",
        help="Write scores, exemplars and times to this file.",
    ),
]
FiguresFile = Annotated[
    Path | None, typer.Option(parser=given_path, metavar="FILE", help="Write all figures to this file.")
]

Device = Annotated[str, _option(RefineParameters, "device")]
Precision = Annotated[str, _option(RefineParameters, "precision")]
FlowModel = Annotated[
    str,
    typer.Option(
        "--flow-model",
        help="The network that turns motion into masks.",
        metavar="|".join(FLOW_MODELS),
        callback=_check_flow_model,
    ),
]
