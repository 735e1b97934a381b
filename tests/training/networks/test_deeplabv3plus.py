"""DeepLabv3+ and its ResNet-50: counts that public implementations state, strides and dilations, options."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from lwseg_training.networks.count import count_network
from lwseg_training.networks.deeplabv3plus import ASPP, DeepLabV3Plus
from lwseg_training.networks.layers import ConvBN
from lwseg_training.networks.resnet import Bottleneck, ResNet50
from torch import Tensor, nn
from torch.nn import functional as F


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def unfilled(num_classes: int = 21, **options: Any) -> DeepLabV3Plus:
    """Build a network without memory for its weights, to look at."""
    with torch.device("meta"):
        return DeepLabV3Plus(num_classes, **options)


@pytest.fixture(scope="module")
def network() -> DeepLabV3Plus:
    torch.manual_seed(0)
    return DeepLabV3Plus(5).eval()


# Counts


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 40_352_181),
        ({"separable": True}, 26_682_725),  # to the parameter what segmentation_models.pytorch has with ResNet-50
        (
            {"decoder_convolutions": 1},
            39_761_845,
        ),  # as DeepLabV3Plus-Pytorch is built, a single convolution in the decoder
        ({"low_level_channels": 32}, 40_352_181 - 16 * (256 + 2 + 256 * 9)),
        ({"aspp_rates": [6, 12]}, 40_352_181 - (2048 * 256 * 9 + 2 * 256) - 256 * 256),
        ({"output_stride": 8}, 40_352_181),
    ],
    ids=str,
)
def test_parameters_at_21_classes(options: dict[str, Any], count: int) -> None:
    assert parameters(unfilled(**options)) == count


def test_parameters_of_the_backbone_are_resnet_50s_less_its_classifier() -> None:
    assert parameters(unfilled().backbone) == 25_557_032 - 2049 * 1000


def test_multiply_adds_are_those_of_the_public_implementation() -> None:
    count = count_network(DeepLabV3Plus(21, decoder_convolutions=1), (513, 513))
    assert count.multiply_adds / 1e9 == pytest.approx(62.7, rel=0.01)


# The backbone


def test_weights_are_named_and_shaped_as_published_ones() -> None:
    with torch.device("meta"):
        weights = ResNet50().state_dict()
    assert len(weights) == 318  # 53 convolutions, 53 normalisations of 5 tensors each
    for key, shape in {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer3.5.conv2.weight": (256, 256, 3, 3),
        "layer4.0.downsample.1.num_batches_tracked": (),
        "layer4.2.bn3.bias": (2048,),
    }.items():
        assert weights[key].shape == shape, key


@pytest.mark.parametrize(
    ("output_stride", "dilations"),
    [
        (32, [1] * 16),
        (16, [1] * 14 + [2] * 2),
        (8, [1] * 8 + [2] * 6 + [4] * 2),
    ],
)
def test_output_stride_trades_stride_for_dilation(output_stride: int, dilations: list[int]) -> None:
    with torch.device("meta"):
        backbone = ResNet50(output_stride=output_stride)
        quarter, deep = backbone(torch.zeros(1, 3, 65, 96))
    blocks = [module for module in backbone.modules() if isinstance(module, Bottleneck)]
    assert [block.conv2.dilation[0] for block in blocks] == dilations
    assert all(block.conv2.padding == block.conv2.dilation for block in blocks)
    assert all(block.conv1.stride == (1, 1) for block in blocks)  # the 3x3 convolution takes the stride
    assert quarter.shape == (1, 256, 17, 24)
    assert deep.shape == (1, 2048, -(-65 // output_stride), 96 // output_stride)


@torch.no_grad()
def test_dilation_keeps_what_the_classifier_computes_at_every_second_pixel() -> None:
    torch.manual_seed(0)
    plain = ResNet50().eval()
    dilated = ResNet50(output_stride=16).eval()
    dilated.load_state_dict(plain.state_dict())
    image = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(dilated(image)[1][..., ::2, ::2], plain(image)[1], rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_bottleneck_adds_its_input() -> None:
    features = torch.randn(1, 16, 3, 3)
    block = Bottleneck(16, 4).eval()
    block.bn3.weight.zero_()
    assert torch.equal(block(features), features.relu())


# Pyramid and decoder


@torch.no_grad()
def test_pyramid_has_a_branch_a_rate_and_one_of_the_mean() -> None:
    torch.manual_seed(0)
    pyramid = ASPP(4, (1, 2), separable=False, dropout=0.1).eval()
    assert [branch[0].dilation[0] for branch in pyramid.branches] == [1, 1, 2]
    assert [branch[0].kernel_size[0] for branch in pyramid.branches] == [1, 3, 3]
    features = torch.randn(2, 4, 5, 6)
    seen: list[Tensor] = []
    pyramid.project.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert pyramid(features).shape == (2, 256, 5, 6)
    mean = pyramid.pooled(F.adaptive_avg_pool2d(features, 1))
    torch.testing.assert_close(seen[0][:, -256:], mean.expand(2, 256, 5, 6))


@pytest.mark.parametrize("separable", [False, True])
def test_rates_and_separability_reach_every_3x3_convolution(separable: bool) -> None:
    network = unfilled(aspp_rates=(12, 24, 36), separable=separable, decoder_convolutions=3)
    spatial = [branch[0] for branch in network.aspp.branches[1:]] + [layer[0] for layer in network.decoder]
    assert [layer.dilation[0] for layer in spatial] == [12, 24, 36, 1, 1, 1]
    assert [layer.in_channels for layer in spatial] == [2048, 2048, 2048, 304, 256, 256]
    assert [layer.groups for layer in spatial] == [layer.in_channels if separable else 1 for layer in spatial]


# The whole


@torch.no_grad()
@pytest.mark.parametrize("size_hw", [(32, 32), (33, 47), (70, 41)])
def test_logits_have_the_size_of_the_input(network: DeepLabV3Plus, size_hw: tuple[int, int]) -> None:
    logits = network(torch.randn(2, 3, *size_hw))
    assert logits.shape == (2, 5, *size_hw)
    assert logits.dtype == torch.float32


@torch.no_grad()
def test_eval_gives_each_image_the_same_alone_as_in_a_batch(network: DeepLabV3Plus) -> None:
    images = torch.randn(2, 3, 33, 40)
    alone = torch.cat([network(images[:1]), network(images[1:])])
    torch.testing.assert_close(network(images), alone, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_class_bias_is_added_to_the_logits(network: DeepLabV3Plus) -> None:
    image = torch.randn(1, 3, 33, 41)
    shift = torch.tensor([1.0, -2.0, 0.0, 3.0, 0.5])
    before = network(image)
    network.class_bias.add_(shift)
    after = network(image)
    network.class_bias.sub_(shift)
    torch.testing.assert_close(after, before + shift.view(1, 5, 1, 1))


@pytest.mark.parametrize("options", [{}, {"separable": True, "output_stride": 8}], ids=str)
def test_gradient_reaches_every_parameter_in_bfloat16_autocast(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = DeepLabV3Plus(3, **options).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.randn(3, 3, 32, 48))
    assert logits.dtype == torch.float32
    (logits * torch.randn_like(logits)).sum().backward()
    faults = [
        name
        for name, value in network.named_parameters()
        if value.grad is None or not value.grad.any() or not torch.isfinite(value.grad).all()
    ]
    assert faults == []


def test_training_with_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        ASPP(4, (1,), separable=False, dropout=0.0).train()(torch.randn(1, 4, 3, 3))


# The options


def test_dropout_is_in_the_pyramid() -> None:
    assert [module.p for module in unfilled(dropout=0.3).modules() if isinstance(module, nn.Dropout)] == [0.3]
    assert isinstance(unfilled().aspp.project[0], ConvBN)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"output_stride": 4}, "output_stride 4 is none of (8, 16, 32)"),
        ({"output_stride": "16"}, "output_stride '16' is none"),
        ({"aspp_rates": []}, "aspp_rates [] are not"),
        ({"aspp_rates": "6"}, "aspp_rates '6' are not"),
        ({"aspp_rates": [6, 0]}, "aspp_rates takes numbers from 1 up, not 0"),
        ({"aspp_rates": [6, 1.5]}, "aspp_rates takes whole numbers, not 1.5"),
        ({"low_level_channels": 0}, "low_level_channels takes numbers from 1 up, not 0"),
        ({"decoder_convolutions": 0}, "decoder_convolutions takes numbers from 1 up, not 0"),
        ({"decoder_convolutions": True}, "decoder_convolutions takes whole numbers, not True"),
        ({"separable": "yes"}, "separable is True or False, not 'yes'"),
        ({"dropout": 1.5}, "1.5"),
        ({"wings": 2}, "wings"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(named)):
        unfilled(4, **options)
