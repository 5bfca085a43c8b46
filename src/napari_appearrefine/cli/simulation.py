"""What the command ``simulate`` does: an annotator who corrects frames, for one or more policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..core.clip import Clip, FrameSource
from ..core.errors import UserError
from ..core.events import Event, Progress, run_to_end
from ..core.guidance import Guidance
from ..core.parameters import RefineParameters
from ..evaluation.simulation import POLICIES, Follow, Refine, Simulation, simulate, table
from ..files.masks import open_masks
from ..files.video import open_video
from .jobs import check_refine_settings
from .output import check_file, write_report
from .progress import ProgressDisplay


def simulate_annotator(
    video: Path,
    masks: Path,
    truth: Path,
    parameters: RefineParameters,
    policies: Sequence[str],
    *,
    rounds: int,
    seed: int,
    json_file: Path | None,
) -> str:
    """Simulate an annotator on one clip and return a table of what each correction brings.

    Raises
    ------
    UserError
        If a policy is not known, or the video, the masks, the truth or the JSON file cannot be used.
    """
    for policy in policies:
        if policy not in POLICIES:
            raise UserError(f"--policy is {policy!r}; choose one of {', '.join(POLICIES)}.")
    check_refine_settings(parameters)
    clip = open_video(video)
    rough, true = open_masks(masks, clip), open_masks(truth, clip)
    check_file(json_file, [video, masks, truth], "--json")
    refine, follow = remembering_engine(parameters, str(masks))
    with ProgressDisplay() as display:
        simulations = [
            run_simulation(clip, rough, true, refine, policy, rounds, seed, display.show, follow) for policy in policies
        ]
    figures = {"clip": clip.name, "frames": len(clip), "policies": [each.to_json() for each in simulations]}
    write_report(json_file, figures)
    return table(simulations)


def remembering_engine(parameters: RefineParameters, masks_name: str = "masks") -> tuple[Refine, Follow]:
    """Return a refinement, and what follows motion; both keep what they computed for the next time."""
    from ..engine.followability import motion_links
    from ..engine.refinement import refine
    from ..engine.reuse import RunStore

    store = RunStore()

    def run(clip: Clip, masks: FrameSource, guidance: Guidance) -> Iterator[Event]:
        return refine(clip, masks, parameters, masks_name=masks_name, guidance=guidance, store=store)

    def follow(clip: Clip, masks: FrameSource, object_ids: Sequence[int]) -> dict[int, np.ndarray]:
        return run_to_end(motion_links(clip, masks, object_ids, store))

    return run, follow


def run_simulation(
    clip: Clip,
    masks: FrameSource,
    truth: FrameSource,
    refine: Refine,
    policy: str,
    rounds: int,
    seed: int = 0,
    show: Callable[[Progress], None] | None = None,
    follow: Follow | None = None,
) -> Simulation:
    """Run :func:`evaluation.simulation.simulate` to its end."""
    return run_to_end(simulate(clip, masks, truth, refine, policy, rounds, seed, follow), show)
