"""Parameters and multiply-adds of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lwseg_training.networks.label_blocks import LabelBlocks
from lwseg_training.networks.sliding_windows import SlidingWindows


@dataclass(frozen=True)
class NetworkCount:
    """Trainable parameters, auxiliary heads included, and multiply-adds of one inference of one image."""

    parameters: int
    multiply_adds: int


def count_network(network: nn.Module, size_hw: tuple[int, int]) -> NetworkCount:
    """Count a network at an input of H x W, on the CPU, as the papers do (fvcore: two for each normalised element, and the like).

    Resizing to the input's size is left out, as in the papers' figures: for LeMoRe's 150 classes it would be a fifth of all.
    Of sliding windows, what the network does in all of them counts; of labels of blocks, the network itself.
    """
    if isinstance(network, LabelBlocks):
        return count_network(network.network, size_hw)
    if isinstance(network, SlidingWindows):
        of_one = count_network(network.network, network.window_size(size_hw))
        return NetworkCount(of_one.parameters, of_one.multiply_adds * len(network.corners(size_hw)))
    parameters = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    aten = torch.ops.aten

    def resizing(*_: object, out_shape: Sequence[int]) -> int:
        return 0 if tuple(out_shape[-2:]) == tuple(size_hw) else 8 * math.prod(out_shape)

    formulas = {  # in operations: two a multiply-add
        aten._native_batch_norm_legit_no_training: lambda shape, *_, **__: 4 * math.prod(shape),
        aten._adaptive_avg_pool2d: lambda shape, *_, **__: 2 * math.prod(shape),
        aten.upsample_bilinear2d: resizing,
    }
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        network.eval()(torch.zeros(1, 3, *size_hw))
    return NetworkCount(parameters, counter.get_total_flops() // 2)
