"""Model files: damaged bytes, messages whose fields were changed one by one, and graphs that declare any size or loop."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper
from support.tiny_model import tiny_graph, tiny_manifest

from fuzz.damage import damaged
from fuzz.runner import refused
from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.graph_sizes import MAX_NUMBER
from lwseg_ros.model.model_file import METADATA_KEY, load_model, save_model

NUMBERS = (-(2**63), -(2**31), -1, 0, 1, 2, 7, 255, 2**16, 2**31 - 1, 2**40, 2**63 - 1)
LENGTHS = (
    -(2**63),
    -(2**31),
    -1,
    0,
    1,
    1,
    1,
    2,
    2,
    3,
    5,
    48,
    64,
    2**10,
    2**15,
    2**16,
    2**28,
    2**31,
    2**32,
    2**62,
    2**63 - 1,
)
# Whose output is as large as numbers say: operator, how many inputs say so, how many numbers each holds, their type.
SIZED = (
    ("ConstantOfShape", ((4, np.int64),)),
    ("Expand", ((4, np.int64),)),
    ("Tile", ((4, np.int64),)),
    ("Pad", ((8, np.int64),)),
    ("Reshape", ((4, np.int64),)),
    ("Resize", ((0, np.float32), (4, np.float32))),
    ("Resize", ((0, np.float32), (0, np.float32), (4, np.int64))),
    ("Range", ((None, np.int64), (None, np.int64), (None, np.int64))),
    ("Range", ((None, np.float32), (None, np.float32), (None, np.float32))),
    ("OneHot", ((None, np.int64), (2, np.float32))),
    ("Slice", ((2, np.int64), (2, np.int64), (2, np.int64), (2, np.int64))),
    ("Unsqueeze", ((2, np.int64),)),
    ("Mul", ((4, np.int64),)),
    ("Add", ((None, np.float32),)),
)
# The same by attributes.
SHAPED = {
    "AveragePool": ("kernel_shape", "pads", "strides"),
    "MaxPool": ("kernel_shape", "pads", "strides", "dilations"),
    "ConvTranspose": ("strides", "output_shape", "output_padding", "pads", "dilations"),
    "DepthToSpace": ("blocksize",),
    "SpaceToDepth": ("blocksize",),
    "Flatten": ("axis",),
    "RandomUniform": ("shape",),
}
TEXTS = ("", "image", "label", "weights", "../../etc/passwd", "N", "\0", "é" * 300, "x" * 5000)
VALUES = (None, True, -1, 0, 1.5, 1e400, float("nan"), 2**70, "", "x" * 5000, [], {}, [[]], [0, 1], {"a": [1]})


def check(seed: int) -> str:
    """Make a model file; it has to load with what its manifest says, or be refused as a model file."""
    rng = np.random.default_rng([3, seed])
    kind = rng.choice(["bytes", "fields", "manifest", "cut", "sizes", "sizes"])
    if kind == "bytes":
        data = damaged(sound_model(), rng)
    elif kind == "cut":
        data = sound_model()[: int(rng.integers(len(sound_model())))]
    else:
        model = onnx.load_model_from_string(sound_model())
        if kind == "fields":
            for _ in range(int(rng.choice([1, 1, 2, 5]))):
                _change_a_field(model, rng)
        elif kind == "sizes":
            _declare_sizes(model.graph, rng)
        else:
            _change_manifest(model, rng)
        data = model.SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(data)
        try:
            loaded = load_model(path)
        except ModelFileError as error:
            return refused(error)
    assert loaded.data == data
    assert loaded.manifest.classes
    if kind == "sizes":
        _check_sizes_as_onnx_infers_them(model)
    return "loaded"


@cache
def sound_model() -> bytes:
    """Write the tests' model."""
    with tempfile.TemporaryDirectory() as folder:
        return save_model(tiny_graph(), tiny_manifest(), Path(folder) / "tiny.onnx").data


def _change_a_field(model: Message, rng: np.random.Generator) -> None:
    message: Message = model
    while True:
        fields = [field for field, _ in message.ListFields()]
        children = [
            child
            for field in fields
            if field.type == FieldDescriptor.TYPE_MESSAGE
            for child in _children(message, field)
        ]
        if not children or rng.random() < 0.2:
            break
        message = children[int(rng.integers(len(children)))]
    candidates = list(message.DESCRIPTOR.fields) if rng.random() < 0.3 else [field for field, _ in message.ListFields()]
    if not candidates:
        return
    field = candidates[int(rng.integers(len(candidates)))]
    kind = rng.choice(["clear", "repeat", "value", "value"])
    if kind == "clear":
        message.ClearField(field.name)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        children = _children(message, field)
        if field.is_repeated and len(children) and kind == "repeat":
            for _ in range(int(rng.choice([1, 3, 500]))):
                getattr(message, field.name).append(children[int(rng.integers(len(children)))])
        elif field.is_repeated and len(children):
            del getattr(message, field.name)[int(rng.integers(len(children)))]
    else:
        _set_value(message, field, rng)


