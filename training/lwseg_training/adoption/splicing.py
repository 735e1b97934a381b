"""A foreign graph made fit to stand in a model file's, and put there."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, compose, numpy_helper, version_converter

from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.graph_sizes import names_read
from lwseg_ros.model.onnx_file import tensor_values
from lwseg_training.networks.onnx_graph import OPSET

DOMAIN = "lwseg.foreign"
"""Of the one node that stands for the foreign graph until that is put in its place."""
PREFIX = "foreign/"
KEEPS_NO_BATCH = {"Shape", "Size"}


def restricted(model: onnx.ModelProto, outputs: Collection[str]) -> onnx.ModelProto:
    """Return the part of a graph that some of its outputs need, without what the file declares of sizes within it."""
    needed = set(outputs)
    nodes = []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= names_read(node)
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = model.graph.name or "foreign"
    part.graph.node.extend(reversed(nodes))
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    weights = {tensor.name for tensor in model.graph.initializer}
    part.graph.input.extend(v for v in model.graph.input if v.name in needed and v.name not in weights)
    part.graph.output.extend(value for value in model.graph.output if value.name in outputs)
    return part


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators in a graph."""
    return max((opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")), default=1)


def at_least_opset(model: onnx.ModelProto, least: int = OPSET) -> onnx.ModelProto:
    """Return a graph in operators of a version or later; raises ModelFileError where ONNX cannot convert it."""
    if opset_of(model) >= least:
        return model
    try:
        return version_converter.convert_version(model, least)
    except Exception as error:  # of what it cannot convert it raises RuntimeError and its own kinds
        first_line = next(iter(str(error).splitlines()), "no reason given")
        raise ModelFileError(
            f"it is of opset {opset_of(model)}, which ONNX cannot convert to {least} ({first_line}); export it with "
            f"opset_version={least}"
        ) from error


def with_free_batch(model: onnx.ModelProto, image: str) -> onnx.ModelProto:
    """Return a graph that was exported for one image with 0, the side as it is, where it reshapes to a first side of 1.

    Only what depends on the input `image` counts. Whether the graph then does take several images, running it has to tell.
    """
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    batched = {image}
    for index, node in enumerate(graph.node):
        if not batched & names_read(node) or node.op_type in KEEPS_NO_BATCH:
            continue
        batched.update(node.output)
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" and node.input[0] in batched else None
        if shape is None or any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute):
            continue
        sides = tensor_values(shape)
        if sides.size and sides[0] == 1:
            node.input[1] = f"{node.output[0]}/free_batch_{index}"
            graph.initializer.append(numpy_helper.from_array(np.array([0, *sides[1:]], np.int64), node.input[1]))
    return freed


def spliced(shell: onnx.ModelProto, foreign: onnx.ModelProto) -> onnx.ModelProto:
    """Return `shell` with the graph `foreign`, of one input and one output, in the place of its node of DOMAIN."""
    merged = onnx.ModelProto()
    merged.CopyFrom(shell)
    inner = compose.add_prefix(foreign, PREFIX).graph
    index, place = next((i, node) for i, node in enumerate(merged.graph.node) if node.domain == DOMAIN)
    nodes = list(merged.graph.node)
    renamed = {place.input[0]: inner.input[0].name, place.output[0]: inner.output[0].name}
    for node in (*nodes[:index], *nodes[index + 1 :]):
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    del merged.graph.node[:], merged.graph.value_info[:]
    merged.graph.node.extend([*nodes[:index], *inner.node, *nodes[index + 1 :]])
    merged.graph.initializer.extend(inner.initializer)
    kept = [opset for opset in merged.opset_import if opset.domain != DOMAIN]
    del merged.opset_import[:]
    merged.opset_import.extend(kept)
    for node in merged.graph.node:  # notes of the exporter, which may hold paths of the machine it ran on
        node.doc_string = ""
        del node.metadata_props[:]
    return merged


def precision_of(model: onnx.ModelProto) -> str:
    """Return what of a manifest's PRECISIONS a graph computes in."""
    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        return "int8"
    half = [tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer if len(tensor.dims) > 1]
    return "fp16" if half and all(half) else "fp32"
