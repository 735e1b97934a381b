"""The exponential moving average of a network's weights, which is what is evaluated and exported."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """Build the exponential moving average of weights and buffers; its decay grows to ``decay`` over the first updates."""

    # All tensors of a kind at once: tensor by tensor, a GPU would be waited for several hundred times a step.
    def average(old: Tensors, new: Tensors, updates: Tensor | int) -> None:
        if not old[0].is_floating_point():
            torch._foreach_copy_(old, new)
            return
        count = int(updates)
        torch._foreach_lerp_(old, new, 1 - min(decay, (1 + count) / (10 + count)))

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)
