"""Online hard example mining (Shrivastava et al., CVPR 2016), over the pixels of a batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def hard_example_mean(loss: Tensor, probability: Tensor, counted: Tensor, threshold: float, min_kept: float) -> Tensor:
    """Average the losses of hard pixels: those whose true class has a probability under ``threshold``.

    Args:
        loss: float [N, H, W], a pixel's share of what is minimised; weighted or smoothed as may be.
        probability: float [N, H, W], of the true class.
        counted: bool [N, H, W], False where the label is ignored.
        threshold: probability in (0, 1).
        min_kept: the least share of the counted pixels to keep, hardest first, in (0, 1].
    """
    losses = loss[counted]
    if losses.numel() == 0:
        return loss.sum() * 0
    least = max(1, math.ceil(min_kept * losses.numel()))
    hard = probability[counted] < threshold
    if int(hard.sum()) < least:
        return torch.topk(losses, least).values.mean()
    return losses[hard].mean()
