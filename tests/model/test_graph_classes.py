"""The labels that a graph can give are those that its manifest has classes for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tiny_model import CLASSES, tiny_graph, tiny_manifest

from lwseg_ros.classes import ClassInfo
from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.graph_classes import label_values
from lwseg_ros.model.model_file import load_model, save_model, shipped_models

ALL = set(range(len(CLASSES)))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (CLASSES[:-1], r"it can give the labels \[4\]"),
        (CLASSES[1:], r"it can give the labels \[0\]"),
        ((*CLASSES, ClassInfo(5, "more", (1, 1, 1))), r"it can never give \[5\]"),
        ((*CLASSES[:-1], ClassInfo(200, "sign", (1, 1, 1))), r"it can give the labels \[4\]"),
    ],
)
def test_classes_that_are_not_the_graphs(tmp_path: Path, classes: tuple[ClassInfo, ...], message: str) -> None:
    with pytest.raises(ModelFileError, match=f"does not fit the classes of its manifest.*{message}"):
        save_model(tiny_graph(), replace(tiny_manifest(), classes=classes), tmp_path / "m.onnx")


def node_of(proto: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in proto.graph.node if node.op_type == kind)


def insert_before_argmax(proto: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Put nodes from `logits` to `x` in front of the ArgMax."""
    nodes_before = [node for node in proto.graph.node if node.op_type not in ("ArgMax",)]
    argmax = onnx.NodeProto()
    argmax.CopyFrom(node_of(proto, "ArgMax"))
    argmax.input[0] = "x"
    index = next(i for i, node in enumerate(nodes_before) if node.output[0] == "probabilities")
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes_before[:index], *nodes, argmax, *nodes_before[index:]])


def constant(proto: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(values, name))


def as_it_is(proto: onnx.ModelProto) -> None:
    pass


def scaled(proto: onnx.ModelProto) -> None:
    insert_before_argmax(proto, helper.make_node("Mul", ["one", "logits"], ["x"]))


def with_a_bias_of_each_class(proto: onnx.ModelProto) -> None:
    constant(proto, "bias", np.zeros((1, len(CLASSES), 1, 1), np.float32))
    insert_before_argmax(proto, helper.make_node("Add", ["logits", "bias"], ["x"]))


def blended(proto: onnx.ModelProto) -> None:
    insert_before_argmax(
        proto,
        helper.make_node("Sigmoid", ["logits"], ["share"]),
        helper.make_node("Where", ["mask", "logits", "share"], ["x"]),
    )


def of_two_halves(proto: onnx.ModelProto) -> None:
    constant(proto, "w2", np.zeros((2, 3, 1, 1), np.float32))
    constant(proto, "w3", np.zeros((3, 3, 1, 1), np.float32))
    insert_before_argmax(
        proto,
        helper.make_node("Conv", ["image_nchw", "w2"], ["two"]),
        helper.make_node("Conv", ["image_nchw", "w3"], ["three"]),
        helper.make_node("Concat", ["two", "three"], ["x"], axis=1),
    )


def upsampled_by_convolution(proto: onnx.ModelProto) -> None:
    constant(proto, "up", np.zeros((3, len(CLASSES), 2, 2), np.float32))
    insert_before_argmax(proto, helper.make_node("ConvTranspose", ["image_nchw", "up"], ["x"]))


def of_quantized_weights(proto: onnx.ModelProto) -> None:
    constant(proto, "w8", np.zeros((len(CLASSES), 3, 1, 1), np.int8))
    insert_before_argmax(
        proto,
        helper.make_node("DequantizeLinear", ["w8", "one"], ["w"]),
        helper.make_node("Conv", ["image_nchw", "w"], ["x"]),
    )


def of_a_constant_node(proto: onnx.ModelProto) -> None:
    weights = numpy_helper.from_array(np.zeros((len(CLASSES), 3, 1, 1), np.float32))
    insert_before_argmax(
        proto,
        helper.make_node("Constant", [], ["w"], value=weights),
        helper.make_node("Conv", ["image_nchw", "w"], ["x"]),
    )


def declared_only(proto: onnx.ModelProto) -> None:
    insert_before_argmax(proto, helper.make_node("Abs", ["logits"], ["x"]))
    proto.graph.value_info.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", len(CLASSES), 48, 64]))


def channels_last(proto: onnx.ModelProto) -> None:
    insert_before_argmax(proto, helper.make_node("Transpose", ["logits"], ["x"], perm=[0, 2, 3, 1]))
    node_of(proto, "ArgMax").attribute[0].i = -1
    proto.graph.value_info.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 48, 64, len(CLASSES)]))


