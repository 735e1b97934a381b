"""Class weights in the loss, taken back where the network is used.

Weighted cross-entropy makes softmax(z) an estimate not of p(class | pixel) but of something in proportion to
weight x p(class | pixel): rare classes spread over their neighbours. z - ln(weight) is the logit without that preference
(logit adjustment: Menon et al., ICLR 2021). The weights still do their work during training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def adjust_logits(network: nn.Module, weights: Tensor | None, share: float) -> None:
    """Take ``share`` times ln(weights) off the network's logits, in place; nothing where there are no weights.

    Args:
        network: has ``class_bias``, the parameter [C] that is added to each class's logit.
        weights: float [C], those of the loss.
        share: 0 leaves the logits as they were trained, 1 takes the weights back in full.
    """
    if weights is not None and share > 0:
        bias = network.class_bias
        assert isinstance(bias, Tensor)
        with torch.no_grad():
            bias -= share * weights.log().to(bias)


@contextmanager
def adjusted_logits(network: nn.Module, weights: Tensor | None, share: float) -> Iterator[None]:
    """Adjust the logits for as long as the block lasts; afterwards the network is what it was, to the bit."""
    bias = network.class_bias
    assert isinstance(bias, Tensor)
    trained = bias.detach().clone()
    adjust_logits(network, weights, share)
    try:
        yield
    finally:
        with torch.no_grad():
            bias.copy_(trained)
