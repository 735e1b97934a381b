"""Batch normalisation that stays as an earlier run left it (PMSDSEN's second stage: its supplement, Section B)."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze_batch_norm(network: nn.Module) -> None:
    """Let every batch normalisation use its running statistics and train none of its parameters.

    ``network.train()`` brings the batch's statistics back, so this is to be called after it; the rest of the network stays in
    the mode it is in.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
            module.requires_grad_(False)
