"""PMSDSEN's parameters part by part, its modules on inputs small enough to check by hand, and its options."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from lwseg_training.networks.count import count_network
from lwseg_training.networks.pmsdsen import PMSDSEN
from lwseg_training.networks.pmsdsen_blocks import (
    DWFF,
    ECA,
    LDI,
    LRMS,
    MSLRI,
    MSSE,
    PMSDSE,
    Down,
    LocalDetail,
    Sum,
    Up,
    eca_kernel_size,
    halve_image,
    pool_half,
)
from torch import Tensor, nn

PARAMETERS_AT_19_CLASSES = {
    "stem": 5_184,
    "layer1": 5_420,
    "down2": 10_272,
    "layer2": 38_040,
    "down3": 38_976,
    "layer3": 424_824,
    "semantic": 247_818,
    "up4": 73_920,
    "fuse4": 1_688,
    "layer4": 38_040,
    "up5": 18_528,
    "fuse5": 856,
    "layer5": 5_420,
    "head": 921,
    "auxiliary.0": 2_809,
    "auxiliary.1": 9_657,
}
SMALL: dict[str, Any] = {"encoder_blocks": (1, 1, 1), "decoder_blocks": (1, 1)}
"""One block a layer, to be quick."""


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def fill(module: nn.Module, value: float) -> nn.Module:
    """Set every parameter; return the module in eval mode."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
    return module.eval()


@pytest.mark.parametrize(("part", "count"), PARAMETERS_AT_19_CLASSES.items())
def test_parameters_of_each_part(part: str, count: int) -> None:
    assert parameters(PMSDSEN(19).get_submodule(part)) == count


def test_parameters_and_multiply_adds_of_the_whole() -> None:
    assert sum(PARAMETERS_AT_19_CLASSES.values()) == 922_373
    count = count_network(PMSDSEN(19), (512, 1024))
    assert count.parameters == 922_373
    assert count.multiply_adds / 1e9 == pytest.approx(11.87, rel=0.03)


@pytest.mark.parametrize(
    ("height", "width", "quarter_hw", "eighth_hw"),
    [(32, 32, (8, 8), (4, 4)), (33, 47, (9, 12), (5, 6)), (36, 63, (9, 16), (5, 8))],
)
def test_heads_in_training_and_in_eval(
    height: int, width: int, quarter_hw: tuple[int, int], eighth_hw: tuple[int, int]
) -> None:
    network = PMSDSEN(5, **SMALL)
    image = torch.randn(2, 3, height, width)
    outputs = network.train()(image)
    assert [output.shape for output in outputs] == [(2, 5, height, width), (2, 5, *quarter_hw), (2, 5, *eighth_hw)]
    with torch.no_grad():
        assert network.eval()(image).shape == (2, 5, height, width)


def test_eval_leaves_the_auxiliary_heads_out() -> None:
    network = PMSDSEN(4, **SMALL).eval()
    network.auxiliary[0].register_forward_hook(lambda *_: pytest.fail("an auxiliary head ran"))
    with torch.no_grad():
        assert isinstance(network(torch.zeros(1, 3, 32, 32)), Tensor)


def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    network = PMSDSEN(4, **SMALL).train()
    outputs = network(torch.randn(3, 3, 32, 64))
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    dead = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert dead == []


def test_class_bias_is_added_to_the_logits() -> None:
    network = PMSDSEN(4, **SMALL).eval()
    image = torch.randn(1, 3, 33, 41)
    shift = torch.tensor([1.0, -2.0, 0.0, 3.0])
    with torch.no_grad():
        before = network(image)
        network.class_bias.add_(shift)
        torch.testing.assert_close(network(image), before + shift.view(1, 4, 1, 1))


