"""Which parameters are stepped how."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from training.muon import Muon
from training.recipe import OptimizerSection


def build_optimizer(network: nn.Module, settings: OptimizerSection) -> Optimizer:
    """Build the optimizer a recipe asks for; vectors (biases, normalisation) are not decayed."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    plain = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if settings.kind == "sgd":
        return SGD(groups, lr=settings.lr, momentum=settings.momentum)
    if settings.kind == "adamw":
        return AdamW(groups, lr=settings.lr)
    hidden = {id(weight) for weight in _hidden_matrices(network)}
    groups = [
        {
            "params": [p for p in decayed if id(p) in hidden],
            "weight_decay": settings.weight_decay,
            "orthogonal": True,
        },
        {"params": [p for p in decayed if id(p) not in hidden], "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return Muon([group for group in groups if group["params"]], settings.lr)


def _hidden_matrices(network: nn.Module) -> list[Tensor]:
    """List the weights that mix channels inside the network: not depth-wise, not of the image, not of the classifier."""
    classes = network.class_bias.shape[0]  # type: ignore[index]
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return [m.weight for m in convolutions if m.weight.shape[1] > 3 and m.weight.shape[0] != classes]
