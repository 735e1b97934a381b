"""Hard example mining, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from lwseg_training.losses.ohem import hard_example_mean

PROBABILITIES = [0.9, 0.8, 0.6, 0.5, 0.1]
PROBABILITY = torch.tensor([[PROBABILITIES]])
LOSS = -PROBABILITY.log()
ALL = torch.ones(1, 1, 5, dtype=torch.bool)


def mean_of(*probabilities: float) -> float:
    return -sum(map(math.log, probabilities)) / len(probabilities)


def test_keeps_the_pixels_below_the_threshold() -> None:
    assert float(hard_example_mean(LOSS, PROBABILITY, ALL, 0.7, 0.2)) == pytest.approx(mean_of(0.6, 0.5, 0.1))


def test_keeps_the_least_share_where_too_few_are_hard() -> None:
    assert float(hard_example_mean(LOSS, PROBABILITY, ALL, 0.3, 0.4)) == pytest.approx(mean_of(0.1, 0.5))
    assert float(hard_example_mean(LOSS, PROBABILITY, ALL, 0.3, 0.41)) == pytest.approx(mean_of(0.1, 0.5, 0.6))
    assert float(hard_example_mean(LOSS, PROBABILITY, ALL, 0.01, 0.01)) == pytest.approx(mean_of(0.1))
    assert float(hard_example_mean(LOSS, PROBABILITY, ALL, 0.01, 1.0)) == pytest.approx(mean_of(*PROBABILITIES))


def test_ignored_pixels_are_neither_kept_nor_counted() -> None:
    counted = ALL.clone()
    counted[..., 4] = False
    assert float(hard_example_mean(LOSS, PROBABILITY, counted, 0.55, 0.5)) == pytest.approx(mean_of(0.5, 0.6))


def test_only_hard_pixels_get_a_gradient() -> None:
    loss = LOSS.clone().requires_grad_()
    hard_example_mean(loss, PROBABILITY, ALL, 0.7, 0.2).backward()
    assert loss.grad.flatten().tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3])


def test_weights_move_the_mean_but_not_the_choice() -> None:
    weighted = LOSS * torch.tensor([9.0, 9.0, 1.0, 1.0, 1.0])
    assert float(hard_example_mean(weighted, PROBABILITY, ALL, 0.7, 0.2)) == pytest.approx(mean_of(0.6, 0.5, 0.1))
