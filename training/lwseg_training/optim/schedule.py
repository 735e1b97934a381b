"""How the learning rate changes over a run."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int, power: float) -> float:
    """Return the factor on the base learning rate at a step: linear warm-up, then (1 - progress) ** power down to zero."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return max(0.0, 1 - progress) ** power


def cosine_learning_rate_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """Return the factor at a step: linear warm-up, then half a cosine down to zero (Loshchilov and Hutter, SGDR, 1608.03983)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return (1 + math.cos(math.pi * min(1.0, progress))) / 2
