"""Training curves as a picture, from the logs that training leaves."""

from __future__ import annotations

import json
from pathlib import Path


def draw_curves(folders: dict[str, Path], picture: Path) -> None:
    """Draw loss and validation against steps.

    Parameters
    ----------
    folders : dict of str to Path
        Title to a folder with ``log.jsonl`` as :func:`trainer.train_network` writes it.
    picture : Path
        PNG to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(folders), 3.2), layout="constrained")
    for place, (title, folder) in enumerate(folders.items(), start=1):
        records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        axes = figure.add_subplot(1, len(folders), place, title=title, xlabel="step", ylabel="training loss")
        axes.plot([record["step"] for record in records], [record["loss"] for record in records], color="#0072B2")
        measured = [(record["step"], record["validation"]) for record in records if record["validation"] is not None]
        right = axes.twinx()
        right.set_ylabel("J on held-out scenes")
        right.set_ylim(0, 1)
        right.plot(*zip(*measured, strict=True), color="#D55E00", marker="o", markersize=3)
    beside = picture.with_suffix(".part.png")
    figure.savefig(beside, dpi=110)
    beside.replace(picture)
