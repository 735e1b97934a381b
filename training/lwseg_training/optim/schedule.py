"""How long a run is, and how the learning rate changes over it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lwseg_training.config.recipe import TrainingSettings


@dataclass(frozen=True)
class RunLength:
    """How long a run, an epoch, the warm-up, and the time between evaluations are, in steps."""

    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    evaluate_every: int


def run_length(recipe: TrainingSettings, images: int, a_step: int | None = None) -> RunLength:
    """Work out the length of a recipe's run on so many images an epoch, ``a_step`` of them a step: by default the whole batch."""
    schedule = recipe.schedule
    epoch = max(1, math.ceil(images / (a_step or recipe.batch_size)))
    return RunLength(
        steps_per_epoch=epoch,
        total_steps=schedule.steps or max(1, round((schedule.epochs or 0) * epoch)),
        warmup_steps=schedule.warmup_steps or round((schedule.warmup_epochs or 0) * epoch),
        evaluate_every=max(1, round(recipe.evaluate_every_epochs * epoch)),
    )


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int, power: float | None) -> float:
    """Return the factor on the base learning rate at a step: linear warm-up, then (1 - progress) ** power down to zero.

    Without a power, half a cosine (Loshchilov and Hutter, SGDR, 1608.03983).
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return (1 + math.cos(math.pi * progress)) / 2 if power is None else (1 - progress) ** power