def test_bfloat16_autocast_gives_finite_gradients_and_the_same_logits() -> None:
    torch.manual_seed(0)
    network = PMSDSEN(4, **SMALL).eval()
    image = torch.randn(2, 3, 32, 48)
    plain = network(image)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(image)
        outputs = network.train()(image)
    assert mixed.dtype == torch.float32
    assert all(output.dtype == torch.float32 for output in outputs)
    assert (mixed - plain).norm() < 0.05 * plain.norm()
    sum(output.square().mean() for output in outputs).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_export_of_an_odd_size_takes_any_batch() -> None:
    torch.manual_seed(0)
    network = PMSDSEN(4, **SMALL, paths=("attention",)).eval()
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 3, 35, 45),),
        input_names=["image"],
        opset_version=18,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    image = torch.randn(3, 3, 35, 45)
    (got,) = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        expected = network(image).numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * expected.std())


# The modules


@pytest.mark.parametrize(
    ("channels", "size"), [(2, 1), (4, 1), (8, 3), (16, 3), (32, 3), (64, 3), (128, 5), (256, 5), (512, 5)]
)
def test_eca_kernel_size_is_odd_and_grows_with_the_channels(channels: int, size: int) -> None:
    assert eca_kernel_size(channels) == size
    assert ECA(channels).convolution.kernel_size == (size,)


def test_eca_weighs_a_channel_by_its_neighbours_means() -> None:
    attention = fill(ECA(8), 1.0)
    features = torch.zeros(1, 8, 2, 2)
    features[0, 3] = torch.tensor([[0.0, 2.0], [4.0, 6.0]])  # its mean is 3
    features[0, 5] = 1.0
    with torch.no_grad():
        weighed = attention(features)
    weights = torch.tensor([3.0, 1.0]).sigmoid()
    torch.testing.assert_close(weighed[0, 3], weights[0] * features[0, 3])
    torch.testing.assert_close(weighed[0, 5], weights[1] * features[0, 5])


@pytest.mark.parametrize("module", [LDI(8), MSLRI(8, (1, 2))], ids=["LDI", "MSLRI"])
def test_ldi_and_mslri_add_to_their_input(module: nn.Module) -> None:
    features = torch.randn(2, 8, 6, 6)
    with torch.no_grad():
        assert torch.equal(fill(module, 0.0)(features), features)


@pytest.mark.parametrize("branches", [2, 4, 8])
def test_branches_of_ldi_are_a_convolution_and_filters_on_it(branches: int) -> None:
    module = LDI(16, branches)
    first = module.residual[0]
    part = 16 // branches
    pointwise, depthwise = first.pointwise[0], first.depthwise[0]
    assert (pointwise.out_channels, depthwise.groups, depthwise.out_channels) == (part, part, 16 - part)
    assert module(torch.randn(2, 16, 5, 7)).shape == (2, 16, 5, 7)
    blocks = PMSDSEN(4, **SMALL, detail_branches=branches).modules()
    assert {block.pointwise[0].out_channels * branches for block in blocks if isinstance(block, LocalDetail)} == {
        32,
        64,
        128,
    }


def test_pmsdse_and_lrms_activate_the_sum_with_their_input() -> None:
    features = torch.randn(2, 8, 6, 6)
    for module in (PMSDSE(8, dilations=(1, 2)), LRMS(8, (1, 2))):
        with torch.no_grad():
            assert torch.equal(fill(module, 0.0)(features), nn.functional.gelu(features))


@pytest.mark.parametrize("dilations", [(1, 2, 3, 6), (1, 2, 3, 4), (2, 3)], ids=str)
def test_each_branch_of_lrms_sees_those_before_it_through_their_dilations(dilations: tuple[int, ...]) -> None:
    # One channel a branch; pointwise layers that keep channels apart, and nothing that could cancel.
    layer = fill(LRMS(len(dilations), dilations), 1.0)
    with torch.no_grad():
        for pointwise in (layer.spread[0], layer.merge[0]):
            pointwise.weight.copy_(torch.eye(len(dilations))[:, :, None, None])
    centre = sum(dilations) + 1
    for branch in range(len(dilations)):
        features = torch.ones(1, len(dilations), 2 * centre + 1, 2 * centre + 1, requires_grad=True)
        layer(features)[0, branch, centre, centre].backward()
        for source in range(len(dilations)):
            rows = features.grad[0, source].any(dim=1).nonzero().flatten()
            if source > branch:
                assert len(rows) == 0
            else:
                reach = sum(dilations[source : branch + 1])
                assert (rows.min(), rows.max()) == (centre - reach, centre + reach)


