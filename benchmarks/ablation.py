"""Measures what each part of the built-in refinement buys: every row leaves out or changes one of them.

Input are masks from motion on real clips, which davis_dev.py computed and kept. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from davis_dev import clip_names, limit_threads
from napari_appearrefine.core.errors import UserError
from napari_appearrefine.core.events import collect_frames
from napari_appearrefine.core.parameters import RefineParameters
from napari_appearrefine.engine import repair
from napari_appearrefine.engine.builtin import BuiltinModel
from napari_appearrefine.engine.builtin_weights import load_calibration, load_part
from napari_appearrefine.engine.flow import DRAWING_SIDE
from napari_appearrefine.engine.networks.backbone import Backbone
from napari_appearrefine.engine.networks.matching import MatchingNetwork, Memory
from napari_appearrefine.engine.object_drawing import FrameFeatures, ObjectDrawer
from napari_appearrefine.engine.refinement import refine
from napari_appearrefine.evaluation.davis import evaluate_clip
from napari_appearrefine.files.report import write_json
from robustness import read_clip

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Parameters
    ----------
    make : callable
        Makes the model.
    settings : dict of str to int
        Other parameters than usual.
    replaced : dict of str to callable
        What takes the place of a name in ``engine.repair``.
    """

    make: Callable[[], BuiltinModel]
    settings: dict[str, int]
    replaced: dict[str, Callable[..., Any]] = field(default_factory=dict)


def model(change: Callable[[MatchingNetwork], None] = lambda network: None, side: int = DRAWING_SIDE) -> BuiltinModel:
    """Return the packaged model with one change; a grid that is named is kept for every clip."""
    backbone, network = Backbone(), MatchingNetwork()
    load_part(backbone, "backbone", CPU)
    load_part(network, "matching", CPU)
    change(network)
    return BuiltinModel(backbone, network, CPU, side, load_calibration())


def without_coarse_keys(network: MatchingNetwork) -> None:
    for part in (network.key_16, network.key_32):
        part.weight.zero_()


def without_key_context(network: MatchingNetwork) -> None:
    network.key_context[2].weight.zero_()
    network.key_context[2].bias.zero_()


def without_edge_step(network: MatchingNetwork) -> None:
    network.edge[2].weight.zero_()
    network.edge[2].bias.zero_()


class OneGrid(BuiltinModel):
    """Keeps its grid, whatever the clip."""

    def fitted_to(self, size: tuple[int, int], areas: Any) -> BuiltinModel:
        """Return itself."""
        return self


def on_grid(side: int) -> BuiltinModel:
    whole = model(side=side)
    return OneGrid(whole._backbone, whole._network, CPU, side, load_calibration())


def not_spread() -> BuiltinModel:
    plain = model()
    plain.spreads_exemplars = False
    return plain


class HintsAsTheyCame(ObjectDrawer):
    """Draws each object from the rough mask that bears its id, whatever the exemplars say it shows."""

    def _matches_and_votes(self, features: FrameFeatures, memory: Memory) -> tuple[torch.Tensor, np.ndarray]:
        matches, votes = super()._matches_and_votes(features, memory)
        return matches, np.zeros_like(votes)


def without_votes() -> BuiltinModel:
    whole = model()
    whole._drawer = HintsAsTheyCame(whole._network, CPU, torch.float32)
    return whole


def rows() -> dict[str, Variant]:
    """Return the variants by name."""
    variants: dict[str, tuple[Any, ...]] = {
        "everything": (model, {}),
        "1 round": (model, {"rounds": 1}),
        "2 rounds": (model, {"rounds": 2}),
        "1 exemplar": (model, {"exemplars": 1}),
        "3 exemplars": (model, {"exemplars": 3}),
        "20 exemplars": (model, {"exemplars": 20}),
        "exemplars not spread": (not_spread, {}),
        "no votes on ids": (without_votes, {}),
        "keys from stride 8 alone": (lambda: model(without_coarse_keys), {}),
        "keys without context": (lambda: model(without_key_context), {}),
        "no edge step of the network": (lambda: model(without_edge_step), {}),
        "no colours of both sides": (model, {}, {"by_colour": lambda plane, *_: plane}),
        "outlines not along edges": (model, {}, {"Edges": lambda *_: None}),
        "neither colours nor edges": (model, {}, {"share_of_picture": lambda _: 0.0}),
        "grid of 160 rows": (lambda: on_grid(160), {}),
        "grid of 240 rows": (lambda: on_grid(240), {}),
        "grid of 400 rows": (lambda: on_grid(400), {}),
    }
    return {name: Variant(*parts) for name, parts in variants.items()}


def measure(name: str, given: argparse.Namespace, variant: Variant | None) -> tuple[float, float]:
    """Return J and F of one clip; of the input without a variant."""
    clip, truth = read_clip(given.data, name, given.step)
    with np.load(given.cache / f"{name}.npz", allow_pickle=False) as kept:
        masks = kept["masks"][:: given.step]
    if variant is not None and masks.any():
        refined = np.zeros_like(masks)
        parameters = RefineParameters(device="cpu", cache=False, **variant.settings)
        with patch.multiple(repair, **variant.replaced) if variant.replaced else nullcontext():
            collect_frames(refine(clip, masks, parameters, model=variant.make()), refined)
        masks = refined
    result = evaluate_clip(truth, masks, name=name)
    return result.J, result.F


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/davis-dev"), help="default: %(default)s")
    parser.add_argument("--cache", type=Path, default=Path("runs/davis-dev-flow-masks"), help="masks from motion")
    parser.add_argument("--clips", nargs="+", metavar="CLIP", help="only these clips")
    parser.add_argument("--rows", nargs="+", metavar="ROW", choices=("input", *rows()), help="only these rows")
    parser.add_argument("--step", type=int, default=4, help="use every so many-th frame (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    limit_threads(given.threads)
    try:
        names = given.clips or clip_names(given.data)
        missing = [name for name in names if not (given.cache / f"{name}.npz").exists()]
        if missing:
            raise UserError(f"{given.cache} has no masks from motion of {missing[0]}; run davis_dev.py first.")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    table = {}
    variants = {"input": None, **rows()}
    for row, variant in variants.items():
        if given.rows and row not in given.rows:
            continue
        figures = np.array([measure(name, given, variant) for name in names])
        table[row] = {"J": float(figures[:, 0].mean()), "F": float(figures[:, 1].mean())}
        print(f"{row:28} J {table[row]['J']:.3f}  F {table[row]['F']:.3f}", flush=True)
    if given.json:
        write_json(given.json, {"step": given.step, "clips": names, "rows": table})
    return 0


if __name__ == "__main__":
    sys.exit(main())
