"""Predictions on two scales of an image: what a network of two scales offers, and how the scales become one prediction."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from lwseg_training.networks.layers import resize_bilinear

Combine = Literal["synergy", "mean", "max", "high", "low"]
"""How two scales become one prediction: equation 1, what the paper compares it with, or one scale alone."""

DEFAULT_LOW_SCALE = 0.5  # the paper's
LEAST_PROBABILITY = 1e-30  # keeps the logarithm and its gradient finite in float32


class TwoScaleNetwork(nn.Module):
    """A network that predicts from the image and from a reduced copy of it.

    Attributes:
        trunk: what runs on both scales.
        low_scale: the reduced image's size as a share of the image's.
    """

    trunk: nn.Module
    low_scale: float

    @abstractmethod
    def forward_with_low(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map an image [N, 3, H, W] to logits and the low scale's probabilities, float32 [N, C, H, W] both."""

    @abstractmethod
    def scales(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map an image [N, 3, H, W] to the probabilities of the high and of the low scale, float32 [N, C, H, W] both."""


def synergy(high: Tensor, low: Tensor) -> Tensor:
    """Combine probabilities by equation 1, S = U(low) + high * U(1 - low), U bilinear upsampling.

    Args:
        high: [N, C, H, W], of the image at scale 1.
        low: [N, C, h, w], of the image at the low scale.

    Returns S [N, C, H, W]. At each pixel its classes add up to between 1 and 2.
    """
    low = resize_bilinear(low, (high.shape[-2], high.shape[-1]))
    return low + high * (1 - low)  # U(1 - low) = 1 - U(low), since the weights of U add up to 1


def combine_scales(high: Tensor, low: Tensor, combine: Combine) -> Tensor:
    """Combine the probabilities of two scales, [N, C, H, W] both, to logits [N, C, H, W]: their softmax is normalised."""
    if combine == "high":
        return log_probabilities(high)
    if combine == "low":
        return log_probabilities(low)
    if combine == "mean":
        return log_probabilities((high + low) / 2)
    if combine == "max":
        return log_probabilities(torch.maximum(high, low))
    return log_probabilities(synergy(high, low))


def log_probabilities(combined: Tensor) -> Tensor:
    """Normalise probabilities [N, C, H, W] over the classes and take the logarithm, which stays finite."""
    return (combined / combined.sum(dim=1, keepdim=True)).clamp(min=LEAST_PROBABILITY).log()