def test_lrms_shares_the_channels_out_evenly() -> None:
    layer = LRMS(16, (1, 2, 3, 4, 5, 6, 7, 8))
    assert [branch[0].in_channels for branch in layer.branches] == [2] * 8


def test_pool_half_repeats_the_edge_of_an_odd_size() -> None:
    features = torch.tensor([[[[1.0, 2.0, 5.0]]]])
    assert pool_half(features).tolist() == [[[[2 + 1.5, 5 + 5]]]]
    even = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert pool_half(even).tolist() == [[[[6 + 3]]]]


def test_halve_image_counts_the_padding_in_the_mean() -> None:
    halved = halve_image(torch.ones(1, 1, 4, 4))
    expected = [[1 + 4 / 9, 1 + 6 / 9], [1 + 6 / 9, 1 + 1]]
    torch.testing.assert_close(halved, torch.tensor([[expected]]))


@pytest.mark.parametrize("size_hw", [(8, 8), (7, 9), (5, 6)], ids=str)
def test_up_undoes_the_size_of_down(size_hw: tuple[int, int]) -> None:
    down = Down(4, 8).eval()(torch.randn(1, 4, *size_hw), torch.randn(1, 3, *size_hw))
    assert down.shape == (1, 8, (size_hw[0] + 1) // 2, (size_hw[1] + 1) // 2)
    assert Up(8, 4).eval()(down, size_hw).shape == (1, 4, *size_hw)


def test_down_keeps_the_pooled_features_beside_the_convolved() -> None:
    module = Down(4, 12).eval()
    features = torch.randn(1, 4, 6, 6)
    with torch.no_grad():
        down = module(features, torch.randn(1, 3, 6, 6))
        expected = nn.functional.gelu(pool_half(features) / (1 + 1e-5) ** 0.5)  # as normalised by an untrained layer
    torch.testing.assert_close(down[:, 8:], expected)


def test_msse_reaches_the_whole_map_by_the_global_pool_alone() -> None:
    torch.manual_seed(0)
    module = MSSE(8, 4, ((3, 1),)).eval()
    features = torch.randn(1, 8, 16, 16, requires_grad=True)
    # In front of the last channel attention, which sees the whole map as well.
    module.contexts[0](features, module.pointwise(features))[0, :, 8, 8].sum().backward()
    rows = features.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert (rows.min(), rows.max()) == (6, 10)  # 3x3 mean, then 3x3 convolution
    features.grad = None
    module.contexts[1](features, module.pointwise(features))[0, :, 8, 8].sum().backward()
    assert features.grad.abs().sum(dim=(0, 1)).all()


@pytest.mark.parametrize("size_hw", [(4, 4), (5, 9)], ids=str)
def test_msse_keeps_the_size_of_maps_smaller_than_its_kernels(size_hw: tuple[int, int]) -> None:
    module = MSSE(8, 4, ((5, 2), (9, 4), (17, 8))).eval()
    assert module(torch.randn(1, 8, *size_hw)).shape == (1, 8, *size_hw)


def test_dwff_weights_add_up_to_one() -> None:
    torch.manual_seed(0)
    module = DWFF(8, 2).eval()
    features = torch.randn(2, 8, 3, 3)
    with torch.no_grad():
        torch.testing.assert_close(module(features, features), features)


def test_dwff_prefers_the_map_with_the_higher_score() -> None:
    module = fill(DWFF(4, 4), 0.0)
    shallow, deep = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3)
    with torch.no_grad():
        torch.testing.assert_close(module(shallow, deep), (shallow + deep) / 2)
        module.weigh_shallow.bias[1] = 100.0
        module.weigh_deep.bias[2] = np.log(3)
        fused = module(shallow, deep)
    torch.testing.assert_close(fused[:, 1], shallow[:, 1])
    torch.testing.assert_close(fused[:, 2], shallow[:, 2] / 4 + deep[:, 2] * 3 / 4)


# The options


