"""Parameters and multiply-adds of a network."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import elementwise_flop_counter, get_shape
from torch import nn

from lwseg_training.networks.sliding_windows import SlidingWindows


@dataclass(frozen=True)
class NetworkCount:
    """Trainable parameters, auxiliary heads included, and multiply-adds of one inference of one image."""

    parameters: int
    multiply_adds: int


def count_network(network: nn.Module, size_hw: tuple[int, int]) -> NetworkCount:
    """Count a network at an input of H x W, as the papers do (fvcore: one multiply-add is one operation).

    Resizing to the input's size is left out, as in the papers' figures: for LeMoRe's 150 classes it would be a fifth of all.
    Of sliding windows, what the network does in all of them counts.
    """
    if isinstance(network, SlidingWindows):
        of_one = count_network(network.network, network.window_size(size_hw))
        return NetworkCount(of_one.parameters, of_one.multiply_adds * len(network.corners(size_hw)))
    parameters = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    network = network.eval()
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(network, torch.zeros(1, 3, *size_hw))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    resizing = elementwise_flop_counter(0, 4)

    def resizing_within(inputs: list[Any], outputs: list[Any]) -> Any:
        return 0 if tuple(get_shape(outputs[0])[-2:]) == tuple(size_hw) else resizing(inputs, outputs)

    analysis.set_op_handle("aten::upsample_bilinear2d", resizing_within)
    with torch.no_grad():
        return NetworkCount(parameters, int(analysis.total()))