def _declare_sizes(graph: onnx.GraphProto, rng: np.random.Generator) -> None:
    """Add nodes, each of what those before give, that make tensors of any size or repeat nodes."""
    nodes: list[onnx.NodeProto] = [helper.make_node("Shape", ["logits"], ["shape"])]
    found = ["logits", "logits", "shape"]
    for index in range(int(rng.choice([1, 2, 4, 40]))):
        output, inputs = f"sized_{index}", [str(rng.choice(found[-3:]))]
        attributes: dict[str, Any] = {}
        kind = rng.choice(["inputs", "inputs", "attributes", "doubling", "loop"], p=[0.4, 0.2, 0.15, 0.2, 0.05])
        if kind == "doubling":
            operator, inputs, attributes = "Concat", inputs * 2, {"axis": int(rng.integers(-1, 4))}
        elif kind == "attributes":
            operator = str(rng.choice(list(SHAPED)))
            for name in SHAPED[operator]:
                count = {"pads": 4, "shape": 4, "blocksize": None, "axis": None}.get(name, 2)
                if name in ("kernel_shape", "blocksize", "shape") or rng.random() < 0.5:
                    attributes[name] = _lengths(rng, count).tolist()
            inputs = {"RandomUniform": [], "ConvTranspose": [*inputs, "matching"]}.get(operator, inputs)
        else:
            operator, constants = SIZED[int(rng.integers(len(SIZED)))]
            inputs = [] if operator in ("ConstantOfShape", "Range") else inputs
            for place, (count, dtype) in enumerate(constants):
                name = f"{output}_{place}"
                if count == 4 and rng.random() < 0.2:
                    name = str(rng.choice(found[-3:]))
                else:
                    numbers = _lengths(rng, count).astype(dtype)
                    nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(numbers)))
                inputs.append(name)
        node = helper.make_node(operator, inputs, [output], **attributes)
        nodes.append(_repeated(node, output) if kind == "loop" else node)
        found.append(output)
    graph.node.extend(nodes)


def _lengths(rng: np.random.Generator, count: int | None) -> np.ndarray:
    """Draw so many numbers, or a single one: often those of a sound graph."""
    return np.array(rng.choice((1, 1, 1, 2) if rng.random() < 0.5 else LENGTHS, count))


def _repeated(node: onnx.NodeProto, output: str) -> onnx.NodeProto:
    """Put a node into the body of a loop without end."""
    node.output[0] = f"{output}_inside"
    again, turn = f"{output}_again", f"{output}_turn"
    body = helper.make_graph(
        [helper.make_node("Identity", [again], [f"{again}_still"]), node],
        "body",
        [
            helper.make_tensor_value_info(turn, TensorProto.INT64, []),
            helper.make_tensor_value_info(again, TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info(f"{again}_still", TensorProto.BOOL, []),
            helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["", ""], [output], body=body)


def _check_sizes_as_onnx_infers_them(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for value in onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        assert np.prod(dims, dtype=float) <= MAX_NUMBER, f"{value.name} of {dims} was accepted"


def _children(message: Message, field: FieldDescriptor) -> list[Message]:
    value = getattr(message, field.name)
    return list(value) if field.is_repeated else [value]


def _set_value(message: Message, field: FieldDescriptor, rng: np.random.Generator) -> None:
    value: Any
    if field.type == FieldDescriptor.TYPE_STRING:
        value = str(rng.choice(TEXTS))
    elif field.type == FieldDescriptor.TYPE_BYTES:
        value = rng.bytes(int(rng.choice([0, 1, 100])))
    elif field.type == FieldDescriptor.TYPE_ENUM:
        value = int(rng.choice(list(field.enum_type.values_by_number)))
    elif field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        value = float(rng.choice([0.0, -1.0, np.nan, np.inf, 1e30]))
    else:
        value = int(rng.choice(NUMBERS))
    try:
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
    except (ValueError, TypeError):  # out of the field's range
        pass


def _change_manifest(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    if rng.random() < 0.2:
        entry.value = str(
            rng.choice(["[" * 100_000, "{}", "null", '{"a":' * 5000, entry.value[:-5], entry.value * 2, "1e999"])
        )
        return
    manifest = json.loads(entry.value)
    place, key = manifest, str(rng.choice(list(manifest)))
    while isinstance(place[key], dict | list) and place[key] and rng.random() < 0.7:
        place = place[key]
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[int(rng.integers(len(keys)))]
    kind = rng.choice(["value", "value", "missing", "other"])
    if kind == "missing":
        del place[key]
    elif kind == "other" and isinstance(place, dict):
        place["unknown"] = place[key]
    else:
        place[key] = VALUES[int(rng.integers(len(VALUES)))]
    entry.value = json.dumps(manifest)
