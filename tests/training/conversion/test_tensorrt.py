"""TensorRT builds the shipped models in the precisions that they are converted to. No device is needed with TensorRT for RTX."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from lwseg_training.conversion.int8 import quantized
from support.gpu_fixture import skip_where_tensorrt_cannot_build

from lwseg_ros.backends import BackendOptions
from lwseg_ros.backends.self_check import noise_image
from lwseg_ros.backends.tensorrt_builder import build_engine
from lwseg_ros.model.model_file import ModelFile, save_model


@pytest.fixture(autouse=True)
def _library() -> None:
    skip_where_tensorrt_cannot_build()


def engine_of(
    graph: onnx.ModelProto, parent: ModelFile, precision: str, folder: Path, log: pytest.LogCaptureFixture
) -> bytes:
    """Build the engine of a conversion for single images, of which the library must not warn."""
    manifest = replace(parent.manifest, precision=precision, parent={"sha256": parent.sha256})
    model = save_model(graph, manifest, folder / f"shipped.{precision}.onnx")
    with log.at_level(logging.WARNING):
        engine = build_engine(model, BackendOptions())
    assert [record.message for record in log.records if "tensorrt" in record.name] == []
    return engine


def test_in_half_precision(
    shipped: ModelFile, shipped_half: onnx.ModelProto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(engine_of(shipped_half, shipped, "fp16", tmp_path, caplog)) > 100_000


def test_in_8_bit_integers(shipped: ModelFile, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ranges from a single image of noise: what is built does not depend on them."""
    pytest.importorskip("nncf", reason="int8 needs NNCF: pip install -e './training[quantize]'")
    graph = quantized(onnx.load_model_from_string(shipped.data), [noise_image(shipped.manifest.input_size_hw, seed=0)])
    assert len(engine_of(graph, shipped, "int8", tmp_path, caplog)) > 100_000
