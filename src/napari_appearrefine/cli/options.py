"""The arguments and options of the commands; help and choices come from :mod:`core.parameters`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.parameters import FLOW_MODELS, FlowMaskParameters, RefineParameters


def _option(parameters: type, name: str, *flags: str) -> Any:
    setting = next(setting for setting in fields(parameters) if setting.name == name)
    choices = setting.metadata.get("choices")
    is_file = "Path" in str(setting.type)
    return typer.Option(
        *(flags or ("--" + name.replace("_", "-"),)),
        help=setting.metadata["help"],
        metavar="|".join(choices) if choices else "PATH" if is_file else None if setting.type == "bool" else "N",
    )


def _check_flow_model(model: str) -> str:
    # The parameters know this setting as --model and would name that in their message.
    if model not in FLOW_MODELS:
        raise typer.BadParameter(f"{model!r}; choose one of {', '.join(FLOW_MODELS)}.")
    return model


Video = Annotated[
    Path,
    typer.Argument(
        metavar="VIDEO", help="A video file, a folder of numbered images, a TIFF stack or a .npy.", show_default=False
    ),
]
MaskFolder = Annotated[
    Path,
    typer.Option(
        "-o", "--output", metavar="OUT", help="Folder for the masks, one indexed PNG a frame.", show_default=False
    ),
]
Masks = Annotated[
    Path,
    typer.Option("--masks", metavar="MASKS", help="A folder of PNG, a TIFF stack, a .npy or .npz.", show_default=False),
]
ReportFile = Annotated[
    Path | None, typer.Option("--report", metavar="FILE.json", help="Write scores, exemplars and times to this file.")
]

Model = Annotated[str, _option(RefineParameters, "model")]
Edges = Annotated[str, _option(RefineParameters, "edges")]
SamCheckpoint = Annotated[Path | None, _option(RefineParameters, "sam_checkpoint")]
Corrector = Annotated[str, _option(RefineParameters, "corrector")]
Exemplars = Annotated[int, _option(RefineParameters, "exemplars")]
Rounds = Annotated[int, _option(RefineParameters, "rounds")]
Device = Annotated[str, _option(RefineParameters, "device")]
SelectorCheckpoint = Annotated[Path | None, _option(RefineParameters, "selector_checkpoint")]
CorrectorCheckpoint = Annotated[Path | None, _option(RefineParameters, "corrector_checkpoint")]
Dino8 = Annotated[Path | None, _option(RefineParameters, "dino8")]
Dino16 = Annotated[Path | None, _option(RefineParameters, "dino16")]
Precision = Annotated[str, _option(RefineParameters, "precision")]
MemoryLimit = Annotated[int | None, _option(RefineParameters, "memory_limit")]
Cache = Annotated[bool, _option(RefineParameters, "cache", "--cache/--no-cache")]
CacheDir = Annotated[Path | None, _option(RefineParameters, "cache_dir")]

FlowModel = Annotated[str, _option(FlowMaskParameters, "model")]
RunFlowModel = Annotated[
    str,
    typer.Option(
        "--flow-model",
        help="The network that turns motion into masks.",
        metavar="|".join(FLOW_MODELS),
        callback=_check_flow_model,
    ),
]
Objects = Annotated[int | None, _option(FlowMaskParameters, "objects")]
FlowCheckpoint = Annotated[Path | None, _option(FlowMaskParameters, "checkpoint")]
Flow = Annotated[str, _option(FlowMaskParameters, "flow")]
FlowRoot = Annotated[Path | None, _option(FlowMaskParameters, "flow_root")]
