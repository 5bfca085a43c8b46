"""The commands `weights list|add|fetch|check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import UserError
from ..core.events import Progress
from .errors import plain_errors
from .options import given_path
from .progress import ProgressDisplay

weights_app = typer.Typer(
    name="weights", help="Keep the public weights of the published networks.", no_args_is_help=True
)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        parser=given_path,
        metavar="DIR",
        help="Where weights are kept; by default $NAPARI_APPEARREFINE_WEIGHTS, or a folder in the user's cache.",
        show_default=False,
    ),
]
_NAMES = "selector|corrector|dino8|dino16|oclr"


@weights_app.command("list")
@plain_errors()
def _list(folder: Folder = None) -> None:
    """Show what is stored, and how to get the rest."""
    from ..engine.weights_store import PUBLIC_WEIGHTS, WeightsStore

    store = WeightsStore(folder)
    typer.echo(f"Weights in {store.folder}")
    for weights in PUBLIC_WEIGHTS:
        if store.holds(weights):
            state = f"{store.path(weights).name}, SHA-256 {store.sha256(weights)}"
        else:
            state = f"not there: {weights.how_to_get}"
        typer.echo(f"{weights.name:10} {weights.network.title:24} {state}")


@weights_app.command("add")
@plain_errors()
def _add(
    name: Annotated[str, typer.Argument(metavar=_NAMES, help="Which weights.", show_default=False)],
    file: Annotated[
        Path,
        typer.Argument(parser=given_path, metavar="FILE", help="The downloaded checkpoint.", show_default=False),
    ],
    folder: Folder = None,
) -> None:
    """Check a downloaded file by its parameters, copy it into the folder and keep its SHA-256."""
    from ..engine.weights_store import WeightsStore, weights_named

    store = WeightsStore(folder)
    weights = weights_named(name)
    path = store.add(weights, file)
    typer.echo(f"{path}: {weights.network.title}, SHA-256 {store.sha256(weights)}")


@weights_app.command("fetch")
@plain_errors()
def _fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="dino8|dino16", help="Both by default.", show_default=False)
    ] = None,
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="A mirror of the one file that is named.", show_default=False)
    ] = "",
    folder: Folder = None,
) -> None:
    """Download weights that are public; goes on where an earlier try stopped."""
    from ..engine.weights_store import WeightsStore, weights_named

    if url and len(names or ()) != 1:
        raise UserError("--url is the address of one file; name the weights that it holds.")
    store = WeightsStore(folder)
    with ProgressDisplay() as display:
        for weights in [weights_named(name) for name in names or ("dino8", "dino16")]:

            def show(done: int, total: int, title: str = weights.network.title) -> None:
                display.show(Progress(f"Fetching {title} (MB)", round(done / 1e6), round(total / 1e6)))

            path = store.fetch(weights, show, url)
            typer.echo(f"{path}: {weights.network.title}, SHA-256 {store.sha256(weights)}")


@weights_app.command("check")
@plain_errors()
def _check(folder: Folder = None) -> None:
    """Read every stored file again: its SHA-256, and every parameter's name and shape."""
    from ..engine.weights_store import WeightsStore

    store = WeightsStore(folder)
    checked = list(store.problems())
    if not checked:
        typer.echo(f"No weights are stored in {store.folder}")
    for weights, problem in checked:
        typer.echo(f"{weights.name:10} {problem or 'good'}")
    wrong = [weights.name for weights, problem in checked if problem]
    if wrong:
        raise UserError(f"{store.folder} holds files that cannot be used ({', '.join(wrong)}); get them again.")
