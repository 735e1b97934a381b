"""Muon (Jordan et al., 2024): momentum whose update is made orthogonal, so that all directions of a weight learn alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

# Quintic Newton-Schulz iteration that takes singular values in (0, 1] to about 1 in five steps.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_ADAMW_RMS = 0.2


class Muon(AdamW):
    """Steps groups of parameters that have ``orthogonal: True`` with Muon, and all others with AdamW.

    Convolutions count as matrices [outputs, inputs x height x width]. Their update is scaled to the size that AdamW's has
    (Liu et al., arXiv 2502.16982, equation 4), so one learning rate and one weight decay serve both kinds.

    Args:
        groups: dictionaries with ``params``, and ``weight_decay`` and ``orthogonal`` where they differ from the defaults.
        lr: learning rate.
        momentum: of the gradient's average, in [0, 1); applied the way Nesterov does.

    Raises ValueError for an orthogonal parameter of less than two dimensions.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float = 0.95) -> None:
        super().__init__(groups, lr=lr)
        for group in self.param_groups:
            group.setdefault("orthogonal", False)
            group.setdefault("momentum", momentum)
            for parameter in group["params"]:
                if group["orthogonal"] and parameter.ndim < 2:
                    raise ValueError(f"Muon steps matrices and convolutions, not the shape {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step along the gradients that are there; those of orthogonal parameters are gone afterwards."""
        for group in self.param_groups:
            if group["orthogonal"]:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._step_orthogonal(parameter, parameter.grad, group)
                        parameter.grad = None  # AdamW passes over it then
        super().step(closure)

    def _step_orthogonal(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)  # AdamW expects a count in every state it loads
            state["average"] = torch.zeros_like(parameter)
        state["step"] += 1
        average = state["average"].lerp_(gradient, 1 - group["momentum"])
        update = orthogonalized(gradient.lerp(average, group["momentum"]).flatten(1))
        size = _ADAMW_RMS * max(update.shape) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.view(parameter.shape), alpha=-group["lr"] * size)


def orthogonalized(matrix: Tensor) -> Tensor:
    """Bring the singular values of a float32 matrix [m, n] near 1 (at most 1.25) and keep its singular vectors.

    The least ones, a hundredth of the norm and below, only grow towards 1; zero stays zero.
    """
    a, b, c = _COEFFICIENTS
    transposed = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if transposed else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if transposed else x
