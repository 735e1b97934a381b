"""Shared layers."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from lwseg_training.networks.layers import ConvBN, DepthwiseConv2d, resize_bilinear


def test_depthwise_computes_in_float32_under_cpu_autocast() -> None:
    # At these sizes PyTorch 2.13 made non-finite weight gradients in bfloat16 in a quarter of the steps.
    torch.manual_seed(0)
    layer = DepthwiseConv2d(64, dilation=3)
    features = torch.randn(4, 64, 22, 30)
    upstream = torch.randn(4, 64, 22, 30)

    plain = layer(features)
    plain.backward(upstream)
    plain_gradient = layer.weight.grad.clone()
    layer.weight.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer(features)
        # Other convolutions do run in bfloat16 here, so the comparison below is not of one path with itself.
        assert torch.nn.Conv2d(64, 8, 3)(features).dtype == torch.bfloat16
    mixed.backward(upstream)

    assert mixed.dtype == torch.float32
    assert layer.weight.grad.dtype == torch.float32
    assert torch.equal(mixed, plain)
    assert torch.equal(layer.weight.grad, plain_gradient)


def test_plain_depthwise_gradients_in_bfloat16_are_those_of_float32() -> None:
    torch.manual_seed(0)
    for channels, height, width in ((8, 5, 7), (64, 22, 30), (144, 40, 33), (480, 16, 20)):
        layer = DepthwiseConv2d(channels)
        features = torch.randn(4, channels, height, width).contiguous(memory_format=torch.channels_last)
        upstream = torch.randn_like(features)
        layer(features).backward(upstream)
        plain_gradient, layer.weight.grad = layer.weight.grad.clone(), None
        for _ in range(5):
            with torch.autocast("cpu", torch.bfloat16):
                mixed = layer(features)
            assert mixed.dtype == torch.bfloat16
            mixed.backward(upstream.bfloat16())
            torch.testing.assert_close(
                layer.weight.grad, plain_gradient, rtol=0.03, atol=0.03 * float(plain_gradient.abs().max())
            )
            layer.weight.grad = None


def test_depthwise_takes_bfloat16_features_under_cpu_autocast() -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(8, multiplier=2)
    features = torch.randn(1, 8, 9, 9).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer(features)
    assert mixed.shape == (1, 16, 9, 9)
    assert torch.equal(mixed, layer(features.float()))


def test_conv_bn_keeps_the_size_and_clips_unless_told() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 3, 11, 13)
    for dilation in (1, 2, 4):
        assert ConvBN(3, 5, 3, dilation=dilation)(features).shape == (2, 5, 11, 13)
    assert ConvBN(3, 5, 3)(features).min() >= 0
    assert ConvBN(3, 5, 3, activation=False)(features).min() < 0


def test_resize_is_opencvs_bilinear() -> None:
    features = torch.randn(1, 1, 5, 7)
    expected = cv2.resize(features[0, 0].numpy(), (21, 17), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resize_bilinear(features, (17, 21))[0, 0].numpy(), expected, atol=1e-5)
    assert resize_bilinear(features, (5, 7)) is features
