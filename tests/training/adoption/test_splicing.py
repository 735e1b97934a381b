"""A foreign graph made fit for a model file: any number of images, later operators, its place in another graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from lwseg_training.adoption.splicing import DOMAIN, at_least_opset, opset_of, restricted, spliced, with_free_batch
from onnx import TensorProto, helper, numpy_helper

from lwseg_ros.errors import ModelFileError


def graph_of(*nodes: onnx.NodeProto, opset: int = 18, **constants: np.ndarray) -> onnx.ModelProto:
    """Build a graph from x [1, 3, 4, 4] to y."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 4, 4])
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "channels", 4, 4])
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "graph", [given], [found], weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def run(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def test_a_graph_for_one_image_takes_several() -> None:
    model = graph_of(
        helper.make_node("Reshape", ["x", "flat"], ["rows"]),
        helper.make_node("Add", ["rows", "offsets"], ["moved"]),
        helper.make_node("Reshape", ["moved", "image"], ["y"]),
        helper.make_node("Reshape", ["weights", "flat_weights"], ["unused"]),
        flat=np.array([1, 3, 16]),
        offsets=np.arange(16, dtype=np.float32),
        image=np.array([1, 3, 4, -1]),
        weights=np.zeros((3, 1), np.float32),
        flat_weights=np.array([1, 3]),
    )
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    with pytest.raises(Exception, match="Reshape"):
        run(model, images)
    freed = with_free_batch(model, "x")
    expected = np.concatenate([run(model, image[None]) for image in images])
    np.testing.assert_array_equal(run(freed, images), expected)
    assert freed.graph.node[3].input[1] == "flat_weights", "what does not depend on the image stays"


def test_only_what_an_output_needs_is_kept() -> None:
    model = graph_of(
        helper.make_node("Mul", ["x", "two"], ["y"]),
        helper.make_node("Add", ["x", "one"], ["z"]),
        two=np.float32([2]),
        one=np.float32([1]),
    )
    part = restricted(model, ["y"])
    assert [node.op_type for node in part.graph.node] == ["Mul"]
    assert [tensor.name for tensor in part.graph.initializer] == ["two"]


def test_older_operators_are_converted_and_later_ones_stay() -> None:
    old = graph_of(helper.make_node("ReduceMax", ["x"], ["y"], axes=[1]), opset=11)
    converted = at_least_opset(old, 18)
    assert (opset_of(old), opset_of(converted)) == (11, 18)
    image = np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(converted, image), run(old, image))
    late = graph_of(helper.make_node("Relu", ["x"], ["y"]), opset=20)
    assert at_least_opset(late, 18) is late
    ancient = graph_of(helper.make_node("Dropout", ["x"], ["y"], is_test=0), opset=1)
    with pytest.raises(ModelFileError, match=r"of opset 1, which ONNX cannot convert to 18 .*opset_version=18"):
        at_least_opset(ancient, 18)


def test_a_graph_takes_the_place_of_the_node_that_stood_for_it() -> None:
    shell = graph_of(
        helper.make_node("Neg", ["x"], ["half_way"]),
        helper.make_node("Network", ["half_way"], ["network"], domain=DOMAIN),
        helper.make_node("Neg", ["network"], ["y"]),
    )
    shell.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    foreign = graph_of(
        helper.make_node("Add", ["x", "y_"], ["half_way"], doc_string="/home/somebody/net.py"),
        helper.make_node("Identity", ["half_way"], ["y"]),
        y_=np.float32([5]),
    )
    merged = spliced(shell, foreign)
    onnx.checker.check_model(merged)
    image = np.ones((1, 3, 4, 4), np.float32)
    np.testing.assert_array_equal(run(merged, image), np.full_like(image, -4))
    assert [opset.domain for opset in merged.opset_import] == [""]
    assert b"somebody" not in merged.SerializeToString()
