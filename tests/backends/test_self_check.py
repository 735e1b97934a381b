"""A device that computes something else is refused before it publishes. On the fake GPU, with the shipped models."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper
from support.gpu_fixture import FakeGpu
from support.tiny_model import tiny_graph, tiny_manifest

from lwseg_ros.backends import BackendOptions, open_backend
from lwseg_ros.backends.onnxruntime import OnnxRuntimeBackend
from lwseg_ros.backends.openvino import OpenVinoBackend
from lwseg_ros.backends.self_check import noise_image, self_check
from lwseg_ros.errors import BackendError
from lwseg_ros.model.model_file import DEFAULT_MODEL, ModelFile, load_model, resolve_model, save_model


@pytest.fixture
def options(tmp_path: Path) -> BackendOptions:
    return BackendOptions(num_threads=1, cache_dir=tmp_path / "engines")


def swap(label: np.ndarray, one: int, other: int) -> np.ndarray:
    swapped = label.copy()
    swapped[label == one], swapped[label == other] = other, one
    return swapped


def two_most_seen(label: np.ndarray) -> tuple[int, int]:
    counts = np.bincount(label.reshape(-1))
    return int(counts.argsort()[-1]), int(counts.argsort()[-2])


OUTPUT_FAULTS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "classes": lambda label, uncertainty: (swap(label, *two_most_seen(label)), uncertainty),
    "rows": lambda label, uncertainty: (label[:, ::-1], uncertainty[:, ::-1]),
    "columns": lambda label, uncertainty: (label[:, :, ::-1], uncertainty[:, :, ::-1]),
    "uncertainty": lambda label, uncertainty: (label, 255 - uncertainty),
    "shifted rows": lambda label, uncertainty: (np.roll(label, 3, axis=1), np.roll(uncertainty, 3, axis=1)),
}
IMAGE_FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "colours": lambda image: image[..., ::-1],
    "rows of the image": lambda image: image[:, ::-1],
    "brightness": lambda image: image // 2,
}


@pytest.mark.parametrize("fault", [*OUTPUT_FAULTS, *IMAGE_FAULTS])
def test_a_device_that_mixes_up_is_caught(
    full: FakeGpu, tiny_model: ModelFile, options: BackendOptions, fault: str
) -> None:
    choice = open_backend(tiny_model, "tensorrt", options)
    assert choice.reason == "tensorrt was asked for; self-check: 100.00% of the labels are those of onnxruntime"
    full.tensorrt.spoil_outputs = OUTPUT_FAULTS.get(fault)
    full.tensorrt.spoil_image = IMAGE_FAULTS.get(fault)
    with pytest.raises(BackendError, match=r"tensorrt \(Fake GPU\) disagrees with onnxruntime on .*onnx: "):
        self_check(tiny_model, choice.backend, options)


def test_classes_colours_and_rows_of_the_default_model(full: FakeGpu, options: BackendOptions) -> None:
    model = load_model(resolve_model(DEFAULT_MODEL))
    backend = open_backend(model, "tensorrt", options).backend
    for fault in ("classes", "colours", "rows"):
        full.tensorrt.spoil_outputs, full.tensorrt.spoil_image = OUTPUT_FAULTS.get(fault), IMAGE_FAULTS.get(fault)
        with pytest.raises(BackendError, match="of the labels are equal"):
            self_check(model, backend, options)
    backend.close()


def test_it_is_refused_by_name_and_passed_over_by_auto(
    full: FakeGpu, tiny_model: ModelFile, options: BackendOptions, caplog: pytest.LogCaptureFixture
) -> None:
    full.tensorrt.spoil_outputs = OUTPUT_FAULTS["classes"]
    with pytest.raises(
        BackendError, match=r"of the labels are equal, expected at least 99\.5%; its driver, library or"
    ):
        open_backend(tiny_model, "tensorrt", options)
    assert full.cuda.live_objects() == (0, 0)
    caplog.clear()
    choice = open_backend(tiny_model, "auto", options)
    assert choice.backend.name == "openvino"
    assert "tensorrt: tensorrt (Fake GPU) disagrees with onnxruntime" in str(choice.fallback_reason)
    assert [record.levelname for record in caplog.records if "disagrees" in record.message] == ["ERROR"]


def test_every_image_of_a_batch_is_looked_at(full: FakeGpu, tiny_model: ModelFile, tmp_path: Path) -> None:
    def spoil_the_last_of_three(label: np.ndarray, uncertainty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(label) == 3:
            label[2] = label[2, ::-1]
        return label, uncertainty

    full.tensorrt.spoil_outputs = spoil_the_last_of_three
    open_backend(tiny_model, "tensorrt", BackendOptions(max_batch=2, cache_dir=tmp_path)).backend.close()
    with pytest.raises(BackendError, match="disagrees with onnxruntime"):
        open_backend(tiny_model, "tensorrt", BackendOptions(max_batch=3, cache_dir=tmp_path))


def test_a_small_class_that_is_lost_is_seen(full: FakeGpu, tmp_path: Path, options: BackendOptions) -> None:
    """In few pixels: fewer than int8 may have others."""
    model = save_model(tiny_graph(), tiny_manifest(precision="int8"), tmp_path / "int8.onnx")
    label = OnnxRuntimeBackend(model, options).infer(noise_image((48, 64), 0)[None])[0]
    shares = np.bincount(label.reshape(-1), minlength=5) / label.size
    (rare, *_) = np.flatnonzero((shares > 0.002) & (shares < 0.1))
    other = two_most_seen(label)[0]
    full.tensorrt.spoil_outputs = lambda label, uncertainty: (
        np.where(label == rare, other, label).astype(np.uint8),
        uncertainty,
    )
    with pytest.raises(BackendError, match=rf"0\.00% of class {rare} have its label, expected at least 50%"):
        open_backend(model, "tensorrt", options)


def test_a_model_that_sees_one_class_only(full: FakeGpu, tmp_path: Path, options: BackendOptions) -> None:
    """Its class and its uncertainty are compared all the same, and what that cannot tell is said."""
    graph = tiny_graph()
    (offsets,) = [tensor for tensor in graph.graph.initializer if tensor.name == "offsets"]
    values = numpy_helper.to_array(offsets).copy()
    values[2] += 60
    offsets.CopyFrom(numpy_helper.from_array(values, "offsets"))
    model = save_model(graph, tiny_manifest(), tmp_path / "one.onnx")
    choice = open_backend(model, "tensorrt", options)
    assert "sees but one class in it: classes that are mixed up may go unseen" in choice.reason
    choice.backend.close()
    full.tensorrt.spoil_outputs = lambda label, uncertainty: (swap(label, 2, 3), uncertainty)
    with pytest.raises(BackendError, match=r"0\.00% of the labels are equal"):
        open_backend(model, "tensorrt", options)


def test_without_onnxruntime_openvino_is_the_reference(
    full: FakeGpu, tiny_model: ModelFile, options: BackendOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_backend(tiny_model, "tensorrt", options).backend
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert self_check(tiny_model, backend, options) == "self-check: 100.00% of the labels are those of openvino"
    monkeypatch.setitem(sys.modules, "openvino", None)
    found = self_check(tiny_model, backend, options)
    assert found.startswith("no self-check: the Python package onnxruntime is not installed; `pip install")
    assert "; the Python package openvino is not installed; " in found
    backend.close()


def test_runtimes_on_the_cpu_are_not_checked(tiny_model: ModelFile) -> None:
    for backend in (OnnxRuntimeBackend(tiny_model, BackendOptions()), OpenVinoBackend(tiny_model, BackendOptions())):
        assert self_check(tiny_model, backend, BackendOptions()) == ""
        backend.close()


def test_the_image_shows_classes_in_any_size() -> None:
    for size_hw in ((1, 1), (48, 64), (33, 500)):
        image = noise_image(size_hw, 0)
        assert image.shape == (*size_hw, 3)
        assert image.dtype == np.uint8
    image = noise_image((360, 480), 0)
    assert image.std() > 40
    assert image[:100].mean() > image[-100:].mean() + 40
    np.testing.assert_array_equal(image, noise_image((360, 480), 0))
