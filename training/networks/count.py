"""Parameters and multiply-adds of a network."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn


@dataclass(frozen=True)
class NetworkCount:
    """Trainable parameters, auxiliary heads included, and multiply-adds of one inference of one image."""

    parameters: int
    multiply_adds: int


def count_network(network: nn.Module, size_hw: tuple[int, int]) -> NetworkCount:
    """Count a network at an input of H x W, as the papers do (fvcore: one multiply-add is one operation).

    Bilinear resizing is left out, as in the papers' figures: LeMoRe's last one alone would be a fifth of it.
    """
    parameters = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    network = network.eval()
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(network, torch.zeros(1, 3, *size_hw))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with torch.no_grad():
        operations = analysis.by_operator()
    return NetworkCount(parameters, int(operations.total() - operations["upsample_bilinear2d"]))
