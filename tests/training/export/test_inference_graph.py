"""What a model file computes, against numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lwseg_training.export.export import to_onnx
from lwseg_training.export.inference_graph import InferenceGraph, pixel_uncertainty
from lwseg_training.networks import Combine
from lwseg_training.networks.normalization import MEAN_RGB, STD_RGB, Normalize
from lwseg_training.networks.synergy import Synergy
from support.tiny_model import tiny_manifest
from torch import Tensor, nn

from lwseg_ros.backends import BackendOptions, load_runtime
from lwseg_ros.backends.tensorrt_builder import build_engine, installed_library
from lwseg_ros.model.model_file import UNCERTAINTY_KINDS, save_model


class ColorLogits(nn.Module):
    """A network whose logits are a linear function of the pixel: easy to repeat in numpy."""

    weights = np.random.default_rng(0).normal(0, 2, (4, 3)).astype(np.float32)

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 4, 1, bias=False)
        self.mix.weight.data = torch.from_numpy(self.weights)[:, :, None, None].clone()
        self.class_bias = nn.Parameter(torch.zeros(4))

    def forward(self, image: Tensor) -> Tensor:
        return self.mix(image)


def numpy_probabilities(image: np.ndarray, temperature: float) -> np.ndarray:
    """Return [N, H, W, C] for uint8 BGR [N, H, W, 3]."""
    rgb = image[..., ::-1] / 255
    logits = ((rgb - MEAN_RGB) / STD_RGB) @ ColorLogits.weights.T / temperature
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def numpy_uncertainty(probabilities: np.ndarray, kind: str) -> np.ndarray:
    ordered = np.sort(probabilities, axis=-1)
    if kind == "least_confidence":
        return (1 - ordered[..., -1]) * 4 / 3
    if kind == "margin":
        return 1 - (ordered[..., -1] - ordered[..., -2])
    return -(probabilities * np.log(probabilities)).sum(axis=-1) / np.log(4)


@pytest.mark.parametrize("kind", [kind for kind in UNCERTAINTY_KINDS if kind != "low_scale"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_label_and_uncertainty_are_numpys(kind: str, temperature: float) -> None:
    image = np.random.default_rng(1).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    graph = InferenceGraph(ColorLogits(), Normalize(), temperature, kind).eval()
    with torch.no_grad():
        label, uncertainty = graph(torch.from_numpy(image))
    probabilities = numpy_probabilities(image, temperature)
    assert label.dtype == uncertainty.dtype == torch.uint8
    assert label.shape == uncertainty.shape == (2, 5, 7)
    assert np.array_equal(label.numpy(), probabilities.argmax(axis=-1))
    expected = np.round(255 * numpy_uncertainty(probabilities, kind))
    assert np.abs(uncertainty.numpy() - expected).max() <= 1
    assert len(np.unique(uncertainty)) > 10


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("combine", ["synergy", "high", "low"])
def test_low_scale_is_the_least_confidence_of_the_reduced_image(temperature: float, combine: Combine) -> None:
    image = np.random.default_rng(1).integers(0, 256, (2, 64, 80, 3), dtype=np.uint8)
    network = Synergy(ColorLogits(), combine=combine)
    with torch.no_grad():
        label, uncertainty = InferenceGraph(network, Normalize(), temperature, "low_scale").eval()(
            torch.from_numpy(image)
        )
        label_without, _ = InferenceGraph(network, Normalize()).eval()(torch.from_numpy(image))
    assert torch.equal(label, label_without), "the label is that of both scales, whatever the temperature"
    reduced = image.reshape(2, 32, 2, 40, 2, 3).mean(axis=(2, 4))  # bilinear, at half the size
    low = np.stack([cv2.resize(p, (80, 64), interpolation=cv2.INTER_LINEAR) for p in numpy_probabilities(reduced, 1)])
    scaled = low ** (1 / temperature)
    expected = np.round(255 * numpy_uncertainty(scaled / scaled.sum(axis=-1, keepdims=True), "least_confidence"))
    assert uncertainty.dtype == torch.uint8
    assert np.abs(uncertainty.numpy() - expected).max() <= 1
    assert len(np.unique(uncertainty)) > 100


def test_low_scale_of_a_network_without_one_is_refused() -> None:
    with pytest.raises(TypeError, match="'low_scale' is of a network of two scales, not of a ColorLogits"):
        InferenceGraph(ColorLogits(), Normalize(), uncertainty_kind="low_scale")


@pytest.mark.parametrize("kind", UNCERTAINTY_KINDS)
def test_even_is_fully_uncertain_and_one_hot_is_certain(kind: str) -> None:
    even = torch.full((1, 5, 1, 1), 0.2)
    one_hot = torch.zeros(1, 5, 1, 1)
    one_hot[:, 2] = 1
    assert float(pixel_uncertainty(even, kind)) == pytest.approx(1, abs=1e-6)
    assert float(pixel_uncertainty(one_hot, kind)) == pytest.approx(0, abs=1e-6)


def test_ids_above_127_survive() -> None:
    class ManyClasses(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            logits = torch.zeros(len(image), 200, *image.shape[-2:])
            logits[:, 199] = 1
            return logits

    label, _ = InferenceGraph(ManyClasses(), Normalize())(torch.zeros(1, 2, 2, 3, dtype=torch.uint8))
    assert (label == 199).all()


def test_half_runs_the_network_in_half_and_the_rest_in_float() -> None:
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 9, 9, 3), dtype=np.uint8))
    graph = InferenceGraph(ColorLogits(), Normalize(), half=True).eval()
    with torch.no_grad():
        logits = graph.logits(image)
        full = InferenceGraph(ColorLogits(), Normalize()).logits(image)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, full)
    torch.testing.assert_close(logits, full, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_that_make_no_sense_are_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"temperature {temperature} is not a positive number"):
        InferenceGraph(ColorLogits(), Normalize(), temperature)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="uncertainty kind 'variance' is none of"):
        InferenceGraph(ColorLogits(), Normalize(), 1.0, "variance")


NAN, INFINITE = float("nan"), float("inf")
NOT_FINITE = [
    [NAN, 0, 0, 0, 0],
    [0, 0, NAN, 0, 0],
    [0, 0, 0, 0, NAN],
    [NAN] * 5,
    [0, INFINITE, 0, 0, 0],
    [INFINITE, INFINITE, 0, 0, 0],
    [INFINITE, -INFINITE, 0, 0, 0],
    [-INFINITE] * 5,
]


class BrokenRows(nn.Module):
    """Sound logits but for the first rows, whose are those of NOT_FINITE."""

    def __init__(self) -> None:
        super().__init__()
        logits = torch.from_numpy(np.random.default_rng(3).normal(0, 3, (1, 5, 48, 64)).astype(np.float32))
        for row, values in enumerate(NOT_FINITE):
            logits[0, :, row] = torch.tensor(values)[:, None]
        self.logits = nn.Parameter(logits)

    def forward(self, image: Tensor) -> Tensor:
        return self.logits + 0 * image[:, :1]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in UNCERTAINTY_KINDS if kind != "low_scale"])
@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_pixels_whose_logits_are_not_finite_have_no_class(tmp_path: Path, kind: str, runtime: str, half: bool) -> None:
    graph = InferenceGraph(BrokenRows(), Normalize(), 1.5, kind, ignore_id=200, half=half).eval()
    image = np.full((1, 48, 64, 3), 100, np.uint8)
    if runtime == "torch":
        with torch.no_grad():
            label, uncertainty = (output.numpy() for output in graph(torch.from_numpy(image)))
    else:
        manifest = replace(tiny_manifest(), ignore_id=200)
        model = save_model(to_onnx(graph, (48, 64)), manifest, tmp_path / "broken.onnx")
        label, uncertainty = load_runtime(runtime).open(model, BackendOptions()).infer(image)
    rows = len(NOT_FINITE)
    assert (label[:, :rows] == 200).all()
    assert (uncertainty[:, :rows] == 255).all()
    sound = graph.network.logits[0, :, rows:].float().argmax(0).numpy()
    assert np.array_equal(label[0, rows:], sound)
    assert len(np.unique(uncertainty[:, rows:])) > 10


def test_a_low_scale_that_is_not_finite_has_no_class_either() -> None:
    network = Synergy(ColorLogits(), combine="high")
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 64, 80, 3), dtype=np.uint8))
    graph = InferenceGraph(network, Normalize(), 1.0, "low_scale", ignore_id=11).eval()
    logits, low = network.forward_with_low(graph.normalize(image))
    low[:, :, 5] = NAN
    network.forward_with_low = lambda image: (logits, low)  # type: ignore[method-assign]
    with torch.no_grad():
        label, uncertainty = graph(image)
    assert (label[:, 5] == 11).all()
    assert (uncertainty[:, 5] == 255).all()
    assert (label[:, 6:] != 11).all()


@pytest.mark.skipif(installed_library() is None, reason="no TensorRT is installed")
@pytest.mark.parametrize("kind", [kind for kind in UNCERTAINTY_KINDS if kind != "low_scale"])
def test_tensorrt_reads_the_guard(tmp_path: Path, kind: str) -> None:
    graph = InferenceGraph(nn.Conv2d(3, 5, 1), Normalize(), 1.5, kind).eval()
    model = save_model(to_onnx(graph, (48, 64)), tiny_manifest(), tmp_path / "guarded.onnx")
    assert len(build_engine(model, BackendOptions())) > 1000
