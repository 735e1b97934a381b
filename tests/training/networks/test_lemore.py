"""LeMoRe: its paper's ablations and counts, its axis matrices at other sizes, its classifier."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from lwseg_training.networks.count import NetworkCount, count_network
from lwseg_training.networks.lemore import LeMoRe, LeMoReClassifier
from lwseg_training.networks.lemore_blocks import (
    VIEWS,
    AxisMatrix,
    CEncoder,
    GatedFusion,
    NestedAttention,
    resampling_matrix,
    resize_axis_matrix,
)
from torch import nn
from torch.nn import functional as F

SHALLOW: dict[str, Any] = {"channels": (8, 8, 16, 16), "blocks": (1, 1, 1, 1), "width": 16}


def shallow(size_hw: tuple[int, int] = (64, 64), **options: Any) -> LeMoRe:
    torch.manual_seed(0)
    return LeMoRe(5, size_hw=size_hw, **{**SHALLOW, **options})


# Published: millions of parameters, billions of multiply-adds; then this reconstruction's.
# fmt: off
ABLATIONS = [
    # views, channel attention, nested attention   published      reconstructed
    (VIEWS[:1],              False, False,         1.12, 0.68,    1.116, 0.685),
    (VIEWS[:2],              False, False,         1.14, 0.74,    1.142, 0.737),
    (VIEWS,                  False, False,         1.16, 0.78,    1.169, 0.789),
    (VIEWS,                  True,  False,         1.22, 0.79,    1.218, 0.789),
    (VIEWS[:1],              False, True,          1.50, 0.70,    1.508, 0.713),
    (VIEWS[:2],              False, True,          1.52, 0.76,    1.535, 0.765),
    (VIEWS,                  False, True,          1.54, 0.80,    1.561, 0.818),
    (VIEWS,                  True,  True,          1.60, 0.81,    1.610, 0.818),
]
# fmt: on


@pytest.mark.parametrize(
    ("views", "channel", "nested", "millions", "billions", "our_millions", "our_billions"), ABLATIONS
)
def test_counts_of_the_papers_ablations(
    views: tuple[str, ...],
    channel: bool,
    nested: bool,
    millions: float,
    billions: float,
    our_millions: float,
    our_billions: float,
) -> None:
    network = LeMoRe(150, views=views, channel_attention=channel, nested_attention=nested)
    count = count_network(network, (512, 512))
    assert round(count.parameters / 1e6, 3) == our_millions
    assert round(count.multiply_adds / 1e9, 3) == our_billions
    assert our_millions == pytest.approx(millions, rel=0.03)
    assert our_billions == pytest.approx(billions, rel=0.03)


@pytest.mark.parametrize(
    ("num_classes", "size_hw", "published", "reconstructed"),
    [(19, (512, 1024), 1.7, 1.61), (150, (448, 448), 0.6, 0.62)],
)
def test_multiply_adds_at_the_papers_other_sizes(
    num_classes: int,
    size_hw: tuple[int, int],
    published: float,
    reconstructed: float,
) -> None:
    count = count_network(LeMoRe(num_classes, size_hw=size_hw), size_hw)
    assert round(count.multiply_adds / 1e9, 2) == reconstructed
    assert reconstructed == pytest.approx(published, rel=0.06)


def test_parameters_of_the_imagenet_classifier() -> None:
    parameters = sum(parameter.numel() for parameter in LeMoReClassifier().parameters())
    assert round(parameters / 1e6, 2) == 1.68
    assert parameters / 1e6 == pytest.approx(1.67, rel=0.01)


def test_axis_products_are_counted_for_every_channel() -> None:
    count = count_network(nn.Sequential(AxisMatrix(5, "height"), AxisMatrix(7, "width")), (5, 7))
    assert count == NetworkCount(5 * 5 + 7 * 7, 3 * 7 * 5 * 5 + 3 * 5 * 7 * 7)


@pytest.mark.parametrize("size_hw", [(33, 47), (32, 32), (97, 131), (64, 64)])
def test_logits_have_the_size_of_the_input(size_hw: tuple[int, int]) -> None:
    for network in (shallow(), shallow(size_hw)):
        with torch.no_grad():
            logits = network.eval()(torch.randn(2, 3, *size_hw))
        assert logits.shape == (2, 5, *size_hw)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


def test_tokens_are_a_64th_of_the_input_rounded_up() -> None:
    stages, tokens = shallow().eval().backbone(torch.randn(1, 3, 97, 131))
    assert [tuple(features.shape[1:]) for features in stages] == [(8, 25, 33), (8, 13, 17), (16, 7, 9), (16, 4, 5)]
    assert tokens.shape == (1, 48, 2, 3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"views": ["lateral"]},
        {"views": ["lateral", "transverse"]},
        {"channel_attention": False},
        {"nested_attention": False},
        {"expansions": [1, 2, 3, 4], "blocks": [2, 1, 1, 1]},
    ],
    ids=str,
)
def test_gradient_reaches_every_parameter(options: dict[str, Any]) -> None:
    network = shallow(**options).train()
    logits = network(torch.randn(2, 3, 128, 96))
    (logits * torch.randn_like(logits)).sum().backward()
    dead = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert dead == []


def test_bfloat16_autocast_gives_finite_gradients_near_those_of_float32() -> None:
    network = shallow(dropout=0.0).train()
    image = torch.randn(4, 3, 96, 64)
    logits = network(image)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(image)
    assert mixed.dtype == torch.float32
    assert (mixed - logits).abs().mean() < 0.1 * logits.std()
    mixed.square().mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_the_order_of_the_views_changes_nothing() -> None:
    one, other = shallow(views=["lateral", "frontal"]), shallow(views=("frontal", "lateral"))
    assert list(one.state_dict()) == list(other.state_dict())
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": ()}, "each once, not ()"),
        ({"views": ["sagittal"]}, "each once, not ['sagittal']"),
        ({"views": ["frontal", "frontal"]}, "each once, not ['frontal', 'frontal']"),
        ({"views": "frontal"}, "not 'frontal'"),
        ({"channel_attention": "no"}, "channel_attention is True or False, not 'no'"),
        ({"nested_attention": 1}, "nested_attention is True or False, not 1"),
        ({"size_hw": 512}, "size_hw takes 2 integers, not 512"),
        ({"size_hw": (512, 31)}, "size_hw takes integers of 32 or more, not 31"),
        ({"channels": (16, 32, 64)}, "channels takes 4 integers, not (16, 32, 64)"),
        ({"blocks": (1, 1, 3, 2.5)}, "blocks takes integers, not 2.5"),
        ({"expansions": (2, 4, 4, 0)}, "expansions takes integers of 1 or more, not 0"),
        ({"width": "wide"}, "width takes integers, not 'wide'"),
        ({"dropout": 2.0}, "dropout is a probability, not 2.0"),
        ({"dropout": "some"}, "dropout is a probability, not 'some'"),
        ({"wings": 2}, "wings"),
    ],
    ids=str,
)
def test_impossible_options_are_refused_by_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        LeMoRe(5, **options)


@pytest.mark.parametrize("num_classes", [0, "many"])
def test_impossible_numbers_of_classes_are_refused(num_classes: Any) -> None:
    for build in (LeMoRe, LeMoReClassifier):
        with pytest.raises((TypeError, ValueError), match=f"num_classes takes .*{num_classes!r}"):
            build(num_classes)


# Blocks


def test_c_encoder_sums_its_views_then_adds_details_and_mlp() -> None:
    torch.manual_seed(0)
    block = CEncoder(8, (6, 10)).eval()
    features = torch.randn(2, 8, 6, 10)
    rows, columns = block.views["frontal"][0].weight, block.views["lateral"][0].weight
    frontal = torch.einsum("hk,nckw->nchw", rows, features)
    lateral = torch.einsum("wk,nchk->nchw", columns, features)
    with torch.no_grad():
        torch.testing.assert_close(block.views["frontal"][0](features), frontal)
        torch.testing.assert_close(block.views["lateral"][0](features), lateral)
        views = [
            block.views["transverse"](features),
            block.views["frontal"][1](frontal),
            block.views["lateral"][1](lateral),
        ]
        detailed = features + block.details(F.relu(sum(views)))
        torch.testing.assert_close(block(features), detailed + block.mlp(detailed))


def test_depthwise_convolutions_of_the_c_encoder_keep_the_papers_order() -> None:
    details = CEncoder(8, (6, 10)).details
    convolutions = [(layer.kernel_size, layer.dilation[0]) for layer in details if isinstance(layer, nn.Conv2d)]
    assert convolutions == [((3, 1), 1), ((1, 3), 1), ((3, 1), 2), ((1, 3), 2)]
    assert isinstance(details[4], nn.ReLU)
    assert details[:-1](torch.randn(2, 8, 6, 10)).shape == (2, 8, 6, 10)


def test_nested_attention_weighs_the_values_by_the_mean_of_nine_maps() -> None:
    torch.manual_seed(0)
    context = NestedAttention(24, heads=2, head_channels=4).eval()
    tokens = 3 * torch.randn(2, 24, 2, 3)
    with torch.no_grad():
        attention, values = context.attend(tokens)
        queries, keys, expected_values = context.queries_keys_values(tokens).reshape(2, 3, 3, 2, 4, 6).unbind(1)
    maps = [
        torch.softmax(torch.einsum("nhdq,nhdk->nhqk", queries[:, i], keys[:, j]) / 2, dim=-1)
        for i in range(3)
        for j in range(3)
    ]
    torch.testing.assert_close(attention, sum(maps) / 9)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 2, 6))

    mixed = sum(torch.einsum("nhqk,nhdk->nhdq", attention, expected_values[:, t]) for t in range(3))
    with torch.no_grad():
        expected = tokens + context.project(mixed.reshape(2, 8, 2, 3))
        torch.testing.assert_close(context(tokens), expected + context.feed_forward(expected))
    assert values.shape == (2, 2, 3, 4, 6)


def test_gated_fusion_gates_the_details_and_adds_the_semantics() -> None:
    fusion = GatedFusion(4, 6).eval()
    features, tokens = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 1, 1)
    with torch.no_grad():
        expected = fusion.detail(features) * fusion.gate[0](tokens).sigmoid() + fusion.semantics(tokens)
        torch.testing.assert_close(fusion(features, tokens), expected)


# Axis matrices at other sizes


def test_resampling_matrices_by_hand() -> None:
    assert resampling_matrix(2, 4).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    assert resampling_matrix(4, 2).tolist() == [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]


@pytest.mark.parametrize(("size", "from_size"), [(7, 7), (5, 12), (12, 5), (128, 56), (1, 3), (3, 1)])
def test_resampling_keeps_constants_and_agrees_with_interpolation(size: int, from_size: int) -> None:
    matrix = resampling_matrix(size, from_size)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(size))
    line = torch.randn(from_size)
    torch.testing.assert_close(matrix @ line, F.interpolate(line[None, None], size=size, mode="linear")[0, 0])


def test_axis_matrices_resize_by_hand_and_exactly_at_equal_size() -> None:
    assert torch.equal(resampling_matrix(56, 56), torch.eye(56))
    matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert resize_axis_matrix(matrix, 2) is matrix
    assert resize_axis_matrix(matrix, 4).tolist() == [
        [0.5, 0.5, 1.0, 1.0],
        [0.75, 0.75, 1.25, 1.25],
        [1.25, 1.25, 1.75, 1.75],
        [1.5, 1.5, 2.0, 2.0],
    ]
    # The answer to a constant is the old one, resampled.
    assert resize_axis_matrix(matrix, 4).sum(dim=1).tolist() == [3.0, 4.0, 6.0, 7.0]


def test_onnx_graph_at_another_odd_size_gives_the_logits_of_pytorch(tmp_path: Path) -> None:
    network = shallow().eval()
    images = torch.randn(3, 3, 97, 131)
    with torch.no_grad():
        expected = network(images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (images[:2],),
            tmp_path / "lemore.onnx",
            input_names=["image"],
            opset_version=18,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("N", min=1, max=64)},),
            external_data=False,
            verbose=False,
        )
    with torch.no_grad():
        assert torch.equal(network(images), expected)
    session = onnxruntime.InferenceSession(tmp_path / "lemore.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": images.numpy()})
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-3, atol=1e-4)


# Pretraining


def test_weights_of_a_classifier_start_a_segmentation_at_another_size() -> None:
    torch.manual_seed(0)
    options = {key: value for key, value in SHALLOW.items() if key != "width"}
    classifier = LeMoReClassifier(10, size_hw=(64, 64), **options).eval()
    assert classifier(torch.randn(2, 3, 64, 64)).shape == (2, 10)
    with torch.autocast("cpu", torch.bfloat16):
        assert classifier(torch.randn(2, 3, 64, 64)).dtype == torch.float32
    weights = classifier.backbone.state_dict()
    network = shallow((128, 128)).eval()
    with pytest.raises(RuntimeError, match="size mismatch"):
        network.backbone.load_state_dict(weights)
    resized = network.backbone.adapt_weights(weights)
    network.backbone.load_state_dict(resized)

    changed = {key for key in weights if resized[key] is not weights[key]}
    assert changed == {key for key in weights if re.search(r"views\.(frontal|lateral)\.0\.weight", key)}
    image = torch.randn(1, 3, 128, 128)
    with torch.no_grad():  # the classifier resizes its matrices for this image in the same way
        torch.testing.assert_close(network.backbone(image)[1], classifier.backbone(image)[1])


def test_weights_for_the_same_size_transfer_unchanged() -> None:
    network = shallow()
    weights = network.backbone.state_dict()
    resized = network.backbone.adapt_weights(weights)
    assert all(torch.equal(resized[key], value) for key, value in weights.items())


def test_axis_matrices_that_are_not_square_are_refused() -> None:
    network = shallow()
    key = "stages.0.0.views.frontal.0.weight"
    weights = {**network.backbone.state_dict(), key: torch.zeros(3, 4)}
    with pytest.raises(ValueError, match=re.escape(f"{key} is an axis matrix and must be square, not of shape (3, 4)")):
        network.backbone.adapt_weights(weights)
