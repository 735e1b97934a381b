"""What every runtime promises, over all that this machine can run, and TensorRT on a fake GPU. ONNX Runtime is the reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.gpu_fixture import fake_gpu
from support.tiny_model import painted_image

from lwseg_ros.backends import BACKENDS, Backend, BackendOptions, load_runtime, open_backend
from lwseg_ros.errors import BackendError, BackendUnavailableError, ImageError
from lwseg_ros.model.model_file import ModelFile, load_model, shipped_models

PARAMETERS = [
    pytest.param(("onnxruntime", BackendOptions(max_batch=3), None), id="onnxruntime"),
    pytest.param(("openvino", BackendOptions(max_batch=3), None), id="openvino"),
    pytest.param(("openvino", BackendOptions(max_batch=3, cpu_precision="fp32"), None), id="openvino-fp32"),
    pytest.param(("openvino", BackendOptions(max_batch=3, num_threads=1), None), id="openvino-1-thread"),
    pytest.param(("tensorrt", BackendOptions(max_batch=3), None), id="tensorrt", marks=pytest.mark.gpu),
    pytest.param(("tensorrt", BackendOptions(max_batch=3), "tensorrt"), id="fake-tensorrt"),
    pytest.param(("tensorrt", BackendOptions(max_batch=3, cuda_graphs=False), "tensorrt"), id="fake-tensorrt-steps"),
    pytest.param(("tensorrt", BackendOptions(max_batch=3), "tensorrt_rtx"), id="fake-tensorrt-rtx"),
]
"""Runtime, options, and the library that a fake GPU is to have, or None."""


def open_or_skip(model: ModelFile, name: str, options: BackendOptions) -> Backend:
    probe = load_runtime(name).probe(options)
    if not probe.available:
        pytest.skip(f"{name}: {probe.detail}")
    return open_backend(model, name, options).backend


@pytest.fixture(params=PARAMETERS)
def case(request: pytest.FixtureRequest) -> Iterator[tuple[str, BackendOptions]]:
    name, options, library = request.param
    with fake_gpu(library) if library else nullcontext():
        yield name, options


@pytest.fixture(params=["fp32", "fp16"])
def model(request: pytest.FixtureRequest, tiny_model: ModelFile, tiny_fp16_model: ModelFile) -> ModelFile:
    return tiny_model if request.param == "fp32" else tiny_fp16_model


@pytest.fixture
def backend(
    case: tuple[str, BackendOptions], model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backend]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    opened = open_or_skip(model, *case)
    yield opened
    opened.close()


def assert_agree(got: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> None:
    """Labels equal on 99.9 % of the pixels, uncertainty within 2/255 there on as many."""
    assert (got[0] == expected[0]).mean() >= 0.999
    difference = np.abs(got[1].astype(int) - expected[1])
    assert (difference <= 2).mean() >= 0.999


def test_agrees_with_the_reference(backend: Backend, model: ModelFile, images: np.ndarray) -> None:
    label, uncertainty = backend.infer(images)
    assert label.shape == uncertainty.shape == (3, 48, 64)
    assert label.dtype == uncertainty.dtype == np.uint8
    with_reference = open_backend(model, "onnxruntime", BackendOptions(max_batch=3)).backend
    assert_agree((label, uncertainty), with_reference.infer(images))
    painted = np.stack([painted_image((48, 64), seed)[1] for seed in range(3)])
    assert (label == painted).mean() > 0.93
    assert 0 < uncertainty.mean() < 40


def test_fp32_is_exact_where_it_is_asked_for(tiny_model: ModelFile, images: np.ndarray) -> None:
    options = BackendOptions(max_batch=3, cpu_precision="fp32")
    reference = open_backend(tiny_model, "onnxruntime", options).backend.infer(images)
    got = open_or_skip(tiny_model, "openvino", options).infer(images)
    np.testing.assert_array_equal(got[0], reference[0])
    assert np.abs(got[1].astype(int) - reference[1]).max() <= 1


def test_says_what_it_is(backend: Backend) -> None:
    assert backend.name in BACKENDS
    assert backend.library_version[0].isdigit()
    assert backend.device
    assert set(backend.precision.split("+")) <= {"fp32", "fp16", "bf16", "int8"}


def test_a_batch_is_its_images_stacked(backend: Backend, images: np.ndarray) -> None:
    together = backend.infer(images)
    singles = [backend.infer(images[index : index + 1]) for index in range(3)]
    pair = backend.infer(images[1:])
    for output in (0, 1):
        np.testing.assert_array_equal(together[output], np.concatenate([single[output] for single in singles]))
        np.testing.assert_array_equal(together[output][1:], pair[output])


def test_outputs_are_the_callers_and_inputs_are_only_read(backend: Backend, images: np.ndarray) -> None:
    given = images.copy()
    given.setflags(write=False)
    first = backend.infer(given)
    kept = [output.copy() for output in first]
    second = backend.infer(np.ascontiguousarray(images[::-1]))
    for output, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(output, copy)
        output[:] = 0
    np.testing.assert_array_equal(second[0], kept[0][::-1])
    np.testing.assert_array_equal(given, images)
    again = backend.infer(images)
    np.testing.assert_array_equal(again[0], kept[0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((1, 48, 64, 3), np.float32), "images are float32, expected uint8"),
        (np.zeros((48, 64, 3), np.uint8), r"shape \(48, 64, 3\), expected \(N, 48, 64, 3\)"),
        (np.zeros((1, 64, 48, 3), np.uint8), r"shape \(1, 64, 48, 3\)"),
        (np.zeros((1, 48, 64, 4), np.uint8), r"shape \(1, 48, 64, 4\)"),
        (np.zeros((0, 48, 64, 3), np.uint8), "a batch of 0 images, expected 1 to 3"),
        (np.zeros((4, 48, 64, 3), np.uint8), "a batch of 4 images, expected 1 to 3; open with a larger max_batch"),
        (np.zeros((1, 48, 64, 6), np.uint8)[..., ::2], "not C-contiguous; pass them through numpy.ascontiguousarray"),
        ([[1]], "images are a list, expected a numpy array"),
    ],
)
def test_bad_images(backend: Backend, images: np.ndarray, bad: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        backend.infer(bad)
    assert backend.infer(images)[0].any(), "the backend did not survive a bad image"


def test_close_twice_and_infer_after(backend: Backend, images: np.ndarray) -> None:
    backend.infer(images)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match=f"{backend.name} backend is closed"):
        backend.infer(images)


def test_two_at_once_do_not_meet(backend: Backend, model: ModelFile, images: np.ndarray, case: Any) -> None:
    expected = backend.infer(images)
    other = open_or_skip(model, *case)
    other.infer(np.ascontiguousarray(images[::-1]))
    np.testing.assert_array_equal(backend.infer(images)[0], expected[0])
    other.close()
    np.testing.assert_array_equal(backend.infer(images)[0], expected[0])


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "onnxruntime"])
@pytest.mark.parametrize("path", shipped_models().values(), ids=shipped_models().keys())
def test_shipped_models_agree_with_the_reference(path: Path, name: str, camera_images: np.ndarray) -> None:
    model = load_model(path)
    height, width = model.manifest.input_size_hw
    batch = np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in camera_images])
    reference = open_backend(model, "onnxruntime", BackendOptions(max_batch=len(batch))).backend.infer(batch)
    backend = open_or_skip(model, name, BackendOptions(max_batch=len(batch)))
    label, uncertainty = backend.infer(batch)
    backend.close()
    assert (label == reference[0]).mean() >= 0.999
    assert np.percentile(np.abs(uncertainty.astype(int) - reference[1]), 99) <= 4  # bf16 has 8 bits


def test_tensorrt_without_a_gpu_says_so(tiny_model: ModelFile) -> None:
    runtime = load_runtime("tensorrt")
    probe = runtime.probe(BackendOptions())
    if probe.available:
        pytest.skip("this machine has a CUDA device and TensorRT")
    remedy = "is not installed|is installed; it comes with|use backend openvino or auto"
    with pytest.raises(BackendUnavailableError, match=remedy):
        open_backend(tiny_model, "tensorrt")
