"""OpenVINO's choice of arithmetic, and the cut behind the classifier."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, load_model_from_string

from lwseg_ros.backends import BackendOptions, load_runtime, openvino_mixed
from lwseg_ros.backends.openvino_core import shared_core
from lwseg_ros.errors import BackendError
from lwseg_ros.model.model_file import ModelFile

openvino = pytest.importorskip("openvino", reason="openvino is not installed: pip install 'lwseg_ros[cpu]'")


@pytest.fixture
def has_bf16() -> bool:
    return "BF16" in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def precision_of(model: ModelFile, cpu_precision: str) -> str:
    backend = load_runtime("openvino").open(model, BackendOptions(cpu_precision=cpu_precision))
    backend.close()
    return backend.precision


def test_auto_mixes_where_the_processor_has_bf16(tiny_model: ModelFile, has_bf16: bool) -> None:
    assert precision_of(tiny_model, "auto") == ("bf16+fp32" if has_bf16 else "fp32")
    assert precision_of(tiny_model, "fp32") == "fp32"
    if has_bf16:
        assert precision_of(tiny_model, "bf16") == "bf16"
    else:
        with pytest.raises(BackendError, match="has no bf16; use cpu_precision auto or fp32"):
            precision_of(tiny_model, "bf16")


def test_body_and_tail_together_are_the_model(tiny_model: ModelFile, images: np.ndarray) -> None:
    core = shared_core()
    parts = openvino_mixed.split_off_tail(core.read_model(tiny_model.data, b""))
    assert parts is not None
    fp32 = {"INFERENCE_PRECISION_HINT": "f32"}
    body, tail = (core.compile_model(part, "CPU", fp32) for part in parts)
    logits = body(images)[0]
    assert logits.shape == (3, 5, 24, 32)
    whole = core.compile_model(core.read_model(tiny_model.data, b""), "CPU", fp32)(images)
    for expected, got in zip(whole.values(), tail(logits).values(), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_model_without_one_classifier_is_not_cut(tiny_model: ModelFile) -> None:
    """Labels here add the answers of two convolutions."""
    proto = load_model_from_string(tiny_model.data)
    first = next(node for node in proto.graph.node if node.output[0] == "network_output")
    first.output[0] = "one_head"
    place = list(proto.graph.node).index(first) + 1
    second = helper.make_node("Conv", ["relu1", "matching"], ["other_head"], kernel_shape=[1, 1])
    both = helper.make_node("Mul", ["one_head", "other_head"], ["network_output"])
    proto.graph.node.insert(place, second)
    proto.graph.node.insert(place + 1, both)
    assert openvino_mixed.split_off_tail(shared_core().read_model(proto.SerializeToString(), b"")) is None


def test_an_openvino_that_lowers_all_the_same_runs_in_fp32(
    tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_mixed, "KEEP_PRECISION", "")
    assert precision_of(tiny_model, "auto") == "fp32"


def test_no_place_for_temporary_files_means_fp32(
    tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, has_bf16: bool
) -> None:
    if not has_bf16:
        pytest.skip("this processor has no bf16, so nothing is mixed")
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert precision_of(tiny_model, "auto") == "fp32"
    assert "no mixed precision, running in fp32" in caplog.text


def test_the_attribute_keeps_the_classifier_in_fp32(
    tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch, has_bf16: bool
) -> None:
    if not has_bf16:
        pytest.skip("this processor has no bf16, so nothing is lowered")
    core = shared_core()
    bf16 = {"INFERENCE_PRECISION_HINT": "bf16"}
    for attribute, expected in ((openvino_mixed.KEEP_PRECISION, True), ("", False)):
        monkeypatch.setattr(openvino_mixed, "KEEP_PRECISION", attribute)
        parts = openvino_mixed.split_off_tail(core.read_model(tiny_model.data, b""))
        assert parts is not None
        compiled = core.compile_model(openvino_mixed.keep_fine_layers(core, parts[0]), "CPU", bf16)
        assert openvino_mixed.keeps_fp32(compiled) is expected