@pytest.mark.parametrize(
    "change",
    [
        as_it_is,
        scaled,
        with_a_bias_of_each_class,
        blended,
        of_two_halves,
        upsampled_by_convolution,
        of_quantized_weights,
        of_a_constant_node,
        declared_only,
        channels_last,
    ],
)
def test_graphs_that_tell_their_classes(change: Callable[[onnx.ModelProto], None]) -> None:
    proto = tiny_graph()
    change(proto)
    assert label_values(proto.graph) == ALL


def test_what_weights_say_comes_before_what_the_file_declares() -> None:
    proto = tiny_graph()
    proto.graph.value_info.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 200, 48, 64]))
    assert label_values(proto.graph) == ALL


def test_a_label_chosen_between_classes_and_the_ignore_id(tmp_path: Path) -> None:
    proto = tiny_graph()
    constant(proto, "nothing", np.array(255, np.float32))
    cast = next(node for node in proto.graph.node if node.output[0] == "label")
    cast.input[0] = "chosen"
    finite = [
        helper.make_node("Equal", ["confidence", "confidence"], ["finite"]),
        helper.make_node("Where", ["finite", "label_float", "nothing"], ["chosen"]),
    ]
    nodes = [node for node in proto.graph.node if node is not cast]
    confidence = next(node for node in nodes if node.output[0] == "confidence")
    nodes = [node for node in nodes if node is not confidence and node.output[0] != "label"]
    index = next(i for i, node in enumerate(nodes) if node.output[0] == "label_float") + 1
    ordered = [
        onnx.NodeProto.FromString(n.SerializeToString())
        for n in (*nodes[:index], confidence, *finite, cast, *nodes[index:])
    ]
    del proto.graph.node[:]
    proto.graph.node.extend(ordered)
    assert label_values(proto.graph) == ALL | {255}
    save_model(proto, tiny_manifest(), tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match=r"it can give the labels \[4\]"):
        save_model(proto, replace(tiny_manifest(), classes=CLASSES[:-1]), tmp_path / "m.onnx")


def of_blocks(proto: onnx.ModelProto, **attributes: str) -> None:
    """Repeat the label over blocks of pixels between ArgMax and cast, as exported by `F.interpolate` and an index."""
    constant(proto, "one_axis", np.array([1], np.int64))
    constant(proto, "times", np.array([1, 1, 2, 2], np.float32))
    constant(proto, "first", np.array(0, np.int64))
    cast = next(node for node in proto.graph.node if node.output[0] == "label")
    nodes = [
        helper.make_node("Unsqueeze", [cast.input[0], "one_axis"], ["with_channel"]),
        helper.make_node("Resize", ["with_channel", "", "times"], ["repeated"], **attributes),
        helper.make_node("Gather", ["repeated", "first"], ["picked"], axis=1),
    ]
    place = list(proto.graph.node).index(cast)
    cast.input[0] = "picked"
    for offset, node in enumerate(nodes):
        proto.graph.node.insert(place + offset, node)


@pytest.mark.parametrize(("attributes", "values"), [({"mode": "nearest"}, ALL), ({}, ALL), ({"mode": "linear"}, None)])
def test_labels_that_are_repeated_are_still_those_of_the_classes(
    attributes: dict[str, str], values: set[int] | None
) -> None:
    proto = tiny_graph()
    of_blocks(proto, **attributes)
    assert label_values(proto.graph) == values


@pytest.mark.parametrize("kind", ["TopK", "own operator", "no ArgMax"])
def test_graphs_that_do_not_tell(kind: str) -> None:
    proto = tiny_graph()
    if kind == "TopK":
        insert_before_argmax(proto, helper.make_node("Abs", ["logits"], ["x"]))
    elif kind == "own operator":
        node_of(proto, "ArgMax").domain = "own"
    else:
        node_of(proto, "ArgMax").op_type = "ReduceMax"
    assert label_values(proto.graph) is None


def test_a_number_of_classes_without_bounds_costs_nothing() -> None:
    proto = tiny_graph()
    declared_only(proto)
    proto.graph.value_info[0].type.tensor_type.shape.dim[1].dim_value = 1 << 62
    assert label_values(proto.graph) == set(range(257))


@pytest.mark.parametrize("path", shipped_models().values(), ids=shipped_models().keys())
def test_shipped_models_tell_theirs(path: Path) -> None:
    proto = onnx.load(path)
    del proto.graph.value_info[:]
    manifest = load_model(path).manifest
    assert label_values(proto.graph) == {*(info.id for info in manifest.classes), manifest.ignore_id}
