"""A network in 8-bit integers: which tensors, which zero points, and always the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tiny_model import painted_image, tiny_graph

from lwseg_ros.errors import ModelFileError

pytest.importorskip("nncf", reason="int8 needs NNCF: pip install -e './training[quantize]'")

from lwseg_training.conversion.int8 import quantized, signed

IMAGES = [painted_image((48, 64), seed)[0] for seed in range(6)]


@pytest.fixture(scope="module")
def converted() -> onnx.ModelProto:
    return quantized(tiny_graph(), IMAGES)


def pair(scale: float, zero: int) -> onnx.ModelProto:
    """One unsigned QuantizeLinear and its DequantizeLinear."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
    tensors = [
        numpy_helper.from_array(np.array(scale, np.float32), "scale"),
        numpy_helper.from_array(np.array(zero, np.uint8), "zero"),
    ]
    graph = helper.make_graph(nodes, "pair", values[:1], values[1:], tensors)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def run(model: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["y"], {"x": values})
    return np.asarray(found)


def test_signed_integers_cover_the_range_of_unsigned_ones_at_twice_the_step() -> None:
    values = np.linspace(0, 25.5, 1000, dtype=np.float32)
    rescaled = signed(pair(0.1, 0))
    assert {tensor.name: tensor.data_type for tensor in rescaled.graph.initializer}["zero"] == TensorProto.INT8
    found = run(rescaled, values)
    step = 0.1 * 255 / 127
    assert np.abs(found - values).max() <= step / 2 + 1e-5
    assert found[0] == 0
    assert found[-1] == pytest.approx(25.5)
    assert len(np.unique(found)) == 128
    assert run(rescaled, np.array([99, -1], np.float32))[0] == pytest.approx(
        25.5
    )  # as before, what is beyond saturates


def test_a_zero_point_that_is_not_zero_cannot_be_signed() -> None:
    with pytest.raises(ModelFileError, match="zero point 'zero' is 3, accepted is 0"):
        signed(pair(0.1, 3))


def test_the_network_alone_is_quantized_with_signed_zeros(converted: onnx.ModelProto) -> None:
    graph = converted.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    sources = {output: node for node in graph.node for output in node.output}
    quantizers = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(quantizers) >= 6
    for node in quantizers:
        zero = tensors[node.input[2]]
        assert zero.data_type == TensorProto.INT8
        assert not numpy_helper.to_array(zero).any()
    for node in graph.node:
        of_integers = [name for name in node.input if name in sources and sources[name].op_type == "DequantizeLinear"]
        assert bool(of_integers) == (node.op_type == "Conv"), node.op_type


def test_activations_have_one_scale_and_weights_one_a_channel(converted: onnx.ModelProto) -> None:
    tensors = {tensor.name: tensor for tensor in converted.graph.initializer}
    for node in converted.graph.node:
        if node.op_type == "QuantizeLinear":
            assert list(tensors[node.input[1]].dims) == []
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            assert list(tensors[node.input[1]].dims) == [tensors[node.input[0]].dims[0]]


def test_the_same_images_give_the_same_file(converted: onnx.ModelProto) -> None:
    again = quantized(tiny_graph(), IMAGES)
    assert again.SerializeToString(deterministic=True) == converted.SerializeToString(deterministic=True)
