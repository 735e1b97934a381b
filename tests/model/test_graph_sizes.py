"""Graphs that declare more than any machine holds, or repeat themselves, are refused before a runtime opens them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tiny_model import tiny_graph, tiny_manifest

from lwseg_ros.backends import BackendOptions, open_backend
from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.graph_sizes import INFERRED_AS, check_sizes
from lwseg_ros.model.model_file import METADATA_KEY, check_batch, load_model, shipped_models, weights_sha256

Nodes = list[onnx.NodeProto]


def constant(name: str, value: object, dtype: type = np.int64) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, dtype), name))


def made(op: str, inputs: list[str], *constants: onnx.NodeProto, **attributes: object) -> Nodes:
    """Constants and the node that they are given to; `logits` is [1, 5, 48, 64]."""
    return [*constants, helper.make_node(op, inputs, ["made"], name="culprit", **attributes)]


def chain(
    op: str, first: str, length: int, *operand: onnx.NodeProto, twice: bool = False, **attributes: object
) -> Nodes:
    names = [first, *(f"link_{index}" for index in range(length))]
    others = [node.output[0] for node in operand]
    return [
        *operand,
        *(
            helper.make_node(op, [before] * (1 + twice) + others, [after], **attributes)
            for before, after in itertools.pairwise(names)
        ),
    ]


def wide(count: int) -> Nodes:
    """Tensors none of which is too large, and all of which live until the last node."""
    copies = [helper.make_node("Tile", ["logits", "times"], [f"copy_{index}"]) for index in range(count)]
    return [
        constant("times", [1, 1, 100, 100]),
        *copies,
        helper.make_node("Sum", [n.output[0] for n in copies], ["made"]),
    ]


def repeated(op: str) -> Nodes:
    """A loop without end."""
    body_inputs = [
        helper.make_tensor_value_info("turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("again", TensorProto.BOOL, []),
    ]
    inner = [helper.make_node("Identity", ["again"], ["still"]), helper.make_node("Identity", ["turn"], ["count"])]
    still = helper.make_tensor_value_info("still", TensorProto.BOOL, [])
    count = helper.make_tensor_value_info("count", TensorProto.INT64, [])
    if op == "Scan":
        scan = helper.make_graph(
            [helper.make_node("Identity", ["turn"], ["still"])],
            "body",
            [helper.make_tensor_value_info("turn", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("still", TensorProto.FLOAT, [1])],
        )
        zeros = [constant("turns", [2**40, 1])]
        return [
            *zeros,
            helper.make_node("ConstantOfShape", ["turns"], ["steps"]),
            helper.make_node("Scan", ["steps"], ["made"], name="culprit", body=scan, num_scan_inputs=1),
        ]
    body = helper.make_graph(inner, "body", body_inputs, [still, count])
    return [helper.make_node("Loop", ["", "yes"], ["made"], name="culprit", body=body)]


def branch(name: str, nodes: Nodes) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(nodes[-1].output[0], 1, None)])


def in_a_branch(nodes: Nodes, others: Nodes | None = None, condition: str = "yes") -> Nodes:
    branches = {"then_branch": branch("then", nodes), "else_branch": branch("else", others or nodes)}
    return [helper.make_node("If", [condition], ["chosen"], **branches)]


def squeezed_where_one_wide(name: str) -> Nodes:
    """As torch writes `squeeze(1)` where it does not know the size."""
    return [
        constant("second", [1]),
        constant("one_wide", [1]),
        helper.make_node("Shape", [name], ["its_shape"]),
        helper.make_node("Gather", ["its_shape", "second"], ["its_width"]),
        helper.make_node("Equal", ["its_width", "one_wide"], ["is_one"]),
        *in_a_branch(
            [helper.make_node("Squeeze", [name, "second"], ["narrow"])],
            [helper.make_node("Identity", [name], ["wide"])],
            condition="is_one",
        ),
        helper.make_node("Relu", ["chosen"], ["made"]),
    ]


def after_computing(*steps: tuple[str, float]) -> Nodes:
    """A shape that is only computed in the graph."""
    nodes, name = [helper.make_node("Shape", ["logits"], ["shape"])], "shape"
    for index, (op, value) in enumerate(steps):
        nodes += [constant(f"by_{index}", value), helper.make_node(op, [name, f"by_{index}"], [f"step_{index}"])]
        name = f"step_{index}"
    return [*nodes, helper.make_node("ConstantOfShape", [name], ["made"], name="culprit")]


def conv(op: str, **attributes: object) -> Nodes:
    weights = constant("w", np.ones((5, 5, 3, 3)), np.float32)
    return made(op, ["logits", "w"], weights, **attributes)


LARGE: dict[str, Nodes] = {
    **{
        f"ConstantOfShape {shape}": made("ConstantOfShape", ["s"], constant("s", shape))
        for shape in ([2**40], [2**31, 2**31], [2**62, 4], [2**15] * 4, [2**63 - 1], [-1])
    },
    "Expand": made("Expand", ["logits", "s"], constant("s", [2**20, 5, 48, 64])),
    "Expand ones": made("Expand", ["one", "s"], constant("s", [2**40])),
    "Tile": made("Tile", ["logits", "s"], constant("s", [1, 1, 2**20, 2**20])),
    "Tile that overflows": made("Tile", ["logits", "s"], constant("s", [2**61, 1, 2**60, 2**58])),
    "Pad": made("Pad", ["logits", "s"], constant("s", [0, 0, 2**20, 0, 0, 0, 0, 2**20])),
    "Pad that overflows": made("Pad", ["logits", "s"], constant("s", [0, 0, 2**62, 2**62, 0, 0, 2**62, 2**63 - 1])),
    "Resize sizes": made("Resize", ["logits", "", "", "s"], constant("s", [1, 5, 2**20, 2**20])),
    "Resize scales": made("Resize", ["logits", "", "s"], constant("s", [1, 1, 1e5, 1e5], np.float32)),
    "Resize to infinity": made("Resize", ["logits", "", "s"], constant("s", [1, 1, np.inf, 1], np.float32)),
    "Range": made("Range", ["a", "b", "c"], constant("a", 0), constant("b", 2**40), constant("c", 1)),
    "Range of tiny steps": made(
        "Range",
        ["a", "b", "c"],
        *(constant(name, value, np.float32) for name, value in zip("abc", (0, 9, 1e-30), strict=True)),
    ),
    "Range without steps": made("Range", ["a", "b", "c"], constant("a", 0), constant("b", 9), constant("c", 0)),
    "Range that overflows": made(
        "Range", ["a", "b", "c"], constant("a", -(2**63)), constant("b", 2**63 - 1), constant("c", 1)
    ),
    "OneHot": [
        helper.make_node("Cast", ["logits"], ["ids"], to=TensorProto.INT64),
        *made("OneHot", ["ids", "d", "v"], constant("d", 2**40), constant("v", [0, 1])),
    ],
    "EyeLike": [
        constant("side", [2**15, 2**15]),
        helper.make_node("ConstantOfShape", ["side"], ["square"]),
        helper.make_node("EyeLike", ["square"], ["made"]),
    ],
    "RandomUniform": made("RandomUniform", [], shape=[2**20, 2**20]),
    "HannWindow": made("HannWindow", ["n"], constant("n", 2**40)),
    "ConvTranspose strides": conv("ConvTranspose", strides=[2**15, 2**15]),
    "ConvTranspose output": conv("ConvTranspose", output_shape=[2**20, 2**20]),
    "ConvTranspose padding": conv("ConvTranspose", strides=[9, 9], output_padding=[2**40, 0]),
    "Conv pads": conv("Conv", pads=[2**20] * 4),
    "Conv without strides": conv("Conv", strides=[0, 0]),
    "MaxPool pads": made("MaxPool", ["logits"], kernel_shape=[2**20 + 1] * 2, pads=[2**20] * 4),
    "AveragePool kernel": made("AveragePool", ["logits"], kernel_shape=[2**62, 1], pads=[2**62, 0, 2**62, 0]),
    "Reshape": made("Reshape", ["logits", "s"], constant("s", [2**40, -1])),
    "broadcasting": [
        constant("down", [-1, 1]),
        constant("across", [1, -1]),
        helper.make_node("Reshape", ["both", "down"], ["column"]),
        helper.make_node("Reshape", ["both", "across"], ["row"]),
        *made("Add", ["column", "row"]),
        helper.make_node("Exp", ["made"], ["more"]),
    ],
    "a matrix product": [
        constant("down", [-1, 1]),
        constant("across", [1, -1]),
        helper.make_node("Reshape", ["both", "down"], ["column"]),
        helper.make_node("Reshape", ["both", "across"], ["row"]),
        *made("MatMul", ["column", "row"]),
    ],
    "Concat, each doubling": chain("Concat", "logits", 40, twice=True, axis=1),
    "Concat of numbers, each doubling": chain("Concat", "shape", 40, twice=True, axis=0),
    "Tile, each doubling": chain("Tile", "logits", 40, constant("s", [2, 1, 1, 1])),
    "Concat of a part, each doubling": chain("Concat", "a_row", 40, twice=True, axis=1),
    "Resize, each doubling": chain(
        "Resize", "logits", 40, constant("r", [], np.float32), constant("s", [1, 1, 2, 2], np.float32)
    ),
    "constants, each doubling": chain("Concat", "one_one", 40, twice=True, axis=0),
    "many at a time": wide(20),
    "many constants": [
        constant("million", [2**20]),
        *(helper.make_node("ConstantOfShape", ["million"], [f"c_{index}"]) for index in range(99)),
        *made("Sum", [f"c_{index}" for index in range(99)]),
    ],
    "many constants that meet the image": [
        constant("million", [1, 1, 2**20, 1]),
        constant("axes", [1, 2, 3]),
        helper.make_node("ReduceSum", ["logits", "axes"], ["total"]),
        *(
            node
            for index in range(99)
            for node in (
                helper.make_node("ConstantOfShape", ["million"], [f"c_{index}"]),
                helper.make_node("Add", ["total", f"c_{index}"], [f"sum_{index}"]),
            )
        ),
    ],
    "computed": after_computing(("Mul", 2**20)),
    "computed with overflow": after_computing(("Mul", 2**61), ("Add", 2**62)),
    "computed step by step": after_computing(*[("Mul", 64)] * 6),
    "in a branch": in_a_branch(made("ConstantOfShape", ["s"], constant("s", [2**40]))),
    "in a branch of a branch": in_a_branch(in_a_branch(made("Tile", ["logits", "s"], constant("s", [1, 1, 2**20, 1])))),
    "behind branches of two sizes": [
        *in_a_branch([constant("few", [2])], [constant("four", [[2, 2], [2, 2]])], condition="bright"),
        helper.make_node("ConstantOfShape", ["chosen"], ["made"]),
    ],
    "in a branch that is not taken": in_a_branch(
        [constant("few", [2])], made("ConstantOfShape", ["s"], constant("s", [2**40]))
    ),
    "by the branch that is taken": [
        *in_a_branch([constant("much", [2**40])], [constant("few", [2])]),
        helper.make_node("ConstantOfShape", ["chosen"], ["made"]),
    ],
    "many constants out of branches": [
        constant("million", [2**20]),
        *(
            helper.make_node(
                "If",
                ["one_of_100"],
                [f"c_{index}"],
                **{
                    name: branch(name, [helper.make_node("ConstantOfShape", ["million"], [f"{name}_{index}"])])
                    for name in ("then_branch", "else_branch")
                },
            )
            for index in range(99)
        ),
        *made("Sum", [f"c_{index}" for index in range(99)]),
    ],
    "by what the image holds": [
        helper.make_node("NonZero", ["logits"], ["places"]),
        helper.make_node("Expand", ["places", "shape"], ["made"]),
    ],
    "by the image's own values": [
        helper.make_node("Cast", ["logits"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["ids", "flat"], ["numbers"]),
        helper.make_node("ReduceMax", ["numbers"], ["most"], keepdims=0),
        *made("Range", ["zero", "most", "a_step"]),
    ],
    "a sequence": made("SplitToSequence", ["logits"]),
    "Loop": repeated("Loop"),
    "Scan": repeated("Scan"),
    "Loop in a branch": in_a_branch(repeated("Loop")),
    "an operator of a runtime": [helper.make_node("Range", ["zero", "many"], ["made"], domain="com.microsoft")],
}
GIVEN = [
    constant("yes", True, np.bool_),
    constant("zero", 0),
    constant("a_step", 1),
    constant("many", 2**40),
    constant("flat", [-1]),
    constant("s_row", [1, -1]),
    constant("one_one", [1.0], np.float32),
    helper.make_node("Shape", ["logits"], ["shape"]),
    helper.make_node("Reshape", ["logits", "s_row"], ["a_row"]),
    helper.make_node("Concat", ["logits", "logits"], ["both"], axis=1),
    helper.make_node("ReduceMean", ["logits"], ["a_mean"], axes=[1]),
    helper.make_node("ReduceMax", ["logits"], ["brightest"], keepdims=0),
    helper.make_node("Cast", ["brightest"], ["bright"], to=TensorProto.BOOL),
    # one that does not depend on the image, and is not computed here
    constant("hundred", np.ones((100, 1)), np.float32),
    helper.make_node("ReduceMax", ["hundred"], ["of_100"], keepdims=0),
    helper.make_node("Cast", ["of_100"], ["one_of_100"], to=TensorProto.BOOL),
]
SOUND: dict[str, Nodes] = {
    "Tile": made("Tile", ["logits", "s"], constant("s", [1, 2, 2, 2])),
    "Pad": made("Pad", ["logits", "s"], constant("s", [0, 0, 1, 1, 0, 0, 1, 1])),
    "Resize to a computed size": [
        constant("first", [0]),
        constant("last", [2]),
        constant("sides", [96, 128]),
        helper.make_node("Slice", ["shape", "first", "last"], ["batch_and_classes"]),
        helper.make_node("Concat", ["batch_and_classes", "sides"], ["sizes"], axis=0),
        helper.make_node("Resize", ["logits", "", "", "sizes"], ["made"]),
    ],
    "Slice without end": made(
        "Slice", ["logits", "a", "b", "c"], constant("a", [-1]), constant("b", [-(2**63)]), constant("c", [3])
    ),
    "computed": after_computing(("Mul", 2), ("Sub", 1)),
    "branches": in_a_branch(made("Expand", ["logits", "s"], constant("s", [2, 5, 48, 64]))),
    "Range": made("Range", ["zero", "b", "a_step"], constant("b", 64)),
    "numbers that are no sizes": [
        helper.make_node("Cast", ["logits"], ["ids"], to=TensorProto.INT64),
        *made("Min", ["ids", "most"], constant("most", 2**63 - 1)),
    ],
    **{  # a bias in the product of two scales
        f"a quantized bias of {bias}": [
            constant("bias", [bias] * 5, np.int32),
            constant("scale", 1e-9, np.float32),
            helper.make_node("DequantizeLinear", ["bias", "scale"], ["b"]),
            constant("w", np.ones((5, 5, 1, 1)), np.float32),
            *made("Conv", ["logits", "w", "b"]),
        ]
        for bias in (2**31 - 1, -(2**31))
    },
    "a quantized convolution": [
        constant("scale", 0.1, np.float32),
        constant("point", 3, np.uint8),
        constant("w", np.ones((5, 5, 1, 1)), np.uint8),
        constant("bias", [2**30] * 5, np.int32),
        helper.make_node("QuantizeLinear", ["logits", "scale", "point"], ["q"]),
        helper.make_node("QLinearConv", ["q", *["scale", "point", "w"], *["scale", "point"] * 2, "bias"], ["made"]),
    ],
    "a mask of bits": [
        helper.make_node("Cast", ["logits"], ["ids"], to=TensorProto.UINT32),
        *made("BitShift", ["ids", "bits"], constant("bits", 2**31, np.uint32), direction="RIGHT"),
    ],
    "a long chain": chain("Relu", "logits", 2000),
    "a squeeze of what is 1 wide": squeezed_where_one_wide("a_mean"),
    "a condition that holds, of branches of two ranks": in_a_branch(
        [constant("four", [[2, 2], [2, 2]])], [constant("few", [2])]
    ),
    "one that does not": [
        constant("no", False, np.bool_),
        *in_a_branch([constant("four", [[2, 2], [2, 2]])], [constant("few", [2])], condition="no"),
        helper.make_node("ConstantOfShape", ["chosen"], ["made"]),
    ],
    **{f"a size computed by {op}": after_computing((op, 1)) for op in ("Pow", "CastLike", "Mod", "Div")},
    "a size with one of its numbers replaced": [
        constant("third", [2]),
        constant("wider", [96]),
        helper.make_node("ScatterElements", ["shape", "third", "wider"], ["sides"]),
        helper.make_node("ConstantOfShape", ["sides"], ["made"]),
    ],
    "a size by the root of another": [
        helper.make_node("Cast", ["shape"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sqrt", ["floats"], ["roots"]),
        helper.make_node("Round", ["roots"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["sides"], to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["sides"], ["made"]),
    ],
    "a size where it is large enough": [
        constant("two", 2),
        helper.make_node("GreaterOrEqual", ["shape", "two"], ["enough"]),
        helper.make_node("Where", ["enough", "shape", "two"], ["sides"]),
        helper.make_node("ConstantOfShape", ["sides"], ["made"]),
    ],
}


def write(nodes: Nodes, path: Path) -> None:
    """Write a model file with more nodes behind the tests' own."""
    proto = tiny_graph()
    made_here = {name for node in nodes for name in node.output}
    proto.graph.node.extend(node for node in GIVEN if not made_here & set(node.output))
    proto.graph.node.extend(nodes)
    for domain in {node.domain for node in nodes} - {""}:
        proto.opset_import.append(helper.make_opsetid(domain, 1))
    manifest = replace(tiny_manifest(), weights_sha256=weights_sha256(proto))
    proto.metadata_props.add(key=METADATA_KEY, value=manifest.to_json())
    path.write_bytes(proto.SerializeToString())


