"""How the learning rate changes over a run."""

from __future__ import annotations


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int, power: float) -> float:
    """Return the factor on the base learning rate at a step: linear warm-up, then (1 - progress) ** power down to zero."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return max(0.0, 1 - progress) ** power
