"""fp16: the network of a model file in half precision, with casts around it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from lwseg_ros.errors import ModelFileError
from lwseg_training.conversion.network_part import network_part

# Positions of inputs that are float32 whatever else is half: where to sample, not what.
FLOAT_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}


def in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its network's weights and arithmetic in float16; the rest of the graph is as it was.

    Raises ModelFileError where a weight is beyond float16, or where an operator has no half.
    """
    graph = shape_inference.infer_shapes(model).graph
    part = network_part(graph)
    floats = _float_tensors(graph)
    made_inside = {output for position in part for output in graph.node[position].output} & floats
    weights = {tensor.name: tensor for tensor in graph.initializer}
    halves: dict[str, str] = {}
    restored: dict[str, str] = {name: f"{name}_fp32" for name in made_inside if _is_used_outside(graph, part, name)}
    nodes: list[onnx.NodeProto] = []

    def half_of(name: str) -> str:
        """Name a float tensor's half, which is made where there is none yet."""
        if name in made_inside or name not in floats:
            return name
        if name not in halves:
            halves[name] = f"{name}_fp16"
            if name in weights:
                graph.initializer.append(_half_weights(weights[name], halves[name]))
            else:
                nodes.append(
                    helper.make_node("Cast", [name], [halves[name]], f"{name}_to_fp16", to=TensorProto.FLOAT16)
                )
        return halves[name]

    for position, node in enumerate(graph.node):
        if position in part:
            kept = FLOAT_INPUTS.get(node.op_type, ())
            inputs = [name if index in kept else half_of(name) for index, name in enumerate(node.input)]
            _make_attributes_half(node)
        else:
            inputs = [restored.get(name, name) for name in node.input]
        node.input[:] = inputs
        nodes.append(node)
        for name in node.output:
            if name in restored:
                nodes.append(
                    helper.make_node("Cast", [name], [restored[name]], f"{name}_to_fp32", to=TensorProto.FLOAT)
                )
    return _assembled(model, graph, nodes)


def _float_tensors(graph: onnx.GraphProto) -> set[str]:
    """Name the graph's float32 tensors."""
    typed = [
        value for value in (*graph.input, *graph.value_info) if value.type.tensor_type.elem_type == TensorProto.FLOAT
    ]
    return {value.name for value in typed} | {
        tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT
    }


def _is_used_outside(graph: onnx.GraphProto, part: set[int], name: str) -> bool:
    return any(name in node.input for position, node in enumerate(graph.node) if position not in part)


def _half_weights(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0))
    if largest > float(np.finfo(np.float16).max):
        raise ModelFileError(f"its weights {tensor.name!r} go up to {largest:g}, beyond float16's 65504; keep fp32")
    return numpy_helper.from_array(values.astype(np.float16), name)


def _make_attributes_half(node: onnx.NodeProto) -> None:
    """Let a node that names its type, or holds a value, give halves instead of float32."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_half_weights(attribute.t, attribute.t.name))


def _assembled(model: onnx.ModelProto, graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    """Put the nodes into a copy of the model, without weights that nothing needs any more, and check all types."""
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    converted = onnx.ModelProto()
    converted.CopyFrom(model)
    del converted.graph.node[:], converted.graph.initializer[:], converted.graph.value_info[:]
    converted.graph.node.extend(nodes)
    converted.graph.initializer.extend(kept)
    try:
        return shape_inference.infer_shapes(converted, check_type=True, strict_mode=True)
    except shape_inference.InferenceError as error:
        raise ModelFileError(
            f"its graph has no half-precision form ({str(error).splitlines()[0]}); keep fp32"
        ) from error
