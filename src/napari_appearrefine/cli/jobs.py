"""What the commands do: masks from motion, refinement, and one after the other."""

from __future__ import annotations

from pathlib import Path

import typer

from ..core.clip import Clip, FrameSource
from ..core.errors import UserError
from ..core.events import Report
from ..core.labels import check_masks, ids_in_some_frames
from ..core.parameters import FlowMaskParameters, RefineParameters
from ..files.masks import open_masks
from ..files.video import open_video
from .output import (
    check_file,
    check_folder,
    check_is_not_around,
    check_other_folder,
    check_plain_folder,
    kept_or_temporary,
    write_frames,
    write_report,
)
from .progress import ProgressDisplay
from .whole_shapes import WholeShapesWriter

DEMO_FOLDER = "napari-appearrefine-demo"


def make_flow_masks(
    video: Path, out: Path, parameters: FlowMaskParameters, report_file: Path | None, whole_out: Path | None = None
) -> int:
    """Compute masks from motion and write them to a folder.

    Parameters
    ----------
    whole_out : Path or None
        Where the whole shapes of objects go, if they are asked for.

    Returns
    -------
    int
        Frames written.

    Raises
    ------
    UserError
        If the video, a setting or the folder cannot be used; nothing is written then.
    """
    check_flow_settings(parameters)
    clip = open_video(video)
    give_notice(clip)
    inputs = _given(video, parameters.flow_root, parameters.checkpoint)
    check_folder(out, clip, inputs)
    check_file(report_file, inputs, "--report")
    shapes = None
    if whole_out is not None:
        check_other_folder(whole_out, [*inputs, out], "--amodal")
        check_is_not_around(whole_out, [*inputs, out], "--amodal")
        shapes = WholeShapesWriter(whole_out, clip)
    with ProgressDisplay() as display:
        report = _write_flow_masks(clip, out, parameters, display, shapes)
    if shapes is not None:
        shapes.finish()
    _write_run_report(report, report_file)
    return len(clip)


def refine_masks(video: Path, masks: Path, out: Path, parameters: RefineParameters, report_file: Path | None) -> int:
    """Refine given masks and write the result to a folder.

    Returns
    -------
    int
        Frames written.

    Raises
    ------
    UserError
        If the video, the masks, a setting or the folder cannot be used; nothing is written then.
    """
    from ..engine.refinement import refine

    check_refine_settings(parameters)
    clip = open_video(video)
    give_notice(clip)
    source = open_masks(masks, clip)
    check_masks(source, clip, str(masks))
    inputs = _given(video, masks, *_checkpoints(parameters))
    check_folder(out, clip, inputs)
    check_file(report_file, inputs, "--report")
    _say_what_it_takes(clip, source, str(masks), parameters)
    with ProgressDisplay() as display:
        report = write_frames(refine(clip, source, parameters, masks_name=str(masks)), out, clip, display)
    _write_run_report(report, report_file)
    return len(clip)


def run_both(
    video: Path,
    out: Path,
    flow_parameters: FlowMaskParameters,
    parameters: RefineParameters,
    report_file: Path | None,
    flow_masks_out: Path | None,
) -> int:
    """Compute masks from motion, refine them and write the result to a folder.

    Parameters
    ----------
    flow_masks_out : Path or None
        Where the masks from motion are kept; a temporary folder that is removed when not given.

    Returns
    -------
    int
        Frames written.

    Raises
    ------
    UserError
        If the video, a setting or a folder cannot be used; nothing is written then.
    """
    from ..engine.refinement import load_model, refine

    check_flow_settings(flow_parameters)
    check_refine_settings(parameters)
    clip = open_video(video)
    give_notice(clip)
    inputs = _given(video, flow_parameters.flow_root, flow_parameters.checkpoint, *_checkpoints(parameters))
    check_folder(out, clip, inputs)
    check_file(report_file, inputs, "--report")
    if flow_masks_out is not None:
        check_folder(flow_masks_out, clip, [*inputs, out], "--flow-masks-out")
    # Loaded before the long first stage, so that a wrong checkpoint is known at once.
    model = load_model(parameters)
    with ProgressDisplay() as display, kept_or_temporary(flow_masks_out) as folder:
        _write_flow_masks(clip, folder, flow_parameters, display)
        source = open_masks(folder, clip)
        _say_what_it_takes(clip, source, "the flow masks", parameters)
        events = refine(clip, source, parameters, model=model, masks_name="the flow masks")
        report = write_frames(events, out, clip, display)
    _write_run_report(report, report_file)
    return len(clip)


def evaluate_masks(truth: Path, prediction: Path, task: str, json_file: Path | None) -> str:
    """Measure masks against the truth.

    Returns
    -------
    str
        A table of all figures.

    Raises
    ------
    UserError
        If the folders do not belong together, or the JSON file cannot be written.
    """
    from ..evaluation.davis import evaluate_folders

    check_file(json_file, [truth, prediction], "--json")
    result = evaluate_folders(truth, prediction, task)
    write_report(json_file, result.to_json())
    return result.to_table()


