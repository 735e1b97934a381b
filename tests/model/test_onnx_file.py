"""An ONNX file is data: whatever its bytes, reading it ends soon, in little memory, and in one kind of error."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from google.protobuf.message import Message
from onnx import TensorProto, helper
from support.effort import is_cheap
from support.tiny_model import tiny_graph, tiny_manifest, write_tiny_model

from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.graph_sizes import MAX_NODES
from lwseg_ros.model.model_file import METADATA_KEY, load_model, save_model, shipped_models
from lwseg_ros.model.onnx_file import MAX_FIELDS, parse_onnx


def with_our_manifest(proto: onnx.ModelProto) -> bytes:
    """Serialize a graph with a manifest that fits it but for the hash of the weights."""
    proto.metadata_props.add(key=METADATA_KEY, value=tiny_manifest().to_json())
    return proto.SerializeToString()


def load_bytes(folder: Path, data: bytes) -> None:
    (folder / "m.onnx").write_bytes(data)
    load_model(folder / "m.onnx")


def external_tensor() -> TensorProto:
    tensor = TensorProto(name="elsewhere", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    return tensor


def constant_node() -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=external_tensor())


def subgraph(node: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph([node], "body", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [1])])


def put_in_initializer(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(external_tensor())


def put_in_initializer_without_flag(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.external_data.add(key="location", value="weights.bin")


def put_in_constant(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(constant_node())


def put_in_list_of_tensors(proto: onnx.ModelProto) -> None:
    attribute = onnx.AttributeProto(name="values", type=onnx.AttributeProto.TENSORS, tensors=[external_tensor()])
    proto.graph.node[0].attribute.append(attribute)


def put_in_if(proto: onnx.ModelProto) -> None:
    branch = subgraph(constant_node())
    proto.graph.node.append(helper.make_node("If", ["one"], ["c"], then_branch=branch, else_branch=branch))


def put_in_initializer_of_loop(proto: onnx.ModelProto) -> None:
    body = subgraph(helper.make_node("Identity", ["elsewhere"], ["c"]))
    body.initializer.append(external_tensor())
    proto.graph.node.append(helper.make_node("Loop", ["", "one"], ["c"], body=body))


def put_in_if_in_scan(proto: onnx.ModelProto) -> None:
    branch = subgraph(constant_node())
    body = subgraph(helper.make_node("If", ["one"], ["c"], then_branch=branch, else_branch=branch))
    proto.graph.node.append(helper.make_node("Scan", ["one"], ["c"], body=body, num_scan_inputs=1))


def put_in_list_of_graphs(proto: onnx.ModelProto) -> None:
    graphs = [subgraph(constant_node())]
    proto.graph.node[0].attribute.append(
        onnx.AttributeProto(name="bodies", type=onnx.AttributeProto.GRAPHS, graphs=graphs)
    )


def put_in_sparse_initializer(proto: onnx.ModelProto) -> None:
    proto.graph.sparse_initializer.append(onnx.SparseTensorProto(values=external_tensor(), dims=[1 << 40]))


def put_in_sparse_constant(proto: onnx.ModelProto) -> None:
    sparse = onnx.SparseTensorProto(values=external_tensor(), dims=[4])
    attribute = onnx.AttributeProto(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse)
    proto.graph.node.append(onnx.NodeProto(op_type="Constant", output=["c"], attribute=[attribute]))


def put_in_function(proto: onnx.ModelProto) -> None:
    opset = helper.make_opsetid("", 17)
    proto.functions.append(helper.make_function("own", "F", [], ["c"], [constant_node()], [opset]))


def put_in_training_info(proto: onnx.ModelProto) -> None:
    proto.training_info.add().initialization.initializer.append(external_tensor())


@pytest.mark.parametrize(
    "put",
    [
        put_in_initializer,
        put_in_initializer_without_flag,
        put_in_constant,
        put_in_list_of_tensors,
        put_in_if,
        put_in_initializer_of_loop,
        put_in_if_in_scan,
        put_in_list_of_graphs,
        put_in_sparse_initializer,
        put_in_sparse_constant,
        put_in_function,
        put_in_training_info,
    ],
)
def test_data_in_other_files_is_refused_wherever_it_hides(
    tmp_path: Path, put: Callable[[onnx.ModelProto], None]
) -> None:
    proto = tiny_graph()
    put(proto)
    message = "are kept in another file|holds sparse weights|made of functions"
    with pytest.raises(ModelFileError, match=message):
        load_bytes(tmp_path, with_our_manifest(proto))
    with pytest.raises(ModelFileError, match=message):
        save_model(proto, tiny_manifest(), tmp_path / "saved.onnx")


@pytest.mark.parametrize(
    "text", [b"name_of_graph", b"name_of_node", b"note_on_input", b"text_of_attribute", b"one_of_texts"]
)
def test_texts_that_are_no_utf8_are_refused(tmp_path: Path, text: bytes) -> None:
    proto = tiny_graph()
    proto.graph.name = "name_of_graph"
    proto.graph.node[0].name = "name_of_node"
    proto.graph.input[0].doc_string = "note_on_input"
    proto.graph.node[0].attribute.add(name="s", type=onnx.AttributeProto.STRING, s=b"text_of_attribute")
    proto.graph.node[0].attribute.add(name="t", type=onnx.AttributeProto.STRINGS, strings=[b"one_of_texts"])
    data = with_our_manifest(proto)
    with pytest.raises(ModelFileError, match=r"truncated one .'utf-8'"):
        load_bytes(tmp_path, data.replace(text, b"\xff" + text[1:]))


def test_manifests_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"truncated one .'utf-8'"):
        load_bytes(tmp_path, with_our_manifest(tiny_graph()).replace(b"painted colours", b"painted \xff\xfelours"))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorProto(data_type=TensorProto.FLOAT, dims=[1 << 40, 1 << 20]), "values are declared in"),
        (TensorProto(data_type=TensorProto.INT4, dims=[1 << 31], raw_data=bytes(8)), "values are declared in 8 bytes"),
        (TensorProto(data_type=TensorProto.FLOAT, dims=[-1], raw_data=bytes(8)), "dimensions, the smallest is -1"),
        (TensorProto(data_type=TensorProto.FLOAT, dims=[1] * 10_000, raw_data=bytes(4)), "10000 dimensions"),
        (TensorProto(data_type=TensorProto.FLOAT, dims=[3], raw_data=bytes(8)), ""),
        (TensorProto(data_type=99, dims=[1], raw_data=bytes(4)), ""),
        (TensorProto(data_type=(1 << 31) - 1, dims=[1], raw_data=bytes(4)), ""),
        (TensorProto(dims=[1], raw_data=bytes(4)), ""),
        (TensorProto(data_type=TensorProto.STRING, dims=[1], string_data=[b"text"]), "they are texts"),
    ],
)
@pytest.mark.parametrize("in_constant", [False, True])
def test_tensors_that_are_not_what_they_declare(
    tmp_path: Path, tensor: TensorProto, message: str, in_constant: bool
) -> None:
    proto = tiny_graph()
    if in_constant:
        proto.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    else:
        proto.graph.initializer.append(tensor)
    with pytest.raises(ModelFileError, match=f"weights '' are damaged.*{message}"):
        load_bytes(tmp_path, with_our_manifest(proto))


def field(number: int, content: bytes) -> bytes:
    """Serialize a protobuf field of bytes."""
    length, size = len(content), b""
    while length > 127:
        length, size = length >> 7, size + bytes([length & 127 | 128])
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def nested(depth: int) -> bytes:
    """A graph in an attribute of a node of a graph, and so on."""
    graph = b""
    for _ in range(depth):
        graph = field(1, field(4, b"Q") + field(5, field(6, graph)))
    return field(7, graph)


GRAPH = 7
EXPLOSIVE = {
    "empty nodes": (field(GRAPH, field(1, b"") * 1_000_000), "fields, which is no model's"),
    "empty weights": (field(GRAPH, field(5, b"") * 1_000_000), "fields, which is no model's"),
    "dimensions": (field(GRAPH, field(5, b"\x08\x01" * 1_000_000)), "fields, which is no model's"),
    "packed dimensions": (field(GRAPH, field(5, field(1, bytes(4_000_000)))), "besides its weights' raw data"),
    "packed numbers": (field(GRAPH, field(5, field(5, bytes(4_000_000)))), "besides its weights' raw data"),
    "long name": (field(GRAPH, field(2, b"\x01" * 4_000_000)), "besides its weights' raw data"),
    "nesting": (nested(40), "nested more than 50 messages deep"),
    "deep nesting": (nested(3000), "nested more than 50 messages deep"),
    "huge length": (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "not an ONNX file, or a truncated one"),
    "endless number": (b"\x08" + b"\xff" * 100, "not an ONNX file, or a truncated one"),
    "group": (b"\x0b" * 100, "not an ONNX file, or a truncated one"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPLOSIVE)
def test_what_would_explode_is_refused_before_it_is_unpacked(name: str) -> None:
    data, message = EXPLOSIVE[name]

    def refuse() -> None:
        with pytest.raises(ModelFileError, match=message):
            parse_onnx(data)

    assert is_cheap(refuse)


def just_below_the_limits() -> dict[str, onnx.ModelProto]:
    """Graphs as costly as get past the limits."""
    many_nodes, many_weights, large_weights, numbers = (tiny_graph() for _ in range(4))
    nodes, weights = MAX_NODES - 100, (MAX_FIELDS - 1000) // 4
    many_nodes.graph.node.extend(helper.make_node("Identity", ["one"], [f"n{i}"]) for i in range(nodes))
    many_weights.graph.initializer.extend(
        TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, float_data=[1.0]) for i in range(weights)
    )
    size = 39 << 20
    large_weights.graph.initializer.append(
        TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[size], raw_data=bytes(4 * size))
    )
    size = 2_000_000
    numbers.graph.initializer.append(
        TensorProto(name="w", data_type=TensorProto.FLOAT16, dims=[size], int32_data=[1] * size)
    )
    return {"nodes": many_nodes, "weights": many_weights, "large": large_weights, "numbers": numbers}


LOAD_IN_A_GIGABYTE = """
import resource, sys
from pathlib import Path
from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.model_file import load_model
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    load_model(sys.argv[1])
except ModelFileError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["nodes", "weights", "large", "numbers"])
def test_the_costliest_files_are_read_in_a_gigabyte(tmp_path: Path, name: str) -> None:
    proto = just_below_the_limits()[name]
    (tmp_path / "m.onnx").write_bytes(with_our_manifest(proto))
    result = subprocess.run(
        [sys.executable, "-c", LOAD_IN_A_GIGABYTE, tmp_path / "m.onnx"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "its weights have SHA-256" in result.stdout, "it was refused for another reason"


NUMBERS = (0, 1, -1, 7, 255, 1 << 31, -(1 << 31), (1 << 31) - 1, 1 << 40, (1 << 63) - 1, -(1 << 63))
TEXTS = ("", "x", "image", "label", "If", "Constant", "\u00e9" * 1000)


def held(root: Message) -> list[Message]:
    """List a message and all that it holds."""
    found = [root]
    for message in found:
        for descriptor, value in message.ListFields():
            if descriptor.message_type is not None:
                found.extend([value] if isinstance(value, Message) else value)
    return found


def change_a_field(rng: random.Random, root: Message) -> None:
    """Give any field of any message any value of its type, or none, or take an entry out or twice."""
    message = rng.choice(held(root))
    descriptor = rng.choice(list(message.DESCRIPTOR.fields))
    value = getattr(message, descriptor.name)
    if rng.random() < 0.2:
        message.ClearField(descriptor.name)
    elif hasattr(value, "append"):
        if len(value) and rng.random() < 0.5:
            del value[rng.randrange(len(value))]
        elif len(value):
            value.append(value[rng.randrange(len(value))])
        elif descriptor.message_type is not None:
            value.add()
    elif descriptor.message_type is not None:
        getattr(message, descriptor.name).SetInParent()
    else:
        try:
            setattr(message, descriptor.name, rng.choice([*NUMBERS, *TEXTS, b"\xff\x00", float("nan")]))
        except (TypeError, ValueError):  # not of its type
            return


def change_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut and repeat."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 2, 8])):
        place = rng.randrange(len(changed) - 8)
        kind = rng.randrange(4)
        if kind == 0:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[place] = rng.choice([0, 1, 127, 128, 255])
        elif kind == 2:
            del changed[place : place + rng.choice([1, 3, 30])]
        else:
            changed[place:place] = changed[place : place + rng.choice([1, 3, 30])]
        if len(changed) < 100:
            break
    return bytes(changed)


@pytest.mark.parametrize("seed", range(6))
def test_mutated_files_raise_only_model_file_errors(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = write_tiny_model(tmp_path / "tiny.onnx").path.read_bytes()
    refused = 0
    for _ in range(300):
        if rng.random() < 0.5:
            mutated = change_bytes(rng, data)
        else:
            proto = onnx.ModelProto.FromString(data)
            for _ in range(rng.choice([1, 1, 3])):
                change_a_field(rng, proto)
            mutated = proto.SerializeToString()
        try:
            load_bytes(tmp_path, mutated)
        except ModelFileError:
            refused += 1
    assert refused > 150


@pytest.mark.parametrize("path", shipped_models().values(), ids=shipped_models().keys())
def test_mutated_shipped_models_raise_only_model_file_errors(tmp_path: Path, path: Path) -> None:
    rng = random.Random(path.stem)
    data = path.read_bytes()
    for _ in range(20):
        proto = onnx.ModelProto.FromString(data)
        change_a_field(rng, proto)
        with contextlib.suppress(ModelFileError):
            load_bytes(tmp_path, proto.SerializeToString())


def test_an_error_is_readable_whatever_a_file_is_called_inside(tmp_path: Path) -> None:
    proto = tiny_graph()
    proto.graph.input.add(name="\x01" * 1_000_000).type.tensor_type.elem_type = TensorProto.FLOAT
    proto.graph.input[1].type.tensor_type.shape.dim.add(dim_value=1)
    with pytest.raises(ModelFileError, match="its inputs are") as caught:
        load_bytes(tmp_path, with_our_manifest(proto))
    assert len(str(caught.value)) < 3000
