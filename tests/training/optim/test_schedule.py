"""The learning rate over a run."""

from __future__ import annotations

import pytest
from lwseg_training.optim.schedule import learning_rate_factor


def test_warms_up_linearly_to_the_base_rate() -> None:
    factors = [learning_rate_factor(step, 100, 4, 0.9) for step in range(5)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_falls_to_zero_as_a_power_of_what_is_left() -> None:
    assert learning_rate_factor(0, 100, 0, 0.9) == 1.0
    assert learning_rate_factor(50, 100, 0, 1.0) == pytest.approx(0.5)
    assert learning_rate_factor(55, 100, 10, 0.9) == pytest.approx(0.5**0.9)
    assert learning_rate_factor(100, 100, 10, 0.9) == 0.0
    assert learning_rate_factor(101, 100, 10, 0.9) == 0.0


def test_a_warm_up_longer_than_the_run_never_reaches_the_base_rate() -> None:
    assert [learning_rate_factor(step, 2, 4, 0.9) for step in range(2)] == [0.25, 0.5]
    assert learning_rate_factor(4, 4, 4, 0.9) == 1.0


def test_falls_to_zero_as_half_a_cosine() -> None:
    factors = [learning_rate_factor(step, 10, 2, None) for step in (0, 1, 2, 4, 6, 8, 10, 11)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0.0, 0.0])
