"""What of a graph is the network."""

from __future__ import annotations

import onnx
import pytest
from lwseg_training.conversion.network_part import network_part
from onnx import helper
from support.tiny_model import tiny_graph

from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.model_file import ModelFile


def test_normalisation_and_what_follows_the_last_convolution_are_no_part_of_it() -> None:
    graph = tiny_graph().graph
    assert [graph.node[position].op_type for position in sorted(network_part(graph))] == ["Conv", "Relu", "Conv"]


def test_shipped_models(shipped: ModelFile) -> None:
    graph = onnx.load_model_from_string(shipped.data).graph
    part = network_part(graph)
    outside = {node.op_type for position, node in enumerate(graph.node) if position not in part}
    assert {"Transpose", "ArgMax", "ReduceMax", "Round"} <= outside
    assert outside.isdisjoint({"Conv", "MatMul", "BatchNormalization", "Relu"})
    first, last = min(part), max(part)
    normalisation = [node.op_type for node in graph.node[:first]]
    assert [name for name in normalisation if name in ("Cast", "Transpose", "Slice", "Sub")] == [
        "Cast",
        "Transpose",
        "Slice",
        "Sub",
    ]
    assert (graph.node[first].op_type, graph.node[last].op_type) == ("Conv", "Conv")


def test_a_graph_without_a_network_is_refused() -> None:
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "no network", [], [])
    with pytest.raises(ModelFileError, match="none of Conv, ConvTranspose, Gemm, MatMul"):
        network_part(graph)