@pytest.mark.parametrize("name", SOUND)
def test_sizes_that_follow_from_the_images_are_accepted(tmp_path: Path, name: str) -> None:
    write(SOUND[name], tmp_path / "m.onnx")
    load_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("opset", [11, 13, 15, 17, 21, 23])
def test_operators_that_onnx_infers_nothing_of_are_followed(opset: int) -> None:
    nodes = [helper.make_node("MeanVarianceNormalization", ["image"], ["y"])]
    if opset >= 12:
        nodes += [helper.make_node(op, ["image", "w"], [op]) for op in ("GreaterOrEqual", "LessOrEqual")]
    if opset >= 21:  # earlier ones are not valid
        nodes += [helper.make_node("GroupNormalization", ["image", "w", "w"], ["z"], num_groups=2)]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 4, 6, 4])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(4, np.float32), "w")],
    )
    check_sizes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))


def test_of_every_other_operator_onnx_infers_something() -> None:
    unknown = {
        schema.name
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == "" and schema.since_version >= 9 and not schema.has_type_and_shape_inference_function
    }
    assert unknown - INFERRED_AS.keys() == {"Compress"}  # whose size its condition's values tell


@pytest.mark.parametrize("name", LARGE)
def test_what_no_machine_holds_is_refused(tmp_path: Path, name: str) -> None:
    write(LARGE[name], tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match=r"its node '.+' \(\w+\) .*; write model files with `lwseg export`"):
        load_model(tmp_path / "m.onnx")


