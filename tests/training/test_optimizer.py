"""Which parameters are decayed, and which are stepped by Muon."""

from __future__ import annotations

import pytest
import torch

from training.networks import build_network
from training.networks.layers import DepthwiseConv2d
from training.optimizer import build_optimizer
from training.recipe import OptimizerSection


def settings(kind: str) -> OptimizerSection:
    return OptimizerSection.model_validate({"kind": kind, "lr": 0.1, "weight_decay": 0.5, "momentum": 0.7})


@pytest.mark.parametrize("kind", ["sgd", "adamw", "muon"])
def test_only_matrices_are_decayed_and_nothing_is_left_out(kind: str) -> None:
    network = build_network("dwrseg_b", 5)
    optimizer = build_optimizer(network, settings(kind))
    assert type(optimizer).__name__.lower() == kind
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for parameter in network.parameters():
        assert decays.pop(id(parameter)) == (0.5 if parameter.ndim > 1 else 0.0)
    assert decays == {}


def test_sgd_has_the_recipes_momentum() -> None:
    assert build_optimizer(build_network("dwrseg_b", 5), settings("sgd")).defaults["momentum"] == 0.7


def test_muon_steps_what_mixes_channels_inside_the_network() -> None:
    network = build_network("dwrseg_b", 5)
    optimizer = build_optimizer(network, settings("muon"))
    orthogonal = {id(p) for group in optimizer.param_groups if group["orthogonal"] for p in group["params"]}
    names = {name: id(parameter) in orthogonal for name, parameter in network.named_parameters()}
    assert names["stage2.1.residual.0.0.weight"]
    assert not names["stem.first.0.weight"]  # reads the image
    assert not names["head.1.weight"]  # the classifier
    depthwise = [module for module in network.modules() if isinstance(module, DepthwiseConv2d)]
    assert depthwise
    assert not any(id(module.weight) in orthogonal for module in depthwise)
    assert all(parameter.ndim == 4 for parameter in network.parameters() if id(parameter) in orthogonal)
    assert isinstance(optimizer, torch.optim.AdamW)
