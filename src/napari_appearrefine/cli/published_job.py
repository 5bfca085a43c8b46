"""What `published` does: every clip of a data set through the published networks, into the released folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from .. import __version__
from ..core.errors import UserError
from ..core.events import Progress, Report
from ..core.parameters import RefineParameters
from ..files.atomic import explained_write_errors
from ..files.masks import MaskFolderWriter, open_masks
from ..files.released_layout import ReleasedClip, ResultFolders, clip_names, open_released_clip
from .jobs import check_refine_settings, give_notice
from .output import check_plain_folder, kept_or_temporary, write_report
from .progress import ProgressDisplay

if TYPE_CHECKING:
    from ..engine.published import CorrectedFrame, PublishedModel
    from ..evaluation.results import ClipResult

RELEASED_QUERIES = 3
_IDS_OF_REGIONS = range(1, 8)


@dataclass(frozen=True)
class PublishedSettings:
    """The flags of the released program, and those added to them.

    Parameters
    ----------
    dataset : str
        DAVIS17m, YTVOS18m or folder.
    images, masks : Path
        Folders with one folder for each clip.
    truth : Path or None
        The same of true masks.
    save_dir : Path
        Where results go.
    save_masks : bool
        Whether masks are kept, or only measured against the truth.
    prefix : str
        Second part of the result folder's name.
    window : int
        Frames that are corrected together.
    queries : int
        Objects that the networks treat together.
    sequences : Path or None
        JSON list of the clips.
    whole : bool
        Whether long clips of YTVOS18m are kept in one piece.
    refinement : RefineParameters
        Checkpoints, exemplars and device.
    """

    dataset: str
    images: Path
    masks: Path
    truth: Path | None
    save_dir: Path
    save_masks: bool
    prefix: str
    window: int
    queries: int
    sequences: Path | None
    whole: bool
    refinement: RefineParameters


def run_published(settings: PublishedSettings) -> None:
    """Refine every clip, say how each went, and measure it where there is a truth.

    Raises
    ------
    UserError
        If nothing can be done at all, or, after all others are done, if a clip had to be left out.
    """
    _check(settings)
    names = clip_names(settings.dataset, settings.images, settings.sequences)
    folders = ResultFolders(settings.save_dir / f"{settings.dataset}_{settings.prefix}", settings.dataset)
    check_plain_folder(folders.root, "--save_dir")
    run = _Run(settings, folders)
    failed: list[str] = []
    with ProgressDisplay() as display, kept_or_temporary(folders.root if settings.save_masks else None) as root:
        results = ResultFolders(root, settings.dataset)
        for number, name in enumerate(names, start=1):
            typer.echo(f"{name} ({number} of {len(names)})", err=True)
            try:
                run.refine(name, results, display)
            except UserError as error:
                failed.append(name)
                typer.echo(f"Error: {name}: {error}", err=True)
    run.write_evaluation()
    if failed:
        raise UserError(
            f"{len(failed)} of {len(names)} clips could not be refined or measured ({', '.join(failed)}), for the "
            "reasons above; the others are done: put it right and run the same command again."
        )


class _Run:
    def __init__(self, settings: PublishedSettings, folders: ResultFolders) -> None:
        from ..engine.device import pick_device
        from ..engine.published import PublishedModel
        from ..engine.refinement import with_other_repair
        from ..engine.weights_store import checkpoint_paths, file_sha256

        self._settings = settings
        self._folders = folders
        parameters = settings.refinement
        device = pick_device(parameters.device)
        self._model: PublishedModel = PublishedModel.load(parameters, device, settings.window)
        repair = with_other_repair(self._model, parameters, device)
        self._repair = None if repair is self._model else repair
        used = [*checkpoint_paths(parameters), *([parameters.sam_checkpoint] if parameters.sam_checkpoint else [])]
        self._weights = [file_sha256(path) for path in used]
        self._measured: list[ClipResult] = []

    def refine(self, name: str, results: ResultFolders, display: ProgressDisplay) -> None:
        """Refine one clip, unless an earlier run has, and measure it."""
        settings = self._settings
        opened = open_released_clip(name, settings.images, settings.masks, settings.truth)
        give_notice(opened.clip)
        identity = self._identity(opened)
        if results.are_complete(name, opened.clip.frame_names) and _identity_in(results.report(name)) == identity:
            typer.echo(f"{name}: done before, kept", err=True)
        else:
            self._compute(name, opened, results, display, identity)
        if opened.truth is not None:
            self._measure(name, opened.truth, results)

    def write_evaluation(self) -> None:
        """Print the mean over all clips, and write all figures."""
        if not self._measured:
            return
        from ..evaluation.results import EvaluationResult

        result = EvaluationResult("unsupervised", self._measured)
        typer.echo(f"mean: J {result.J:.3f}, F {result.F:.3f}, J&F {result.JF:.3f} ({len(result.objects)} objects)")
        file = self._folders.root / "evaluation.json"
        write_report(file, result.to_json())
        typer.echo(f"Figures in {file}")

    def _compute(
        self, name: str, opened: ReleasedClip, results: ResultFolders, display: ProgressDisplay, identity: str
    ) -> None:
        from ..engine.released_run import refine_as_released, released_parts

        clip, settings = opened.clip, self._settings
        split = settings.dataset == "YTVOS18m" and not settings.whole
        events = refine_as_released(
            clip,
            opened.masks,
            self._model,
            exemplars=settings.refinement.exemplars,
            size=opened.size,
            parts=released_parts(len(clip)) if split else [range(len(clip))],
            masks_name=str(settings.masks / name),
            repair=self._repair,
        )
        report_file = results.report(name)
        with explained_write_errors(report_file):
            report_file.unlink(missing_ok=True)
        write: Callable[[CorrectedFrame], None] | None = None
        with closing(cast(Any, events)):
            for event in events:
                if isinstance(event, Progress):
                    display.show(event)
                elif isinstance(event, Report):
                    write_report(report_file, {**event.to_json(), "identity": identity})
                else:
                    # Folders are made with the first frame: a clip that fails before leaves nothing behind.
                    write = write or _writer_of(name, opened, results)
                    write(event)
        if settings.save_masks:
            typer.echo(f"{name}: {len(clip)} masks in {results.masks(name)}")

    def _measure(self, name: str, truth: Path, results: ResultFolders) -> None:
        from ..evaluation.davis import evaluate_clip

        prediction = results.masks(name)
        result = evaluate_clip(
            open_masks(truth), open_masks(prediction), "unsupervised", name, str(truth), str(prediction)
        )
        self._measured.append(result)
        typer.echo(f"{name}: J {result.J:.3f}, F {result.F:.3f}, J&F {result.JF:.3f}")

    def _identity(self, opened: ReleasedClip) -> str:
        """Return what a result depends on, as one SHA-256: another one means that it must be computed anew."""
        settings = self._settings
        parts = [
            __version__,
            *self._weights,
            settings.refinement.exemplars,
            settings.refinement.corrector,
            settings.refinement.edges,
            settings.refinement.precision,
            settings.window,
            settings.whole,
            opened.size,
            opened.fingerprint,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _writer_of(name: str, opened: ReleasedClip, results: ResultFolders) -> Callable[[CorrectedFrame], None]:
    names, size = opened.clip.frame_names, opened.size
    largest = 255 if opened.masks.dtype.itemsize == 1 else 65535
    masks = MaskFolderWriter(results.masks(name), names, size, [largest])
    regions = MaskFolderWriter(results.regions(name), names, size, _IDS_OF_REGIONS)

    def write(corrected: CorrectedFrame) -> None:
        assert corrected.regions is not None
        masks.write(corrected.frame, corrected.labels)
        regions.write(corrected.frame, corrected.regions)

    return write


def _check(settings: PublishedSettings) -> None:
    check_refine_settings(settings.refinement)
    if settings.queries != RELEASED_QUERIES:
        raise UserError(
            f"--num_queries is {settings.queries}, but the networks hold {RELEASED_QUERIES} object queries; leave it "
            f"at {RELEASED_QUERIES}: more objects are refined in groups of {RELEASED_QUERIES} by themselves."
        )
    if not settings.save_masks and settings.truth is None:
        raise UserError("Nothing would be kept or measured; add --save_pred to write masks, or give --gt_dir.")
    if Path(settings.prefix).name != settings.prefix and settings.prefix:
        raise UserError(f"--save_prefix {settings.prefix} must be a part of a folder's name, not a path.")
    for flag, folder in (("--mask_dir", settings.masks), ("--gt_dir", settings.truth)):
        if folder is not None and not folder.is_dir():
            raise UserError(f"{flag} {folder} is no folder; give the one that holds a folder for each clip.")


def _identity_in(report: Path) -> str:
    try:
        return str(json.loads(report.read_text(encoding="utf-8"))["identity"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
