"""Channel statistics of feature maps, which hold a street's light and style, disturbed while a network trains.

With mu(x) and sigma(x) the mean and deviation over H and W of each image and channel, both methods replace
x by gamma * (x - mu(x)) / sigma(x) + beta:

- MixStyle (Zhou et al., Domain Generalization with MixStyle, ICLR 2021) mixes in those of another image of the batch;
- DSU (Li et al., Uncertainty Modeling for Out-of-Distribution Generalization, ICLR 2022) draws them from normal distributions as
  wide as they vary in the batch.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from lwseg_ros.errors import RecipeError
from lwseg_training.config.recipe import FeatureStatisticsSection
from lwseg_training.networks.named_modules import named_modules

EPSILON = 1e-6


def mix_style(features: Tensor, alpha: float) -> Tensor:
    """Return feature maps [N, C, H, W] with their statistics mixed with those of another image of the batch.

    gamma = lambda sigma(x) + (1 - lambda) sigma(x'), beta likewise of mu, x' the batch in a random order,
    lambda ~ Beta(alpha, alpha) an image. No gradient goes through the statistics.
    """
    mean, deviation = _statistics(features.detach())
    other = torch.randperm(len(features), device=features.device)
    concentration = torch.full((len(features), 1, 1, 1), alpha, device=features.device)
    share = torch.distributions.Beta(concentration, concentration).sample()
    gamma = share * deviation + (1 - share) * deviation[other]
    beta = share * mean + (1 - share) * mean[other]
    return _restyled(features, mean, deviation, gamma, beta)


def disturb_by_uncertainty(features: Tensor) -> Tensor:
    """Return feature maps [N, C, H, W] with statistics drawn around their own.

    gamma = sigma(x) + e Sigma_sigma, beta = mu(x) + e Sigma_mu, e ~ N(0, 1) an image and channel, Sigma the
    deviation of the statistic over the images of the batch.
    """
    mean, deviation = _statistics(features)
    beta = mean + torch.randn_like(mean) * _over_batch(mean)
    gamma = deviation + torch.randn_like(deviation) * _over_batch(deviation)
    return _restyled(features, mean, deviation, gamma, beta)


def hook_feature_statistics(network: nn.Module, settings: FeatureStatisticsSection) -> None:
    """Disturb what the named modules of a network give, in training mode; nothing is different in eval mode, nor in a network
    that is built anew. Among several processes each looks at the images of its share.

    Raises RecipeError where the network has no module of a name.
    """
    modules = named_modules(network, settings.modules, "feature_statistics.modules")
    for name, module in zip(settings.modules, modules, strict=True):
        module.register_forward_hook(partial(_disturb, settings, name))


def _disturb(
    settings: FeatureStatisticsSection, name: str, module: nn.Module, _inputs: tuple[Tensor, ...], output: object
) -> object:
    if not module.training or float(torch.rand(())) >= settings.probability:
        return output
    if not (isinstance(output, Tensor) and output.ndim == 4):
        raise RecipeError(
            f"feature_statistics.modules: {name} does not give one feature map [N, C, H, W]; name a module in it or before it"
        )
    if settings.kind == "mixstyle":
        return mix_style(output, settings.alpha)
    return disturb_by_uncertainty(output)


def _statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation over H and W, float32 [N, C, 1, 1]."""
    values = features.float()
    mean = values.mean(dim=(2, 3), keepdim=True)
    return mean, ((values - mean).square().mean(dim=(2, 3), keepdim=True) + EPSILON).sqrt()


def _over_batch(statistic: Tensor) -> Tensor:
    """Return the deviation of a statistic [N, C, 1, 1] over the images, [1, C, 1, 1]."""
    variance = (statistic - statistic.mean(dim=0, keepdim=True)).square().mean(dim=0, keepdim=True)
    return (variance + EPSILON).sqrt()


def _restyled(features: Tensor, mean: Tensor, deviation: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return (gamma * (features.float() - mean) / deviation + beta).to(features.dtype)
