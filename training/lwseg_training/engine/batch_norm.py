"""Batch normalisation over the batches of all processes (`nn.SyncBatchNorm` does it on GPUs and refuses CPUs), or frozen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

_ALL_BUT_CHANNELS = (0, 2, 3)


def synchronize_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Let a network's batch normalisations share their statistics among all processes; the keys of its state stay.

    All processes have to run it alike, forward and backward. In eval mode it normalises as before, by itself.

    Args:
        network: changed in place, its parameters stay the same objects.
        device: where it is.

    Raises TypeError on a CPU for a batch normalisation that is not an `nn.BatchNorm2d`.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for name, module in network.named_modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronizedBatchNorm2d  # which holds nothing of its own
        elif isinstance(module, _BatchNorm) and type(module) is not SynchronizedBatchNorm2d:
            raise TypeError(
                f"{name} is a {type(module).__name__}; among CPU processes only BatchNorm2d is synchronised"
            )
    return network


def freeze_batch_norm(network: nn.Module) -> None:
    """Let every batch normalisation use its running statistics and train none of its parameters (PMSDSEN: supplement, B).

    ``network.train()`` brings the batch's statistics back, so this is to be called after it; the rest of the network stays in
    the mode it is in.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
            module.requires_grad_(False)


@torch.no_grad()
def estimate_batch_norm(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of every batch normalisation by their mean over some batches, what the network is given,
    float [N, 3, H, W]; the rest of the network is in eval mode, and all of it is afterwards.
    """
    network.eval()
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.train()
        layer.reset_running_stats()
        layer.momentum = None  # the mean over the batches, not a moving average
    for batch in batches:
        network(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics in training mode are those of the batches of all processes together."""

    def forward(self, features: Tensor) -> Tensor:
        """Normalise float [N, C, H, W]; N, H and W may differ from one process to another.

        Raises ValueError where all processes together have one value a channel.
        """
        self._check_input_dim(features)
        if not self.training:
            return super().forward(features)
        count = int(_summed(torch.tensor(features.numel() // features.shape[1])))
        if count < 2:
            raise ValueError(
                f"batch statistics want more than one value a channel, and {features.shape} is all there is"
            )
        values = features.double()  # a mean far from zero, rounded to float32, would shift all values alike
        mean = _summed(values.sum(_ALL_BUT_CHANNELS, keepdim=True)) / count
        centred = (values - mean).float()
        variance = _summed(centred.square().sum(_ALL_BUT_CHANNELS, keepdim=True)) / count
        if self.track_running_stats:
            self._track(mean.flatten(), variance.flatten() * (count / (count - 1)))
        output = centred * (variance + self.eps).rsqrt()
        if self.affine:
            output = output * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)
        return output.to(features.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(unbiased_variance.to(self.running_var), momentum)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; that of its gradient on the way back."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total