LOAD_ALL = """
import resource, sys
from pathlib import Path
from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.model_file import load_model
from support.effort import is_cheap
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
def refuse(path):
    try:
        load_model(path)
        print(path.name, "was accepted")
    except ModelFileError:
        pass
for path in sorted(Path(sys.argv[1]).iterdir()):
    if not is_cheap(lambda: refuse(path)):
        print(path.name, "took long")
"""


def test_each_is_refused_cheaply_and_in_a_gigabyte(tmp_path: Path) -> None:
    for index, nodes in enumerate(LARGE.values()):
        write(nodes, tmp_path / f"{index}.onnx")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", LOAD_ALL, tmp_path]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_what_grows_faster_than_the_batch_is_refused_before_a_runtime_opens_it(tmp_path: Path) -> None:
    nodes = [
        constant("first", [0]),
        helper.make_node("Gather", ["shape", "first"], ["number"]),
        *chain("Mul", "number", 5, twice=True),
        helper.make_node("ConstantOfShape", ["link_4"], ["made"], name="culprit"),
    ]
    write(nodes, tmp_path / "m.onnx")
    model = load_model(tmp_path / "m.onnx")
    check_batch(model, 1)
    with pytest.raises(ModelFileError, match=r"m\.onnx, for 2 images at a time: its node 'culprit'"):
        open_backend(model, "onnxruntime", BackendOptions(max_batch=2, num_threads=1))


