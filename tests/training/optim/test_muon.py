"""Muon against singular value decompositions, and against AdamW where it is AdamW."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lwseg_training.optim.muon import Muon, orthogonalized
from torch import Tensor, nn


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16), (1, 9)], ids=str)
def test_orthogonalized_keeps_directions_and_evens_out_their_sizes(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    along = u.T @ orthogonalized(matrix) @ vh.T
    sizes = along.diagonal()
    assert sizes.min() > 0.3  # a square matrix has singular values near zero, which five steps only start to lift
    assert sizes.max() < 1.25
    torch.testing.assert_close(along, torch.diag(sizes), atol=1e-4, rtol=0)


def test_orthogonalized_does_not_depend_on_the_gradients_size_and_leaves_zero_alone() -> None:
    matrix = torch.arange(12.0).view(3, 4)
    torch.testing.assert_close(orthogonalized(matrix), orthogonalized(1e4 * matrix), atol=1e-4, rtol=0)
    assert not orthogonalized(torch.zeros(3, 4)).any()


def test_first_step_is_the_orthogonal_gradient_with_the_size_of_an_adamw_step() -> None:
    weight = nn.Parameter(torch.ones(4, 2, 3, 3))
    weight.grad = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    direction = orthogonalized(weight.grad.flatten(1)).view(4, 2, 3, 3)
    Muon([{"params": [weight], "orthogonal": True, "weight_decay": 0.5}], lr=0.1).step()
    torch.testing.assert_close(weight.detach(), 1 - 0.1 * 0.5 - 0.1 * 0.2 * 18**0.5 * direction)


def test_momentum_is_nesterovs() -> None:
    weight = nn.Parameter(torch.zeros(3, 4))
    optimizer = Muon([{"params": [weight], "orthogonal": True, "weight_decay": 0.0}], lr=1.0, momentum=0.5)
    gradients = [torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    expected, average = torch.zeros(3, 4), torch.zeros(3, 4)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        average = (average + gradient) / 2
        expected -= 0.2 * 2 * orthogonalized((average + gradient) / 2)
    torch.testing.assert_close(weight.detach(), expected)


def test_other_parameters_are_stepped_as_adamw_steps_them() -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2))
    optimizers = (
        Muon([{"params": [ours], "weight_decay": 0.1}], 0.01),
        torch.optim.AdamW([theirs], 0.01, weight_decay=0.1),
    )
    for step in range(3):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = torch.linspace(1, 2, 5) * (step + 1)
            optimizer.step()
    assert torch.equal(ours, theirs)


def test_a_saved_state_goes_on_where_it_was() -> None:
    def build() -> tuple[list[nn.Parameter], Muon]:
        torch.manual_seed(0)
        matrix, vector = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(3))
        return [matrix, vector], Muon([{"params": [matrix], "orthogonal": True}, {"params": [vector]}], lr=0.1)

    def steps(parameters: list[nn.Parameter], optimizer: Muon, numbers: range) -> None:
        for number in numbers:
            for parameter in parameters:
                parameter.grad = torch.full_like(parameter, float(number)) + parameter.detach()
            optimizer.step()

    through, optimizer = build()
    steps(through, optimizer, range(6))
    resumed, optimizer = build()
    steps(resumed, optimizer, range(3))
    state: dict[str, Any] = optimizer.state_dict()
    weights: list[Tensor] = [parameter.detach().clone() for parameter in resumed]
    resumed, optimizer = build()
    for parameter, weight in zip(resumed, weights, strict=True):
        parameter.data.copy_(weight)
    optimizer.load_state_dict(state)
    steps(resumed, optimizer, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(through, resumed, strict=True))


def test_parameters_without_a_gradient_stay() -> None:
    weight = nn.Parameter(torch.ones(3, 4))
    Muon([{"params": [weight], "orthogonal": True}], lr=0.1).step()
    assert torch.equal(weight, torch.ones(3, 4))


def test_a_vector_has_no_directions() -> None:
    with pytest.raises(ValueError, match=r"Muon steps matrices and convolutions, not the shape \(3,\)"):
        Muon([{"params": [nn.Parameter(torch.ones(3))], "orthogonal": True}], lr=0.1)
