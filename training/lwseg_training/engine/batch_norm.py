"""Batch normalisation over the batches of all processes; `nn.SyncBatchNorm` does it on GPUs and refuses CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
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


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics in training mode are those of the batches of all processes together."""

    def forward(self, features: Tensor) -> Tensor:
        """Normalise float [N, C, H, W]; N, H and W may differ from one process to another.

        Raises ValueError where all processes together have one value a channel.
        """
        self._check_input_dim(features)
        if not self.training:
            return super().forward(features)
        mean, variance, count = _shared_statistics(features)
        if self.track_running_stats:
            self._track(mean, variance * (count / (count - 1)))
        output: Tensor = _Normalization.apply(features, self.weight, self.bias, mean, variance, count, self.eps)  # type: ignore[no-untyped-call]
        return output

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(unbiased_variance.to(self.running_var), momentum)


@torch.no_grad()
def _shared_statistics(features: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean and biased variance, float32 [C], and the number of values a channel, over all processes.

    Each process gives its own mean and variance, which add up without the cancellation of sums of squares (Chan et al., 1979).
    """
    own_variance, own_mean = torch.var_mean(features.float(), _ALL_BUT_CHANNELS, correction=0)
    own = torch.cat([own_mean, own_variance, own_mean.new_tensor([features.numel() // features.shape[1]])]).double()
    gathered = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(gathered, own)
    means, variances, counts = torch.stack(gathered).split([features.shape[1], features.shape[1], 1], dim=1)
    count = int(counts.sum())
    if count < 2:
        raise ValueError(f"batch statistics want more than one value a channel, and {features.shape} is all there is")
    shares = counts / count
    mean = (shares * means).sum(dim=0)
    variance = (shares * (variances + (means - mean).square())).sum(dim=0)
    return mean.float(), variance.float(), count


class _Normalization(torch.autograd.Function):
    """Normalise by statistics that depend on the features of all processes; the gradient knows that they do."""

    @staticmethod
    def forward(
        context: Any,
        features: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: int,
        eps: float,
    ) -> Tensor:
        context.save_for_backward(features, weight, mean, (variance + eps).rsqrt())
        context.count = count
        return F.batch_norm(features, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, mean, scale = context.saved_tensors
        mean, scale = mean.view(-1, 1, 1), scale.view(-1, 1, 1)
        normalised = (features.float() - mean) * scale
        incoming = gradient.float()
        # Weight and bias get the sums of this process, as DistributedDataParallel averages them; the features get those of all.
        bias_gradient, weight_gradient = (values.sum(_ALL_BUT_CHANNELS) for values in (incoming, incoming * normalised))
        sums = torch.stack([bias_gradient, weight_gradient])
        distributed.all_reduce(sums)
        along_mean, along_deviation = (sums / context.count).view(2, -1, 1, 1)
        outgoing = scale * (incoming - along_mean - normalised * along_deviation)
        if weight is None:
            return outgoing.to(features.dtype), None, None, None, None, None, None
        outgoing = outgoing * weight.view(-1, 1, 1)
        return outgoing.to(features.dtype), weight_gradient, bias_gradient, None, None, None, None
