"""The command `published`: the released program's flags, under their own names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import UserError
from ..core.parameters import RefineParameters
from ..files.released_layout import DATASETS
from . import options
from .errors import plain_errors
from .published_job import RELEASED_QUERIES, PublishedSettings, run_published


def _folder(flag: str, help: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        flag, parser=options.given_path, metavar="DIR", help=help, show_default=False
    )
    return option


def _checkpoint(flag: str, other_name: str, what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        flag,
        other_name,
        parser=options.given_path,
        metavar="FILE",
        help=f"{what}; the stored one if not given (see weights).",
        show_default=False,
    )
    return option


@contextmanager
def _flags_as_released() -> Iterator[None]:
    """Let messages call the checkpoints' flags what the released program calls them."""
    try:
        yield
    except UserError as error:
        message = str(error)
        for part in ("selector", "corrector"):
            message = message.replace(f"--{part}-checkpoint", f"--ckpt_{part}")
        raise UserError(message) from error


@plain_errors()
@_flags_as_released()
@options.for_each_setting
def published(
    img_dir: Annotated[Path, _folder("--img_dir", "Frames: one folder of images for each clip.")],
    mask_dir: Annotated[Path, _folder("--mask_dir", "Masks to refine: one folder for each clip.")],
    save_dir: Annotated[Path, _folder("--save_dir", "Results go into DIR/<dataset>_<prefix>.")],
    *,
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="|".join(DATASETS), help="Which clips; folder: all of --img_dir.")
    ] = "DAVIS17m",
    ckpt_selector: Annotated[
        Path | None, _checkpoint("--ckpt_selector", "--selector-checkpoint", "The selector's checkpoint")
    ] = None,
    ckpt_corrector: Annotated[
        Path | None, _checkpoint("--ckpt_corrector", "--corrector-checkpoint", "The corrector's checkpoint")
    ] = None,
    gt_dir: Annotated[
        Path | None, _folder("--gt_dir", "True masks: they set the size of the results, and are measured against.")
    ] = None,
    save_pred: Annotated[bool, typer.Option("--save_pred", help="Write the masks and maps of regions.")] = False,
    save_prefix: Annotated[str, typer.Option("--save_prefix", help="Second part of the result folder's name.")] = "",
    num_global_frames: Annotated[
        int, typer.Option("--num_global_frames", min=1, max=50, help="Exemplars of each object.")
    ] = 10,
    num_local_frames: Annotated[
        int, typer.Option("--num_local_frames", min=2, max=50, help="Frames that are corrected together.")
    ] = 7,
    num_queries: Annotated[
        int, typer.Option("--num_queries", help="Objects that are treated together; 3 as in the checkpoints.")
    ] = RELEASED_QUERIES,
    sequences: Annotated[
        Path | None,
        typer.Option(
            "--sequences", parser=options.given_path, metavar="FILE.json", help="A list of other clips' names."
        ),
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Do not split clips of YTVOS18m from 100 frames on.")] = False,
    parameters: Annotated[
        RefineParameters, options.Only("dino8", "dino16", "corrector", "edges", "sam_checkpoint", "device")
    ],
    precision: options.Precision = "float32",
) -> None:
    """Run the published system on a data set, with the released program's flags, folders and file names."""
    parameters = replace(
        parameters,
        model="published",
        exemplars=num_global_frames,
        precision=precision,
        selector_checkpoint=ckpt_selector,
        corrector_checkpoint=ckpt_corrector,
    )
    run_published(
        PublishedSettings(
            dataset=dataset,
            images=img_dir,
            masks=mask_dir,
            truth=gt_dir,
            save_dir=save_dir,
            save_masks=save_pred,
            prefix=save_prefix,
            window=num_local_frames,
            queries=num_queries,
            sequences=sequences,
            whole=whole,
            refinement=parameters,
        )
    )
