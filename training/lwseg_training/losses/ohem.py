"""Online hard example mining (Shrivastava et al., CVPR 2016), over the pixels of a batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, distributed

from lwseg_training.distributed import sum_over_processes


def hard_example_mean(
    loss: Tensor, probability: Tensor, counted: Tensor, threshold: float, min_kept: float, world_size: int = 1
) -> Tensor:
    """Average the losses of hard pixels: those whose true class has a probability under ``threshold``.

    Among several processes the pixels of all are counted and ranked; each returns its own share of the average, times
    ``world_size``, so that the mean over the processes is the average.

    Args:
        loss: float [N, H, W], a pixel's share of what is minimised; weighted or smoothed as may be.
        probability: float [N, H, W], of the true class.
        counted: bool [N, H, W], False where the label is ignored.
        threshold: probability in (0, 1).
        min_kept: the least share of the counted pixels to keep, hardest first, in (0, 1].
        world_size: how many processes call this together.
    """
    losses = loss[counted]
    hard = probability[counted] < threshold
    pixels, hard_pixels = sum_over_processes(torch.stack([counted.sum(), hard.sum()]), world_size).tolist()
    if pixels == 0:
        return loss.sum() * 0
    least = max(1, math.ceil(min_kept * pixels))
    if world_size > 1:
        chosen = hard.float() if hard_pixels >= least else _largest(losses.detach(), least, world_size)
        return world_size * (losses * chosen).sum() / max(hard_pixels, least)
    if hard_pixels < least:
        return torch.topk(losses, least).values.mean()
    return losses[hard].mean()


def _largest(losses: Tensor, count: int, world_size: int) -> Tensor:
    """Tell which losses are among the ``count`` largest of all processes: 1, 0, or a fraction where equals share a place.

    Args:
        losses: float [P], P of each process its own, 0 or more.
        count: at most as many as all processes have.
        world_size: how many processes.
    """
    own = losses.new_full((count,), -math.inf)
    largest = torch.topk(losses, min(count, losses.numel())).values
    own[: largest.numel()] = largest
    candidates = [torch.empty_like(own) for _ in range(world_size)]
    distributed.all_gather(candidates, own)
    ranked = torch.topk(torch.cat(candidates), count).values
    least = ranked[-1]
    places = (ranked == least).sum()
    equals = sum_over_processes((losses == least).sum(), world_size)
    return (losses > least).float() + (losses == least).float() * (places / equals)
