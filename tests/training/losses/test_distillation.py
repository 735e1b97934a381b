"""Learning from another network's probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lwseg_training.losses.distillation import distillation_loss


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_it_is_the_mean_divergence_times_the_squared_temperature(temperature: float) -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 2, 5, 4, 6)) * 3
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=1).mean()
    got = distillation_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    assert got.item() == pytest.approx(expected, rel=1e-5)


def test_nothing_is_left_to_learn_of_oneself_and_the_gradient_leads_to_the_teacher() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(1, 4, 3, 3)
    student = torch.randn(1, 4, 3, 3, requires_grad=True)
    assert distillation_loss(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-6)
    optimizer = torch.optim.SGD([student], lr=2.0)
    for _ in range(300):
        optimizer.zero_grad()
        distillation_loss(student, teacher, 2.0).backward()
        optimizer.step()
    torch.testing.assert_close(student.softmax(dim=1), teacher.softmax(dim=1), rtol=0, atol=0.02)


def test_a_student_of_a_quarter_of_the_size_is_upsampled() -> None:
    teacher = torch.randn(1, 4, 8, 12)
    assert distillation_loss(torch.randn(1, 4, 2, 3), teacher, 2.0).isfinite()
