"""TensorRT up to the launch, which needs a GPU: parsing, building, keys, and what is said without a device.

On a machine with a GPU the contract suite runs the launch too.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.gpu_fixture import skip_where_tensorrt_cannot_build

from lwseg_ros.backends import BackendOptions, cuda, load_runtime, tensorrt_builder, tensorrt_engines
from lwseg_ros.backends.cuda import CudaDevice
from lwseg_ros.backends.engine_cache import ANY, EngineCache
from lwseg_ros.backends.tensorrt_builder import build_engine, engine_key, load_library
from lwseg_ros.errors import BackendError, BackendUnavailableError
from lwseg_ros.model.model_file import ModelFile, load_model, shipped_models

ORIN = CudaDevice(0, "Orin", "8.7", multiprocessors=16, shares_memory=True)


@pytest.fixture(autouse=True)
def _library() -> None:
    skip_where_tensorrt_cannot_build()


@pytest.mark.parametrize("fixture", ["tiny_model", "tiny_fp16_model"])
def test_builds_with_progress(request: pytest.FixtureRequest, fixture: str) -> None:
    steps: list[tuple[str, int, int]] = []
    model: ModelFile = request.getfixturevalue(fixture)
    engine = build_engine(model, BackendOptions(max_batch=3), progress=lambda *step: steps.append(step) or True)
    assert len(engine) > 1000
    assert steps
    assert all(0 <= step <= total for _, step, total in steps)


@pytest.mark.parametrize("path", shipped_models().values(), ids=shipped_models().keys())
def test_shipped_models_build(path: Path) -> None:
    """In fp32; in the other precisions where these are made, in tests/training/conversion."""
    assert len(build_engine(load_model(path), BackendOptions(max_batch=2))) > 100_000


def test_an_interrupted_build_is_a_backend_error(tiny_model: ModelFile) -> None:
    with pytest.raises(BackendError, match=r"building the engine of .*tiny\.onnx was interrupted"):
        build_engine(tiny_model, BackendOptions(), progress=lambda *_: False)
    assert len(build_engine(tiny_model, BackendOptions(), progress=lambda *_: True)) > 1000


def test_builds_for_one_compute_capability(tiny_model: ModelFile) -> None:
    if load_library().name != "tensorrt_rtx":
        pytest.skip("only TensorRT for RTX builds for other devices")
    assert len(build_engine(tiny_model, BackendOptions(), compute_capability="8.9")) > 1000
    with pytest.raises(BackendError, match=r"compute capability '1.0' is none of .*8\.9"):
        build_engine(tiny_model, BackendOptions(), compute_capability="1.0")


def test_a_graph_it_cannot_read(tmp_path: Path, tiny_model: ModelFile) -> None:
    proto = onnx.load_model_from_string(tiny_model.data)
    relu = next(node for node in proto.graph.node if node.op_type == "Relu")
    relu.CopyFrom(helper.make_node("StreetSmarts", relu.input, relu.output, domain="org.example"))
    proto.opset_import.append(helper.make_opsetid("org.example", 1))
    # Such a file is refused when it is loaded; a newer ONNX may have operators that the library does not know, all the same.
    model = replace(tiny_model, path=tmp_path / "custom.onnx", data=proto.SerializeToString())
    with pytest.raises(BackendError, match=r"cannot read .*custom\.onnx: .*StreetSmarts"):
        build_engine(model, BackendOptions())


def test_a_library_that_cannot_start_is_a_backend_error(tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a driver too old for it, TensorRT's constructors raise TypeError, which says nothing; its log says why."""
    log = load_library().log

    def construct(log: Any) -> Any:
        log.log(load_library().module.ILogger.INTERNAL_ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    module = SimpleNamespace(__version__="10.3.0", Builder=construct, Runtime=construct)
    broken = tensorrt_builder.Library("tensorrt", module, log)
    monkeypatch.setattr(tensorrt_builder, "load_library", lambda: broken)
    with pytest.raises(BackendError, match=r"tensorrt 10\.3\.0 cannot start: .*error: 35; check that the driver"):
        build_engine(tiny_model, BackendOptions())
    with pytest.raises(BackendError, match=r"cannot start: CUDA initialization failure"):
        tensorrt_builder.start(broken, "Runtime")


def test_warnings_of_the_library_are_warnings_and_the_first_error_is_the_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log, severities = load_library().log, load_library().module.ILogger.Severity
    log.errors.clear()
    with caplog.at_level(logging.DEBUG, logger=tensorrt_builder.__name__):
        for severity, message in (
            (severities.INFO, "one"),
            (severities.WARNING, "two"),
            (severities.ERROR, "the cause"),
            (severities.INTERNAL_ERROR, "a consequence"),
        ):
            log.log(severity, message)
    levels = {record.message: record.levelno for record in caplog.records}
    assert levels == dict.fromkeys(("one", "the cause", "a consequence"), logging.DEBUG) | {"two": logging.WARNING}
    assert log.first_error() == "the cause"
    log.errors.clear()


@pytest.mark.parametrize(
    ("zero_point", "attributes", "is_uint8"),
    [
        (np.array(128, np.uint8), {}, True),
        (np.array(0, np.int8), {}, False),
        (None, {}, True),
        (None, {"output_dtype": TensorProto.INT8}, False),
    ],
)
@pytest.mark.parametrize("constant", [False, True])
def test_zero_points_of_uint8_are_refused(
    tiny_model: ModelFile, zero_point: np.ndarray | None, attributes: dict[str, Any], is_uint8: bool, constant: bool
) -> None:
    """TensorRT's parser takes them for INT8, with nothing but a warning."""
    proto = onnx.load_model_from_string(tiny_model.data)
    proto.opset_import[0].version = 21
    proto.graph.initializer.append(numpy_helper.from_array(np.array(0.1, np.float32), "scale"))
    inputs = ["scale"]
    if zero_point is not None:
        tensor = numpy_helper.from_array(zero_point, "zero")
        if constant:
            proto.graph.node.insert(0, helper.make_node("Constant", [], ["zero"], value=tensor))
        else:
            proto.graph.initializer.append(tensor)
        inputs.append("zero")
    relu = next(index for index, node in enumerate(proto.graph.node) if node.op_type == "Relu")
    quantize = helper.make_node("QuantizeLinear", ["relu1", *inputs], ["quantized"], **attributes)
    dequantize = helper.make_node("DequantizeLinear", ["quantized", *inputs], ["dequantized"])
    proto.graph.node.insert(relu + 1, quantize)
    proto.graph.node.insert(relu + 2, dequantize)
    next(node for node in proto.graph.node if "matching" in node.input).input[0] = "dequantized"
    model = replace(tiny_model, data=proto.SerializeToString())
    if is_uint8:
        with pytest.raises(
            BackendError, match=r"tiny\.onnx is quantized to UINT8 at '(zero|quantized)'.*`lwseg quantize`"
        ):
            build_engine(model, BackendOptions())
    else:
        tensorrt_builder.check_zero_points(model)


def test_keys_hold_all_that_an_engine_depends_on(tiny_model: ModelFile) -> None:
    library = load_library()
    key = engine_key(tiny_model, BackendOptions(max_batch=4), library, "Orin", "8.7", 16)
    assert key.model_sha256 == tiny_model.sha256
    assert (key.library, key.library_version) == (library.name, library.version)
    assert (key.gpu, key.compute_capability, key.multiprocessors) == ("Orin", "8.7", 16)
    assert (key.precision, key.max_batch, key.part) == ("fp32", 4, "engine")


def test_tensorrt_engines_are_for_one_gpu_and_rtx_engines_are_portable(tiny_model: ModelFile) -> None:
    rtx = tensorrt_builder.Library("tensorrt_rtx", load_library().module, None)
    full = tensorrt_builder.Library("tensorrt", load_library().module, None)
    portable = tensorrt_engines.device_keys(tiny_model, BackendOptions(), rtx, ORIN)
    assert [(key.gpu, key.compute_capability) for key in portable] == [(ANY, "8.7"), (ANY, ANY)]
    (only,) = tensorrt_engines.device_keys(tiny_model, BackendOptions(), full, ORIN)
    assert (only.gpu, only.compute_capability, only.multiprocessors) == ("Orin", "8.7", 16)


def test_an_engine_built_elsewhere_is_found(tiny_model: ModelFile, tmp_path: Path) -> None:
    options = BackendOptions(cache_dir=tmp_path / "engines")

    def found(options: BackendOptions) -> list[bytes]:
        return [engine for engine, _ in tensorrt_engines.cached_engines(tiny_model, options, ORIN)]

    assert found(options) == []
    tuned, portable = tensorrt_engines.device_keys(tiny_model, options, load_library(), ORIN)
    EngineCache(options.cache_dir).store(portable, b"an engine")
    assert found(options) == [b"an engine"]
    EngineCache(options.cache_dir).store(tuned, b"a better one")
    assert found(options) == [b"a better one", b"an engine"]
    other_batch = BackendOptions(cache_dir=options.cache_dir, max_batch=2)
    assert found(other_batch) == []


def test_without_a_device_the_reason_and_the_remedy_are_named(tiny_model: ModelFile, tmp_path: Path) -> None:
    probe = load_runtime("tensorrt").probe(BackendOptions())
    if probe.available:
        pytest.skip("this machine has a CUDA device")
    assert probe.expected, "TensorRT is installed, so not using it needs explaining"
    assert "CUDA" in probe.detail or "cuda-python" in probe.detail
    options = BackendOptions(cache_dir=tmp_path / "engines")
    with pytest.raises(BackendUnavailableError, match=r"TensorRT cannot run here: .*use backend openvino or auto"):
        load_runtime("tensorrt").open(tiny_model, options)
    assert not options.cache_dir.exists(), "a failed open left a cache behind"  # type: ignore[union-attr]


@pytest.mark.gpu
def test_a_cache_that_cannot_be_written_costs_a_warning(
    tiny_model: ModelFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    probe = load_runtime("tensorrt").probe(BackendOptions())
    if not probe.available:
        pytest.skip(f"tensorrt: {probe.detail}")
    (tmp_path / "file").write_text("in the way")
    options = BackendOptions(cache_dir=tmp_path / "file" / "engines")
    with caplog.at_level(logging.WARNING):
        load_runtime("tensorrt").open(tiny_model, options).close()
    assert "the engine is not kept" in caplog.text


@pytest.mark.gpu
def test_a_cached_engine_that_does_not_load_is_built_again(tiny_model: ModelFile, tmp_path: Path) -> None:
    probe = load_runtime("tensorrt").probe(BackendOptions())
    if not probe.available:
        pytest.skip(f"tensorrt: {probe.detail}")
    options = BackendOptions(cache_dir=tmp_path / "engines")
    key = tensorrt_engines.device_keys(tiny_model, options, load_library(), cuda.find_device())[0]
    EngineCache(options.cache_dir).store(key, b"no engine at all")
    load_runtime("tensorrt").open(tiny_model, options).close()
    assert len(EngineCache(options.cache_dir).load(key) or b"") > 1000
