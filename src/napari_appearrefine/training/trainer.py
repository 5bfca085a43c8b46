"""Training of the built-in networks: one loop, seeded, resumable, with validation on scenes never trained on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..engine.networks.backbone import Backbone
from ..engine.networks.matching import KEY_STRIDE, MatchingNetwork, match
from ..engine.networks.motion import MotionNetwork
from .batches import MotionBatch
from .matching_examples import MatchingExample

Network = TypeVar("Network", bound=nn.Module)

_AVERAGE = 0.998
_CHECKPOINT_EVERY = 100
_SMALLEST_OBJECT = 30


@dataclass(frozen=True)
class TrainingStep:
    """One step's figures: mean training loss since the last, and on validation where it was measured."""

    step: int
    steps: int
    loss: float
    validation: float | None
    seconds: float


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross-entropy plus soft Dice, both (b, 1, h, w), averaged over the batch."""
    logits = logits.float()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((1, 2, 3))
    probability = logits.sigmoid()
    overlap = 2 * (probability * target).sum((1, 2, 3)) + 50
    dice = 1 - overlap / (probability.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 50)
    return (2 * cross_entropy + dice).mean()


def missed_share(logits: Tensor, objects: Tensor) -> Tensor:
    """Return the share of an object that is missed, in the mean over the objects of a batch, however small.

    Parameters
    ----------
    logits : Tensor
        (b, 1, h, w).
    objects : Tensor
        (b, h, w) int64, which object a pixel belongs to, 0 for none; those of a few pixels do not count.
    """
    return _mean_over_objects(1 - logits.float().sigmoid(), objects)


def mistaken_share(logits: Tensor, shadows: Tensor) -> Tensor:
    """Return the share of an object's shadow, reflection or dust that is taken for it, in the mean over a batch.

    Parameters
    ----------
    logits : Tensor
        (b, 1, h, w).
    shadows : Tensor
        (b, h, w) int64, to which object it belongs, 0 where there is none; those of a few pixels do not count.
    """
    return _mean_over_objects(logits.float().sigmoid(), shadows)


def _mean_over_objects(values: Tensor, objects: Tensor) -> Tensor:
    ids = int(objects.max()) + 1
    place = objects + ids * torch.arange(len(objects), device=objects.device)[:, None, None]
    area = place.flatten().bincount(minlength=ids * len(objects))
    total = torch.zeros(len(area), device=values.device).index_add(0, place.flatten(), values.flatten())
    counted = area >= _SMALLEST_OBJECT
    counted[::ids] = False
    return (total[counted] / area[counted]).sum() / counted.sum().clamp(min=1)


def motion_logits(network: MotionNetwork, backbone: Backbone, batch: MotionBatch) -> Tensor:
    """Return the motion network's logits for a batch."""
    with torch.no_grad():
        features = backbone(batch.images)
    logits: Tensor = network(batch.cues, features)
    return logits


def matching_logits(network: MatchingNetwork, example: MatchingExample, positions: int = 1536) -> list[Tensor]:
    """Return the matching network's logits (1, 1, y, x) for each target of an example.

    The exemplars of a target are all other frames of the example; at most ``positions`` of their
    positions, drawn at random, are remembered.
    """
    keys = network.keys(example.levels)
    positions_first = keys.flatten(2).transpose(1, 2)
    coverage = F.avg_pool2d(example.masks[:, None], KEY_STRIDE)[:, 0].flatten(1)
    logits = []
    for target in example.targets:
        others = [frame for frame in range(len(keys)) if frame != target.frame]
        inside = coverage[others] * example.quality[others, None]
        outside = (1 - coverage[others]) * example.quality[others, None]
        kept = torch.randperm(inside.numel())[:positions].to(keys.device)
        weights = inside.flatten()[kept, None], outside.flatten()[kept, None]
        queries = keys[(target.frame, slice(None), *target.box.at(KEY_STRIDE))]
        matches = match(queries.flatten(1).T, positions_first[others].flatten(0, 1)[kept], *weights)
        levels = network.image_levels(target.levels)
        logits.append(network(target.image, levels, matches.unflatten(-1, queries.shape[-2:]), target.masks))
    return logits


def train_network(
    network: Network,
    loss_of: Callable[[np.random.Generator], Tensor],
    validate: Callable[[Network], float],
    folder: Path,
    *,
    steps: int,
    seed: int = 0,
    rate: float = 2e-3,
    validate_every: int = 200,
    resume: bool = False,
) -> Iterator[TrainingStep]:
    """Train a network with AdamW, a one-cycle rate and an average of the weights.

    Parameters
    ----------
    network : Module
        Trained in place; at the end of each validation ``folder/average.pt`` holds the averaged weights.
    loss_of : callable
        From a generator of random numbers to the loss of a fresh batch.
    validate : callable
        From the averaged network to its figure on held-out scenes (higher is better).
    folder : Path
        Where checkpoints and ``log.jsonl`` go; a run that was cut goes on from there with ``resume``.

    Yields
    ------
    TrainingStep
        Every 20 steps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.08)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(_AVERAGE)
    )
    first = 0
    checkpoint = folder / "checkpoint.pt"
    if resume and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
    started, losses = time.perf_counter(), []
    for step in range(first, steps):
        loss = loss_of(np.random.default_rng([seed, step]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(network)
        losses.append(float(loss.detach()))
        done = step + 1
        if done % _CHECKPOINT_EVERY == 0 or done == steps:
            _save(checkpoint, network=network, average=average, optimiser=optimiser, schedule=schedule, step=done)
        if done % 20 == 0 or done == steps:
            measured = None
            if done % validate_every == 0 or done == steps:
                measured = validate(cast(Network, average.module))
                torch.save(average.module.state_dict(), folder / "average.pt")
            record = TrainingStep(done, steps, float(np.mean(losses)), measured, time.perf_counter() - started)
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(record.__dict__) + "\n")
            losses.clear()
            yield record


def _save(
    path: Path, *, step: int, **parts: nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler
) -> None:
    beside = path.with_suffix(".part")
    torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, beside)
    beside.replace(path)
