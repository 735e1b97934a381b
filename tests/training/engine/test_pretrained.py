"""Published weights of a backbone as a start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lwseg_training.config.recipe import load_recipe, resolve_recipe
from lwseg_training.engine.checkpoint import CheckpointError
from lwseg_training.engine.pretrained import load_pretrained
from lwseg_training.networks import build_network
from lwseg_training.networks.efficientnet_lite import EfficientNetLite

from lwseg_ros.errors import RecipeError


def published(path: Path, variant: int = 0) -> Path:
    """Write a file of weights with the published names, the classifier among them, of random numbers."""
    encoder = EfficientNetLite(variant)
    ours = encoder.state_dict()
    names = {"stem.1": "_conv_stem", "stem.2": "_bn0"}
    number = 0
    for stage, blocks in enumerate(encoder.stages):
        for block in range(len(blocks)):
            for theirs, part in {
                "_expand_conv": "expand.0",
                "_bn0": "expand.1",
                "_depthwise_conv": "depthwise.1",
                "_bn1": "depthwise.2",
                "_project_conv": "project.0",
                "_bn2": "project.1",
            }.items():
                names[f"stages.{stage}.{block}.{part}"] = f"_blocks.{number}.{theirs}"
            number += 1
    weights = {f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value for name, value in ours.items()}
    torch.save({**weights, "_fc.weight": torch.zeros(1000, 1280)}, path)
    torch.save(ours, path.with_suffix(".ours"))
    return path


def test_the_backbone_starts_from_the_file_and_the_rest_at_random(tmp_path: Path) -> None:
    torch.manual_seed(1)
    path = published(tmp_path / "lite0.pth")
    network = build_network("lite_seg0", 5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    start = load_pretrained(network, str(path))
    wanted = torch.load(path.with_suffix(".ours"), weights_only=True)
    assert start.taken == len(wanted)
    for name, value in network.state_dict().items():
        expected = wanted[name.removeprefix("backbone.")] if name.startswith("backbone.") else before[name]
        assert torch.equal(value, expected), name


def test_a_resnet_starts_from_torchvisions_file(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = build_network("deeplabv3plus_r50", 3)
    theirs = {
        name: torch.randn_like(value) if value.is_floating_point() else value
        for name, value in network.backbone.state_dict().items()
    }  # type: ignore[union-attr, operator]
    torch.save(
        {**theirs, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, tmp_path / "resnet50.pth"
    )
    for name, options in (("deeplabv3plus_r50", {}), ("synergy", {"trunk": "deeplabv3plus_r50"})):
        started = build_network(name, 3, **options)
        start = load_pretrained(started, str(tmp_path / "resnet50.pth"))
        assert start.unused == ("fc",)
        assert torch.equal(started.backbone.layer3[1].conv2.weight, theirs["layer3.1.conv2.weight"])  # type: ignore[union-attr, index]


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    network = build_network("lite_seg0", 5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for path, message in (
        (
            published(tmp_path / "lite2.pth", 2),
            "weights of another backbone than a EfficientNetLite: .* in the network and",
        ),
        (tmp_path / "text.pth", "not a readable file of weights"),
        (tmp_path / "list.pth", "holds no state dict"),
        (tmp_path / "none.pth", "no file .*none.pth"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_pretrained(network, str(path))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_networks_without_published_weights_say_so() -> None:
    with pytest.raises(RecipeError, match="a DWRSeg has no backbone"):
        load_pretrained(build_network("dwrseg_b", 5), "imagenet")
    with pytest.raises(RecipeError, match="nobody is known to publish weights of a ResNet50"):
        load_pretrained(build_network("deeplabv3plus_r50", 5), "imagenet")


def test_a_recipe_starts_from_one_thing() -> None:
    path = resolve_recipe("lite_seg0_camvid_short")
    assert load_recipe(path).network.pretrained == "imagenet"
    with pytest.raises(RecipeError, match="from pretrained weights or from a checkpoint"):
        load_recipe(path, ["network.warm_start=last.pt"])
