"""Taking class weights back."""

from __future__ import annotations

import pytest
import torch
from lwseg_training.losses.logit_adjustment import adjust_logits, adjusted_logits
from lwseg_training.networks import NETWORKS, build_network
from torch import nn

WEIGHTS = torch.tensor([0.5, 1.0, 4.0])


def test_weighted_training_then_correction_gives_the_frequencies() -> None:
    """A network that sees nothing can only learn how frequent classes are; weights distort that, the correction undoes it."""
    counts = torch.tensor([70.0, 20.0, 10.0])
    network = nn.Module()
    network.class_bias = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.LBFGS([network.class_bias], max_iter=200, tolerance_grad=1e-9)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = -(WEIGHTS * counts * network.class_bias.log_softmax(0)).sum() / counts.sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert network.class_bias.softmax(0).tolist() != pytest.approx([0.7, 0.2, 0.1], abs=0.05)
    adjust_logits(network, WEIGHTS, 1.0)
    assert network.class_bias.softmax(0).tolist() == pytest.approx([0.7, 0.2, 0.1], abs=1e-3)


# Synergy corrects the logits of each scale, before it combines their probabilities.
@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"synergy"}))
def test_logits_move_by_the_logarithm_of_the_weights(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 3).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before = network(image)
        adjust_logits(network, WEIGHTS, 0.5)
        moved = before - network(image)
    expected = (0.5 * WEIGHTS.log()).view(1, 3, 1, 1).expand_as(moved)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-4)


def test_without_weights_or_share_nothing_moves() -> None:
    network = nn.Module()
    network.class_bias = nn.Parameter(torch.ones(3))
    adjust_logits(network, None, 1.0)
    adjust_logits(network, WEIGHTS, 0.0)
    assert network.class_bias.tolist() == [1, 1, 1]


def test_a_passing_correction_leaves_no_trace() -> None:
    network = nn.Module()
    network.class_bias = nn.Parameter(torch.tensor([0.1, 0.2, 0.3]))
    trained = network.class_bias.detach().clone()
    with adjusted_logits(network, WEIGHTS, 1.0):
        assert not torch.equal(network.class_bias, trained)
    assert torch.equal(network.class_bias, trained)