def train(
    part: str, photos: Path, folder: Path, device: str, *, steps: int | None, seed: int, share: float, resume: bool
) -> str:
    """Train the built-in model and say where the result is.

    Raises
    ------
    UserError
        If the photographs, the folder or the device cannot be used.
    """
    from ..engine.builtin_weights import WEIGHTS_FILE
    from ..engine.device import pick_device
    from ..training.session import train_builtin

    check_plain_folder(folder, "-o")
    if not photos.is_dir():
        raise UserError(f"--photos {photos} is not a folder; give one with photographs.")
    if not resume and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"-o {folder} is not empty; choose another folder, or go on from it with --resume.")
    with ProgressDisplay() as display:
        for progress in train_builtin(
            part, photos, folder, pick_device(device), steps=steps, seed=seed, share=share, resume=resume
        ):
            display.show(progress)
    weights = folder / WEIGHTS_FILE.name
    return f"Weights in {weights}" if weights.exists() else f"Trained {part}; its checkpoints are in {folder}"


def run_demo(headless: bool, folder: Path | None) -> None:
    """Run the demo and show it in napari, or write it to files where no window can open.

    Parameters
    ----------
    headless : bool
        Write files even if there is a display.
    folder : Path or None
        Where to write; with a display nothing is written unless it is given.

    Raises
    ------
    UserError
        If the folder cannot be written to, or the sample clip is missing.
    """
    from ..demo import SAMPLE, can_open_windows, compute_demo, write_demo

    in_window = not headless and can_open_windows()
    if folder is None and not in_window:
        folder = Path(DEMO_FOLDER)
    if folder is not None:
        check_plain_folder(folder, "-o")
    with ProgressDisplay() as display:
        result = compute_demo(display.show)
    typer.echo(f"Mean J against the exact truth: {result.j_before:.3f} from motion, {result.j_after:.3f} refined")
    if folder is not None:
        for path in write_demo(result, folder):
            typer.echo(f"Written: {path.resolve()}")
    if in_window:
        from ..plugin.demo_window import show_demo

        typer.echo("Opening napari; close its window to finish")
        show_demo(result, SAMPLE)


def check_flow_settings(parameters: FlowMaskParameters) -> None:
    """Refuse settings that would silently do nothing.

    Raises
    ------
    UserError
        If something that only OCLR uses is given to the built-in model, or flow is both given and to be measured.
    """
    if parameters.model == "builtin" and parameters.checkpoint is not None:
        raise UserError(f"--checkpoint {parameters.checkpoint} is for OCLR; choose the model oclr as well.")
    if parameters.flow_root is not None and parameters.flow != FlowMaskParameters.flow:
        raise UserError(
            f"--flow {parameters.flow} would not be used, because {parameters.flow_root} gives the flow; leave one out."
        )


def check_refine_settings(parameters: RefineParameters) -> None:
    """Refuse settings that would silently do nothing.

    Raises
    ------
    UserError
        If a checkpoint is given to the built-in model.
    """
    given = _checkpoints(parameters)
    if parameters.corrector == "propagate" and parameters.dino8 is not None:
        given.remove(parameters.dino8)  # of use without the published networks: to carry masks along by
    if parameters.model == "builtin" and given:
        raise UserError(f"{given[0]} is a checkpoint of the published networks; add --model published.")
    if parameters.edges != "sam" and parameters.sam_checkpoint is not None:
        raise UserError(f"--sam-checkpoint {parameters.sam_checkpoint} is for SAM; add --edges sam.")


def give_notice(clip: Clip) -> None:
    """Say on stderr if frames of a video are missing."""
    if clip.notice:
        typer.echo(f"Note: {clip.name}: {clip.notice}.", err=True)


def _checkpoints(parameters: RefineParameters) -> list[Path]:
    return _given(parameters.selector_checkpoint, parameters.corrector_checkpoint, parameters.dino8, parameters.dino16)


def _given(*paths: Path | None) -> list[Path]:
    return [path for path in paths if path is not None]


def _write_flow_masks(
    clip: Clip,
    folder: Path,
    parameters: FlowMaskParameters,
    display: ProgressDisplay,
    shapes: WholeShapesWriter | None = None,
) -> Report | None:
    from ..engine.expectation import expected_flow_masks
    from ..engine.flow_masks import flow_masks

    typer.echo(expected_flow_masks(clip, parameters), err=True)
    return write_frames(flow_masks(clip, parameters), folder, clip, display, shapes.write if shapes else None)


def _say_what_it_takes(clip: Clip, masks: FrameSource, name: str, parameters: RefineParameters) -> None:
    from ..engine.expectation import expected_refinement

    typer.echo(expected_refinement(clip, len(ids_in_some_frames(masks, name)), parameters), err=True)


def _write_run_report(report: Report | None, file: Path | None) -> None:
    if report is not None:
        write_report(file, report.to_json())