@pytest.mark.parametrize("num_images", [1, 2, 6, 64])
@pytest.mark.parametrize("name", shipped_models())
def test_shipped_models_take_batches(name: str, num_images: int) -> None:
    check_batch(load_model(shipped_models()[name]), num_images)


def test_the_message_names_the_node_and_what_it_declares(tmp_path: Path) -> None:
    write(made("ConstantOfShape", ["s"], constant("s", [2**15, 2**15])), tmp_path / "m.onnx")
    with pytest.raises(
        ModelFileError, match=r"its node 'culprit' \(ConstantOfShape\) gives 'made' of 32768x32768 values"
    ):
        load_model(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "nodes",
    [
        made("Mul", ["logits", "s"], constant("s", [1, 5, 48, 63], np.float32)),
        made("Mul", ["logits", "s"], constant("s", 1)),
        made("Tile", ["logits", "s"], constant("s", [1, 1, 1, 1], np.float32)),
        made("Concat", ["logits", "s"], constant("s", [1.0], np.float32), axis=1),
    ],
    ids=["sides", "types", "a shape of floats", "ranks"],
)
def test_a_node_that_does_not_fit_its_inputs_is_named(tmp_path: Path, nodes: Nodes) -> None:
    write(nodes, tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match=r"its node 'culprit' \(\w+\) does not fit its inputs"):
        load_model(tmp_path / "m.onnx")
