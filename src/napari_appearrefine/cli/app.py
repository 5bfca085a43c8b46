"""The commands and their options; the work is in :mod:`cli.jobs` and :mod:`demo`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..core.parameters import FlowMaskParameters, RefineParameters
from . import options
from .errors import plain_errors
from .published import published
from .weights import weights_app

app = typer.Typer(
    name="napari-appearrefine",
    help="Find the good masks of a video by themselves, and repair the bad ones by appearance.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-appearrefine {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None: ...


@app.command("demo")
@plain_errors()
def _demo(
    headless: Annotated[bool, typer.Option("--headless", help="Write files instead of opening napari.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            parser=options.given_path,
            metavar="DIR",
            help="Folder for masks, report and overlay picture; ./napari-appearrefine-demo when headless.",
        ),
    ] = None,
) -> None:
    """Find, judge and repair the masks of the included sample clip."""
    from .jobs import run_demo

    run_demo(headless, output)


@app.command("flow-masks")
@plain_errors()
@options.for_each_setting
def _flow_masks(
    video: options.Video,
    output: options.MaskFolder,
    parameters: Annotated[
        FlowMaskParameters, options.Only("objects", "model", "checkpoint", "flow", "flow_root", "device")
    ],
    amodal: Annotated[
        Path | None,
        typer.Option(
            parser=options.given_path,
            metavar="DIR",
            help="Also write the whole shape of each object, hidden parts included, here.",
        ),
    ] = None,
    report: options.ReportFile = None,
) -> None:
    """Compute masks of the moving objects of a video."""
    from .jobs import make_flow_masks

    frames = make_flow_masks(video, output, replace(parameters, amodal=amodal is not None), report, amodal)
    typer.echo(f"{frames} masks in {output}")


@app.command("refine")
@plain_errors()
@options.for_each_setting
def _refine(
    video: options.Video,
    masks: options.Masks,
    output: options.MaskFolder,
    parameters: RefineParameters,
    report: options.ReportFile = None,
) -> None:
    """Choose the good masks of a video and repair the others from them."""
    from .jobs import refine_masks

    frames = refine_masks(video, masks, output, parameters, report)
    typer.echo(f"{frames} refined masks in {output}")


@app.command("run")
@plain_errors()
@options.for_each_setting
def _run(
    video: options.Video,
    output: options.MaskFolder,
    *,
    flow_model: options.FlowModel = FlowMaskParameters.model,
    flow_parameters: Annotated[FlowMaskParameters, options.Only("objects", "checkpoint", "flow", "flow_root")],
    flow_masks_out: Annotated[
        Path | None,
        typer.Option(parser=options.given_path, metavar="DIR", help="Keep the masks from motion in this folder."),
    ] = None,
    parameters: RefineParameters,
    report: options.ReportFile = None,
) -> None:
    """Compute masks from motion, then refine them."""
    from .jobs import run_both

    flow_parameters = replace(flow_parameters, model=flow_model, device=parameters.device)
    frames = run_both(video, output, flow_parameters, parameters, report, flow_masks_out)
    typer.echo(f"{frames} refined masks in {output}")


@app.command("evaluate")
@plain_errors()
def _evaluate(
    truth: Annotated[
        Path,
        typer.Option(
            parser=options.given_path, metavar="DIR", help="True masks: one clip's folder, or a folder of clips."
        ),
    ],
    prediction: Annotated[
        Path, typer.Option(parser=options.given_path, metavar="DIR", help="Masks to measure, named as the true ones.")
    ],
    task: Annotated[
        str,
        typer.Option(
            metavar="unsupervised|semi-supervised",
            help="Unsupervised matches objects and counts all frames; semi-supervised takes ids as they are and "
            "leaves the first and last frame out.",
        ),
    ] = "unsupervised",
    json: options.FiguresFile = None,
) -> None:
    """Measure masks against the truth as the DAVIS-2017 benchmark does: J, F and their mean."""
    from .jobs import evaluate_masks

    typer.echo(evaluate_masks(truth, prediction, task, json))


@app.command("simulate")
@plain_errors()
@options.for_each_setting
def _simulate(
    video: options.Video,
    masks: options.Masks,
    *,
    truth: Annotated[
        Path,
        typer.Option(
            parser=options.given_path, metavar="TRUTH", help="True masks of the video, in any format that masks have."
        ),
    ],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="suggested|uniform|random|worst",
            help="How the next frame is chosen: as the plugin suggests (default), evenly spaced, at random, or the "
            "truly worst one. May be given several times.",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How many frames are corrected, one after the other.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the random policy.")] = 0,
    parameters: Annotated[
        RefineParameters,
        options.Only("model", "selector_checkpoint", "corrector_checkpoint", "dino8", "dino16", "exemplars", "device"),
    ],
    json: options.FiguresFile = None,
) -> None:
    """Simulate an annotator who corrects frames, and measure what each correction brings to the whole clip."""
    from .simulation import simulate_annotator

    policies = policy or ["suggested"]
    typer.echo(simulate_annotator(video, masks, truth, parameters, policies, rounds=rounds, seed=seed, json_file=json))


@app.command("train")
@plain_errors()
def _train(
    photos: Annotated[
        Path,
        typer.Option(
            parser=options.given_path,
            metavar="DIR",
            help="Photographs (JPEG), some with the outlines of their objects.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            parser=options.given_path,
            metavar="DIR",
            help="Folder for scenes, checkpoints and the weights.",
        ),
    ],
    part: Annotated[str, typer.Argument(metavar="motion|matching|all", help="Which network to train.")] = "all",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each network; as packaged by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other training data.")] = 0,
    scenes: Annotated[float, typer.Option(min=0, max=1, help="Share of the scenes; less for a quick trial.")] = 1.0,
    device: options.Device = RefineParameters.device,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run stopped.")] = False,
) -> None:
    """Train the built-in networks on scenes made of photographs."""
    from .jobs import train

    typer.echo(train(part, photos, output, device, steps=steps, seed=seed, share=scenes, resume=resume))


app.command("published")(published)
app.add_typer(weights_app)
