"""Which parameters are stepped how."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from lwseg_ros.errors import RecipeError
from lwseg_training.config.recipe import OptimizerSection
from lwseg_training.optim.muon import Muon


def build_optimizer(network: nn.Module, settings: OptimizerSection) -> Optimizer:
    """Build the optimizer a recipe asks for; vectors (biases, normalisation) are not decayed.

    Each group has ``lr_factor``, by which a step multiplies the schedule's learning rate. Raises RecipeError for a rate of a
    backbone that the network has not.
    """
    optimizer = _build(network, settings)
    for group in optimizer.param_groups:
        group["lr_factor"] = 1.0
    if settings.backbone_lr != 1:
        backbone = getattr(network, "backbone", None)
        if not isinstance(backbone, nn.Module):
            raise RecipeError(f"optimizer.backbone_lr: a {type(network).__name__} has no backbone; leave it out")
        _set_apart(optimizer, [backbone], settings.backbone_lr)
    if settings.head_lr != 1:
        _set_apart(optimizer, getattr(network, "heads", network.classifiers), settings.head_lr)  # type: ignore[arg-type]
    return optimizer


def _set_apart(optimizer: Optimizer, modules: Iterable[nn.Module], lr_factor: float) -> None:
    """Put the parameters of some modules into groups of their own with another factor."""
    apart = {id(parameter) for module in modules for parameter in module.parameters()}
    for group in list(optimizer.param_groups):
        own = [parameter for parameter in group["params"] if id(parameter) in apart]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in apart]
        if own:
            optimizer.add_param_group({**group, "params": own, "lr_factor": lr_factor})


def _build(network: nn.Module, settings: OptimizerSection) -> Optimizer:
    decay = settings.weight_decay
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    plain = {"params": [parameter for parameter in network.parameters() if parameter.ndim <= 1], "weight_decay": 0.0}
    if settings.kind == "sgd":
        return SGD([{"params": decayed, "weight_decay": decay}, plain], lr=settings.lr, momentum=settings.momentum)
    if settings.kind == "adamw":
        return AdamW([{"params": decayed, "weight_decay": decay}, plain], lr=settings.lr)
    hidden = {id(weight) for weight in _hidden_matrices(network)}
    orthogonal = [parameter for parameter in decayed if id(parameter) in hidden]
    others = [parameter for parameter in decayed if id(parameter) not in hidden]
    groups = [
        {"params": orthogonal, "weight_decay": decay, "orthogonal": True},
        {"params": others, "weight_decay": decay},
        plain,
    ]
    return Muon(groups, settings.lr)


def _hidden_matrices(network: nn.Module) -> list[Tensor]:
    """List the weights that mix channels inside the network: not depth-wise, not of the image, not of the classifier."""
    classifiers = {id(layer) for layer in network.classifiers}  # type: ignore[union-attr]
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return [layer.weight for layer in layers if layer.weight.shape[1] > 3 and id(layer) not in classifiers]