@pytest.mark.parametrize("dilations", [[1, 2], [1, 2, 3, 4], [1, 4, 8, 12], [1, 1, 2, 2, 3, 3, 6, 6]], ids=str)
def test_dilations_set_the_branches_of_every_block(dilations: list[int]) -> None:
    network = PMSDSEN(4, **SMALL, dilations=dilations)
    layers = [module for module in network.modules() if isinstance(module, LRMS)]
    assert len(layers) == 2 * 5
    for layer in layers:
        assert [branch[0].dilation[0] for branch in layer.branches] == dilations
    assert parameters(network) == parameters(PMSDSEN(4, **SMALL))  # each channel has one filter all the same


@pytest.mark.parametrize("pools", [[[3, 2], [7, 4], [15, 8]], [[7, 2], [11, 4], [19, 8]], [[5, 2]], []], ids=str)
def test_pool_kernels_set_the_branches_of_msse(pools: list[list[int]]) -> None:
    contexts = PMSDSEN(4, **SMALL, pool_kernels=pools).semantic.contexts
    assert [[context.kernel_size, context.stride] for context in contexts] == [*pools, [None, 1]]


@pytest.mark.parametrize(
    ("paths", "kinds"),
    [(["local"], [LDI]), (["long_range"], [MSLRI]), (["attention", "local"], [LDI, ECA])],
    ids=str,
)
def test_paths_set_what_runs_in_parallel(paths: list[str], kinds: list[type]) -> None:
    network = PMSDSEN(4, **SMALL, paths=paths)
    assert [type(path) for path in network.layer3[0].paths] == kinds


@pytest.mark.parametrize(
    ("options", "fewer"),
    [
        ({"encoder_blocks": [1, 1, 6]}, 38_040 // 2),
        ({"decoder_blocks": [1, 1]}, 38_040 // 2),
        ({"semantic_encoding": False}, 247_818),
        ({"fusion": "sum"}, 1_688 + 856),
        ({"auxiliary_heads": False}, 2_809 + 9_657),
        ({"paths": ["local", "long_range"]}, 6 * 3 + 6 * 5),  # attention's kernels in 6 blocks to 1/4 and 6 at 1/8
    ],
    ids=str,
)
def test_options_that_leave_parts_out(options: dict[str, Any], fewer: int) -> None:
    assert 922_373 - parameters(PMSDSEN(19, **options)) == fewer


def test_without_auxiliary_heads_training_gives_the_prediction_alone() -> None:
    network = PMSDSEN(4, **SMALL, auxiliary_heads=False).train()
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 4, 32, 32)


def test_plain_fusion_adds() -> None:
    network = PMSDSEN(4, **SMALL, fusion="sum", semantic_encoding=False).eval()
    assert network(torch.randn(1, 3, 33, 32)).shape == (1, 4, 33, 32)
    assert Sum()(torch.ones(1), torch.ones(1)) == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dilations": []}, "[]"),
        ({"dilations": [1, 0]}, "[1, 0]"),
        ({"dilations": [1, 2.5]}, "[1, 2.5]"),
        ({"dilations": [1, 2, 3]}, "[1, 2, 3]"),
        ({"detail_branches": 3}, "detail_branches 3 are not 2 or more that share out 32 channels evenly"),
        ({"detail_branches": 1}, "detail_branches 1 are not"),
        ({"pool_kernels": [[4, 2]]}, "[4, 2]"),
        ({"pool_kernels": [[5, 0]]}, "[5, 0]"),
        ({"pool_kernels": [[5]]}, "[5]"),
        ({"pool_kernels": ["ab"]}, "'ab'"),
        ({"paths": []}, "[]"),
        ({"paths": ["global"]}, "['global']"),
        ({"paths": ["local", "local"]}, "['local', 'local']"),
        ({"encoder_blocks": [1, 2]}, "[1, 2]"),
        ({"encoder_blocks": [1, 2, 0]}, "0"),
        ({"decoder_blocks": [1, 2, 3]}, "[1, 2, 3]"),
        ({"decoder_blocks": [1, 2.5]}, "2.5"),
        ({"fusion": "concat"}, "'concat'"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(named)):
        PMSDSEN(4, **options)


def test_an_option_it_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="kernels"):
        PMSDSEN(4, kernels=3)  # type: ignore[call-arg]
