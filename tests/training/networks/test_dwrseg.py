"""DWRSeg's own options: the ablations of its paper's Table 2."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from lwseg_training.networks import build_network
from lwseg_training.networks.count import count_network
from lwseg_training.networks.dwrseg import DWR, SIR, Nonlinearity

from lwseg_ros.errors import RecipeError

ABLATIONS: list[dict[str, Any]] = [
    *({"nonlinearity": choice} for choice in get_args(Nonlinearity)),
    {"shared_regions": True},
    {"ratio": [1, 1, 1]},
    {"ratio": [1, 1, 2]},
    {"expansion": 0.5},
    {"expansion": 2.0},
    {"sir_depthwise": True},
    {"sir_expansion": 2},
    {"sir_blocks": 2, "dwr2_blocks": 1, "dwr3_blocks": 1},
]


def layout(**options: Any) -> list[tuple[str, str]]:
    """Describe a network by its modules."""
    small = {"sir_blocks": 1, "dwr2_blocks": 1, "dwr3_blocks": 1, **options}
    return [(name, repr(module)) for name, module in build_network("dwrseg_b", 4, **small).named_modules()]


@pytest.mark.parametrize("options", ABLATIONS, ids=str)
def test_every_ablation_builds_and_learns(options: dict[str, Any]) -> None:
    small = {"sir_blocks": 1, "dwr2_blocks": 1, "dwr3_blocks": 1, **options}
    network = build_network("dwrseg_b", 4, **small).train()
    logits = network(torch.randn(2, 3, 64, 96))
    assert logits.shape == (2, 4, 64, 96)
    logits.square().mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


@pytest.mark.parametrize("options", [o for o in ABLATIONS if o != {"nonlinearity": "paper"}], ids=str)
def test_every_ablation_changes_the_network(options: dict[str, Any]) -> None:
    assert layout(**options) != layout()


@pytest.mark.parametrize(
    "options",
    [
        {"nonlinearity": "swish"},
        {"ratio": [1, 1]},
        {"ratio": [0, 0, 0]},
        {"expansion": -1.0},
        {"sir_expansion": "wide"},
        {"sir_blocks": 2.5},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="network 'dwrseg_b' does not take the options"):
        build_network("dwrseg_b", 4, **options)


def test_the_expansion_of_table_2_is_not_that_of_the_published_size() -> None:
    published = 2.54e6
    size = {e: count_network(build_network("dwrseg_b", 19, expansion=e), (64, 128)).parameters for e in (1.0, 1.5)}
    assert size[1.0] == pytest.approx(published, rel=0.01)
    assert size[1.5] == pytest.approx(3.07e6, rel=0.01)


def test_branches_share_the_region_maps_out_by_the_ratio() -> None:
    module = DWR(128, rates=(1, 3, 5), ratio=(2, 1, 1), multipliers=(1, 1, 1))
    assert module.shares == [64, 32, 32]
    assert [branch.dilation for branch in module.branches] == [(1, 1), (3, 3), (5, 5)]
    doubled = DWR(128, rates=(1, 3), ratio=(1, 1), multipliers=(2, 1))
    assert [branch.out_channels for branch in doubled.branches] == [128, 64]
    assert doubled.pointwise.in_channels == 192


@pytest.mark.parametrize("module", [SIR(8), DWR(8, rates=(1, 3), ratio=(1, 1), multipliers=(1, 1))], ids=["SIR", "DWR"])
def test_modules_are_residual(module: torch.nn.Module) -> None:
    features = torch.randn(2, 8, 12, 12)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        assert torch.equal(module.eval()(features), features)
