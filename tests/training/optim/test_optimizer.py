"""Which parameters are decayed, and which are stepped by Muon."""

from __future__ import annotations

import pytest
from lwseg_training.config.recipe import OptimizerSection
from lwseg_training.networks import NETWORKS, build_network
from lwseg_training.networks.layers import DepthwiseConv2d
from lwseg_training.optim.optimizer import build_optimizer
from torch import nn

from lwseg_ros.errors import RecipeError


def settings(kind: str) -> OptimizerSection:
    return OptimizerSection.model_validate({"kind": kind, "lr": 0.1, "weight_decay": 0.5, "momentum": 0.7})


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["sgd", "adamw", "muon"])
def test_every_parameter_is_in_one_group_and_only_matrices_are_decayed(kind: str, name: str) -> None:
    network = build_network(name, 5)
    optimizer = build_optimizer(network, settings(kind))
    assert type(optimizer).__name__.lower() == kind
    grouped = [(id(p), group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]]
    wanted = [(id(p), 0.5 if p.ndim > 1 else 0.0) for p in network.parameters() if p.requires_grad]
    assert sorted(grouped) == sorted(wanted)


def orthogonal_names(network: nn.Module) -> set[str]:
    groups = build_optimizer(network, settings("muon")).param_groups
    orthogonal = {id(parameter) for group in groups if group["orthogonal"] for parameter in group["params"]}
    return {name for name, parameter in network.named_parameters() if id(parameter) in orthogonal}


def test_sgd_has_the_recipes_momentum() -> None:
    assert build_optimizer(build_network("dwrseg_b", 5), settings("sgd")).defaults["momentum"] == 0.7


def test_muon_steps_what_mixes_channels_inside_the_network() -> None:
    network = build_network("dwrseg_b", 5)
    orthogonal = orthogonal_names(network)
    assert "stage2.1.residual.0.0.weight" in orthogonal
    assert "stem.first.0.weight" not in orthogonal  # reads the image
    assert "head.1.weight" not in orthogonal  # the classifier
    depthwise = [f"{name}.weight" for name, module in network.named_modules() if isinstance(module, DepthwiseConv2d)]
    assert depthwise
    assert not orthogonal.intersection(depthwise)
    assert all(network.get_parameter(name).ndim == 4 for name in orthogonal)


@pytest.mark.parametrize("name", NETWORKS)
def test_muon_leaves_what_reads_the_image_and_what_tells_classes_to_adamw(name: str) -> None:
    network = build_network(name, 5)  # no hidden layer has 5 outputs
    orthogonal = orthogonal_names(network)
    layers = {key: module for key, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    ends = {
        f"{key}.weight"
        for key, layer in layers.items()
        if layer.weight.shape[0] == 5 or (layer.weight.shape[1] == 3 and getattr(layer, "groups", 1) == 1)
    }
    assert len(ends) >= 2
    assert not orthogonal & ends
    between = {f"{key}.weight" for key, layer in layers.items() if layer.weight.shape[1] > 3}  # depth-wise ones have 1
    assert orthogonal == between - ends


@pytest.mark.parametrize("name", NETWORKS)
def test_muon_knows_the_classifier_among_layers_of_as_many_outputs(name: str) -> None:
    assert orthogonal_names(build_network(name, 64)) == orthogonal_names(build_network(name, 5))


@pytest.mark.parametrize(
    ("name", "heads"),
    [("pmsdsen", ("head.", "auxiliary.")), ("dwrseg_b", ("head.1.",)), ("synergy", ("trunk.head.1.",))],
)
def test_heads_have_their_multiple_of_the_learning_rate(name: str, heads: tuple[str, ...]) -> None:
    network = build_network(name, 5)
    optimizer = build_optimizer(network, settings("sgd").model_copy(update={"head_lr": 10.0}))
    factor = {id(p): group["lr_factor"] for group in optimizer.param_groups for p in group["params"]}
    assert {key: factor[id(p)] for key, p in network.named_parameters()} == {
        key: 10.0 if key.startswith(heads) else 1.0 for key, _ in network.named_parameters()
    }
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert all(decay[id(p)] == (0.5 if p.ndim > 1 else 0.0) for p in network.parameters())


@pytest.mark.parametrize("kind", ["sgd", "adamw", "muon"])
def test_a_backbones_parameters_have_their_share_of_the_learning_rate(kind: str) -> None:
    network = build_network("lite_seg0", 5)
    optimizer = build_optimizer(network, settings(kind).model_copy(update={"backbone_lr": 0.25}))
    factor = {id(p): group["lr_factor"] for group in optimizer.param_groups for p in group["params"]}
    assert len(factor) == sum(len(group["params"]) for group in optimizer.param_groups)
    assert {factor[id(p)] for p in network.backbone.parameters()} == {0.25}  # type: ignore[union-attr, operator]
    own = {id(p) for p in network.backbone.parameters()}  # type: ignore[union-attr, operator]
    assert {factor[id(p)] for p in network.parameters() if id(p) not in own} == {1.0}
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert all(decay[id(p)] == (0.5 if p.ndim > 1 else 0.0) for p in network.parameters())


def test_a_rate_of_a_backbone_that_is_not_there_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"optimizer\.backbone_lr: a DWRSeg has no backbone"):
        build_optimizer(build_network("dwrseg_b", 5), settings("sgd").model_copy(update={"backbone_lr": 0.25}))
