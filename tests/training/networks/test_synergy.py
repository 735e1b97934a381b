"""The combination of two scales: equation 1 by hand, around trunks whose predictions are known."""

from __future__ import annotations

import copy
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from lwseg_training.losses.logit_adjustment import adjusted_logits
from lwseg_training.networks.count import count_network
from lwseg_training.networks.dwrseg import DWRSeg
from lwseg_training.networks.synergy import Combine, Synergy, synergy
from torch import Tensor, nn
from torch.nn import functional as F


class Echo(nn.Module):
    """Take the image's channels for logits, in training mode with two auxiliary heads; remember the sizes it was given."""

    def __init__(self, *, auxiliary: bool = False) -> None:
        super().__init__()
        self.class_bias = nn.Parameter(torch.zeros(3))
        self.auxiliary = auxiliary
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        self.sizes.append(tuple(image.shape))
        logits = image + self.class_bias.view(1, 3, 1, 1)
        return [logits, logits * 2, logits * 3] if self.auxiliary and self.training else logits


def by_hand(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return what Echo predicts for the image and, upsampled, for its half: probabilities [N, 3, H, W] both."""
    size_hw = image.shape[-2:]
    half = F.interpolate(image, size=(size_hw[0] // 2, size_hw[1] // 2), mode="bilinear", antialias=False)
    return image.softmax(1), F.interpolate(half.softmax(1), size=size_hw, mode="bilinear")


def shallow() -> DWRSeg:
    torch.manual_seed(0)
    return DWRSeg(4, sir_blocks=1, dwr2_blocks=1, dwr3_blocks=1)


# Equation 1


def test_equation_1_by_hand() -> None:
    high = torch.tensor([0.7, 0.2, 0.1]).view(1, 3, 1, 1)
    low = torch.tensor([0.5, 0.4, 0.1]).view(1, 3, 1, 1)
    expected = [0.5 + 0.7 * 0.5, 0.4 + 0.2 * 0.6, 0.1 + 0.1 * 0.9]
    assert synergy(high, low).flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_equation_1_by_hand_with_upsampling() -> None:
    low = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # two classes, one row, two columns
    high = torch.tensor([[[[0.6, 0.6, 0.3, 0.3]], [[0.4, 0.4, 0.7, 0.7]]]])
    first = [1.0, 0.75 + 0.6 * 0.25, 0.25 + 0.3 * 0.75, 0.0 + 0.3 * 1.0]
    second = [0.0 + 0.4, 0.25 + 0.4 * 0.75, 0.75 + 0.7 * 0.25, 1.0]
    torch.testing.assert_close(synergy(high, low), torch.tensor([[[first], [second]]]), rtol=0, atol=1e-6)


def test_equation_1_as_it_is_written() -> None:
    torch.manual_seed(0)
    high, low = torch.randn(2, 5, 9, 7).softmax(1), torch.randn(2, 5, 5, 4).softmax(1)

    def up(maps: Tensor) -> Tensor:
        return F.interpolate(maps, size=(9, 7), mode="bilinear")

    torch.testing.assert_close(synergy(high, low), up(low) + high * up(1 - low), rtol=0, atol=1e-6)


def test_a_sure_low_scale_decides_and_an_unsure_one_lets_the_high_scale() -> None:
    high = torch.tensor([0.1, 0.9]).view(1, 2, 1, 1)
    assert synergy(high, torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)).argmax() == 0
    assert synergy(high, torch.tensor([0.55, 0.45]).view(1, 2, 1, 1)).argmax() == 1


# The wrapper


@torch.no_grad()
def test_softmax_of_the_logits_is_the_normalised_s() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 64, 96) * 3
    high, low = by_hand(image)
    s = low + high * (1 - low)
    logits = Synergy(Echo()).eval()(image)
    torch.testing.assert_close(logits.softmax(1), s / s.sum(1, keepdim=True), rtol=0, atol=1e-6)
    assert torch.equal(logits.argmax(1), s.argmax(1))
    label = torch.randint(3, (2, 64, 96))
    nll = -(s / s.sum(1, keepdim=True)).gather(1, label[:, None]).log().mean()
    torch.testing.assert_close(F.cross_entropy(logits, label), nll)


@torch.no_grad()
@pytest.mark.parametrize("combine", ["mean", "max", "high", "low"])
def test_what_the_paper_compares_with(combine: Combine) -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 64)
    high, low = by_hand(image)
    expected = {"mean": (high + low) / 2, "max": torch.maximum(high, low), "high": high, "low": low}[combine]
    probabilities = Synergy(Echo(), combine=combine).eval()(image).softmax(1)
    torch.testing.assert_close(probabilities, expected / expected.sum(1, keepdim=True), rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    ("combine", "sizes"),
    [("synergy", {(64, 66), (32, 33)}), ("high", {(64, 66)}), ("low", {(32, 33)})],
)
def test_a_single_scale_runs_alone(combine: Combine, sizes: set[tuple[int, int]]) -> None:
    network = Synergy(Echo(), combine=combine)
    network(torch.zeros(1, 3, 64, 66))
    assert {size[-2:] for size in network.trunk.sizes} == sizes


@torch.no_grad()
@pytest.mark.parametrize(
    ("low_scale", "size_hw", "low_hw"),
    [(0.5, (96, 131), (48, 66)), (0.75, (64, 128), (48, 96)), (0.5, (40, 32), (32, 32)), (0.25, (64, 256), (32, 64))],
)
def test_size_of_the_low_scale(low_scale: float, size_hw: tuple[int, int], low_hw: tuple[int, int]) -> None:
    network = Synergy(Echo(), low_scale=low_scale)
    assert network(torch.zeros(1, 3, *size_hw)).shape == (1, 3, *size_hw)
    assert (1, 3, *low_hw) in network.trunk.sizes


@torch.no_grad()
@pytest.mark.parametrize("combine", ["synergy", "high", "low"])
def test_the_low_scale_comes_with_the_logits(combine: Combine) -> None:
    network = Synergy(Echo(), combine=combine).eval()
    image = torch.randn(1, 3, 64, 80)
    logits, low = network.forward_with_low(image)
    assert torch.equal(logits, network(image))
    torch.testing.assert_close(low.exp(), by_hand(image)[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("combine", ["synergy", "mean", "max", "high", "low"])
def test_impossible_classes_leave_logits_and_gradients_finite(combine: Combine) -> None:
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    far = image + torch.tensor([0.0, 1000.0, -1000.0]).view(1, 3, 1, 1)
    logits = Synergy(Echo(), combine=combine)(far)
    assert torch.isfinite(logits).all()
    F.cross_entropy(logits, torch.full((1, 64, 64), 2)).backward()
    assert torch.isfinite(image.grad).all()


@pytest.mark.parametrize(("combine", "size_hw"), [("synergy", (64, 64)), ("high", (64, 64)), ("low", (32, 32))])
def test_auxiliary_heads_of_the_high_scale_pass_through(combine: Combine, size_hw: tuple[int, int]) -> None:
    network = Synergy(Echo(auxiliary=True), combine=combine)
    image = torch.randn(1, 3, 64, 64)
    outputs = network.train()(image)
    shown = F.interpolate(image, size=size_hw, mode="bilinear")
    assert len(outputs) == 3
    torch.testing.assert_close(outputs[1], shown * 2)
    torch.testing.assert_close(outputs[2], shown * 3)
    assert torch.equal(outputs[0], network.eval()(image))


@torch.no_grad()
def test_prior_is_corrected_on_each_scale_before_the_combination() -> None:
    torch.manual_seed(0)
    network = Synergy(Echo()).eval()
    image = torch.randn(1, 3, 64, 64)
    weights = torch.tensor([0.5, 1.0, 4.0])
    with adjusted_logits(network, weights, 1.0):
        corrected = network(image)
    torch.testing.assert_close(corrected, network(image - weights.log().view(1, 3, 1, 1)))


# Around a network


def test_weights_are_shared() -> None:
    trunk = shallow()
    network = Synergy(trunk)
    assert list(network.state_dict()) == [f"trunk.{key}" for key in trunk.state_dict()]
    assert len(list(network.parameters())) == len(list(trunk.parameters()))
    assert network.class_bias is trunk.class_bias


def test_a_quarter_of_the_trunks_multiply_adds_is_added() -> None:
    alone, both = count_network(shallow(), (128, 192)), count_network(Synergy(shallow()), (128, 192))
    assert both.parameters == alone.parameters
    assert both.multiply_adds == pytest.approx(1.25 * alone.multiply_adds, rel=0.02)


def test_a_trained_trunks_weights_load() -> None:
    trunk = shallow()
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.add_(1)
    weights = trunk.state_dict()
    keys = list(weights)
    for network in (Synergy(shallow()), copy.deepcopy(Synergy(shallow()))):
        network.load_state_dict(weights)
        assert all(torch.equal(network.state_dict()[f"trunk.{key}"], value) for key, value in weights.items())
        again = Synergy(shallow())
        again.load_state_dict(network.state_dict())
        assert torch.equal(again.class_bias, trunk.class_bias)
    assert list(weights) == keys


def test_weights_of_another_network_do_not_load() -> None:
    with pytest.raises(RuntimeError, match="Missing key"):
        Synergy(shallow()).load_state_dict(nn.Linear(2, 2).state_dict())


@pytest.mark.parametrize("autocast", [False, True])
def test_gradient_reaches_every_parameter(autocast: bool) -> None:
    torch.manual_seed(0)
    network = Synergy(shallow()).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = network(torch.randn(2, 3, 64, 64))
    assert logits.dtype == torch.float32
    F.cross_entropy(logits, torch.randint(4, (2, 64, 64))).backward()
    dead = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert dead == []
    assert all(torch.isfinite(value.grad).all() for value in network.parameters())


@torch.no_grad()
def test_eval_gives_each_image_the_same_alone_as_in_a_batch() -> None:
    network = Synergy(shallow()).eval()
    images = torch.randn(2, 3, 65, 71)
    alone = torch.cat([network(images[:1]), network(images[1:])])
    torch.testing.assert_close(network(images), alone, rtol=1e-4, atol=1e-4)


def test_onnx_graph_of_an_odd_size_takes_any_batch(tmp_path: Path) -> None:
    network = Synergy(Echo()).eval()
    images = torch.randn(3, 3, 65, 71)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (images[:2],),
            tmp_path / "synergy.onnx",
            input_names=["image"],
            opset_version=18,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("N", min=1, max=64)},),
            external_data=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(tmp_path / "synergy.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(logits, network(images).numpy(), rtol=1e-4, atol=1e-4)


# The options


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"low_scale": 0.0}, "low_scale 0.0 is not above 0 and below 1"),
        ({"low_scale": 1}, "low_scale 1 is not above 0 and below 1"),
        ({"low_scale": float("nan")}, "low_scale nan is not"),
        ({"low_scale": "half"}, "low_scale is a number, not 'half'"),
        ({"low_scale": True}, "low_scale is a number, not True"),
        ({"combine": "sum"}, "combine 'sum' is none of ('synergy', 'mean', 'max', 'high', 'low')"),
        ({"wings": 2}, "wings"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(named)):
        Synergy(Echo(), **options)


@pytest.mark.parametrize(
    ("trunk", "named"),
    [("dwrseg_b", "trunk 'dwrseg_b' is no network"), (nn.ReLU(), "trunk ReLU() is no network with a class_bias")],
    ids=str,
)
def test_what_is_no_network_is_refused(trunk: Any, named: str) -> None:
    with pytest.raises(TypeError, match=re.escape(named)):
        Synergy(trunk)


def test_a_synergy_of_a_synergy_is_refused() -> None:
    with pytest.raises(TypeError, match="give the trunk of that one"):
        Synergy(Synergy(Echo()))
