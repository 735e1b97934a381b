"""A network in half precision: types, values, and what cannot be."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from lwseg_training.conversion.half import in_half
from onnx import TensorProto, numpy_helper
from support.tiny_model import painted_image, tiny_graph

from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.model_file import ModelFile


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values} | {
        tensor.name: tensor.data_type for tensor in model.graph.initializer
    }


def _ends(node: onnx.NodeProto, types: dict[str, int]) -> tuple[int, int]:
    return types[node.input[0]], types[node.output[0]]


def outputs(model: onnx.ModelProto, image: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(["label", "uncertainty"], {"image": image[None]})
    return found


def test_the_network_alone_is_half(shipped: ModelFile, shipped_half: onnx.ModelProto) -> None:
    model = shipped_half
    types = element_types(model)
    operators = [node.op_type for node in model.graph.node]
    for node in model.graph.node:
        if node.op_type in ("Conv", "MatMul", "BatchNormalization", "Relu"):
            assert {types[tensor] for tensor in (*node.input, *node.output) if tensor} == {TensorProto.FLOAT16}
        if node.op_type in ("ArgMax", "ReduceMax", "Round"):  # of label and uncertainty
            assert types[node.input[0]] == TensorProto.FLOAT
    into, out = (
        node for node in model.graph.node if node.op_type == "Cast" and TensorProto.FLOAT16 in _ends(node, types)
    )
    assert [_ends(cast, types) for cast in (into, out)] == [
        (TensorProto.FLOAT, TensorProto.FLOAT16),
        (TensorProto.FLOAT16, TensorProto.FLOAT),
    ]
    first = next(position for position, name in enumerate(operators) if name == "Conv")
    assert into.output[0] in model.graph.node[first].input
    original = onnx.load_model_from_string(shipped.data)
    assert operators.count("Cast") == sum(node.op_type == "Cast" for node in original.graph.node) + 2
    floats = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    of_the_network = {name for name in floats if "network." in name}
    assert all(name.endswith(("backbone.scale", "backbone.shift")) for name in of_the_network)  # of the image


def test_it_gives_the_same() -> None:
    original = tiny_graph()
    for seed in range(3):
        image = painted_image((48, 64), seed)[0]
        (label, uncertainty), (reference, doubt) = outputs(in_half(original), image), outputs(original, image)
        assert (label == reference).mean() > 0.999
        assert np.abs(uncertainty.astype(int) - doubt).max() <= 16


def test_the_model_given_is_not_changed() -> None:
    original = tiny_graph()
    before = original.SerializeToString()
    in_half(original)
    assert original.SerializeToString() == before


def test_a_weight_beyond_half_is_refused() -> None:
    model = tiny_graph()
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "offsets")
    tensor.CopyFrom(numpy_helper.from_array(np.full(5, 70_000, np.float32), "offsets"))
    with pytest.raises(ModelFileError, match=r"weights 'offsets' go up to 70000, beyond float16's 65504; keep fp32"):
        in_half(model)
