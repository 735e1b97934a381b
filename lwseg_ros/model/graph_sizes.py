"""How many values a graph's tensors hold, told before a runtime makes room for them."""

from __future__ import annotations

import math
from collections import ChainMap
from typing import NamedTuple

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper, shape_inference

from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.onnx_file import EXPORT_HINT, MAX_DIMS, MAX_STRUCTURE_BYTES, messages, tensor_values

# Of an image at a time, and of what does not depend on it: runtimes compute that when they open a model, and keep what the
# rest needs of it. A DWRSeg-B of 65 classes at 1024 x 2048, its uncertainty the entropy, has 0.4 billion and none.
MAX_LIVE_VALUES = {False: 1 << 30, True: 1 << 26}
# Sums and products of such numbers stay within the 64 bits that shapes are computed in.
MAX_NUMBER = 1 << 28
# A shape, or what is needed to compute one.
MAX_KNOWN_VALUES = 64
MAX_COMPUTED = 1000
# The deepest of our networks, PMSDSEN, has 2,332.
MAX_NODES = 10_000
# What exporters compute shapes with. Each takes no more room than it is given and gives.
COMPUTED = {
    *("Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand"),
    *("Floor", "Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Identity", "Less"),
    *("LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Range", "Reciprocal", "ReduceMax"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "ScatterElements", "ScatterND", "Shape", "Sign"),
    *("Size", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where"),
}
# Of these, or of some of their versions, ONNX infers nothing: what gives a tensor like theirs, and how many inputs it takes.
INFERRED_AS = {
    "GreaterOrEqual": ("Greater", 2),
    "GroupNormalization": ("Identity", 1),
    "LessOrEqual": ("Less", 2),
    "MeanVarianceNormalization": ("Identity", 1),
}
# Where any number may stand: it is a value, an end that may lie beyond a tensor's, or a side as it is.
FREE_ATTRIBUTES = {"Constant", "Shape", "Slice"}
FREE_INPUTS = {
    *COMPUTED,
    *("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Clip", "DequantizeLinear", "QLinearConv"),
}
FREE_INPUTS -= {"Range", "Tile"}
POSITIVE = {"blocksize", "dilations", "group", "kernel_shape", "num_outputs", "strides"}


class _Tensor(NamedTuple):
    """What is known of a tensor. constant: it does not depend on the image. values: where they are few and known."""

    type: onnx.TypeProto
    dims: tuple[int, ...]
    constant: bool = False
    values: np.ndarray | None = None

    @property
    def size(self) -> int:
        return math.prod(self.dims)


_Tensors = ChainMap[str, _Tensor]


def check_sizes(onnx_model: onnx.ModelProto, num_images: int = 1) -> None:
    """Refuse a graph that needs more room for an image than a network does, or that only tells when it runs.

    onnx_model: valid ONNX; a free dimension of an input is taken for num_images, which share their room. Its nodes are
    followed one by one, in time and room of their number, not of the sizes they declare. Raises ModelFileError, which names
    the node.
    """
    _Graphs(onnx_model.opset_import, num_images).follow(onnx_model.graph, ChainMap())


class _Graphs:
    """A graph and those nested in it."""

    def __init__(self, opsets: list[onnx.OperatorSetIdProto], num_images: int) -> None:
        self._opsets = opsets
        self._num_images = num_images
        self._max_live_values = {False: MAX_LIVE_VALUES[False] * num_images, True: MAX_LIVE_VALUES[True]}
        self._versions = {"" if opset.domain == "ai.onnx" else opset.domain: opset.version for opset in opsets}
        self._live_values = {False: 0, True: 0}  # by whether they are constant
        self._num_nodes = self._num_computed = 0

    def follow(self, graph: onnx.GraphProto, tensors: _Tensors) -> None:
        """Add a graph's tensors to those of the graphs around it; raises ModelFileError."""
        self._num_nodes += len(graph.node)
        if self._num_nodes > MAX_NODES:
            raise ModelFileError(f"its graph has more than {MAX_NODES} nodes, which is no network's; {EXPORT_HINT}")
        for value in graph.input:
            tensors[value.name] = _of_images(value.type.tensor_type, self._num_images)
        reads = [names_read(node) for node in graph.node]
        last_reader = {name: index for index, names in enumerate(reads) for name in names}
        last_reader.update((value.name, len(reads)) for value in graph.output)
        tensors.update((weights.name, _held(weights)) for weights in graph.initializer if weights.name in last_reader)
        live: dict[str, _Tensor] = {}
        for index, node in enumerate(graph.node):
            made = self._outputs(node, tensors)
            tensors.update(made)
            live.update(made)
            for tensor in made.values():
                self._live_values[tensor.constant] += tensor.size
                if self._live_values[tensor.constant] > self._max_live_values[tensor.constant]:
                    shown = "x".join(map(str, tensor.dims))
                    raise _refusal(
                        node,
                        f"gives {shown} values, with which the graph holds {self._live_values[tensor.constant]} at a time; "
                        f"accepted are {self._max_live_values[tensor.constant]}",
                    )
            kept_open = not all(tensor.constant for tensor in made.values())
            for name in {*reads[index], *made} & live.keys():
                if last_reader.get(name, index) == index and not (kept_open and live[name].constant):
                    self._release(live.pop(name))
        for tensor in live.values():
            self._release(tensor)

    def _release(self, tensor: _Tensor) -> None:
        self._live_values[tensor.constant] -= tensor.size

    def _outputs(self, node: onnx.NodeProto, tensors: _Tensors) -> dict[str, _Tensor]:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            return self._branches(node, tensors)
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                return {node.output[0]: _held(attribute.t)}
        given = {name: tensors[name] for name in node.input if name}
        _check_numbers(node, given)
        constant = all(tensor.constant for tensor in given.values())
        types = self._infer(node, given)
        dims = {name: _dims(node, name, made, MAX_NUMBER * self._num_images) for name, made in types.items()}
        values = self._compute(node, given, max(map(math.prod, dims.values()), default=0))
        return {name: _Tensor(types[name], dims[name], constant, values.get(name)) for name in types}

    def _branches(self, node: onnx.NodeProto, tensors: _Tensors) -> dict[str, _Tensor]:
        """Return what the branch of an If gives that is known to be taken, or both do; other nodes repeat a graph, as often as
        their data say.
        """
        if node.op_type != "If" or node.domain:
            raise _refusal(node, "repeats a graph, which is not accepted")
        branches = {}
        for attribute in node.attribute:
            inner = tensors.new_child()
            self.follow(attribute.g, inner)
            branches[attribute.name] = [inner[value.name] for value in attribute.g.output]
        condition = tensors[node.input[0]]
        if condition.values is not None and condition.values.size == 1:
            taken = branches["then_branch" if condition.values.item() else "else_branch"]
            return dict(zip(node.output, taken, strict=True))
        then, other = branches["then_branch"], branches["else_branch"]
        if [tensor.dims for tensor in then] != [tensor.dims for tensor in other]:
            raise _refusal(node, "has branches that give tensors of different sizes, which is not accepted")
        return {
            name: _Tensor(one.type, one.dims, condition.constant and one.constant and another.constant)
            for name, one, another in zip(node.output, then, other, strict=True)
        }

    def _infer(self, node: onnx.NodeProto, given: dict[str, _Tensor]) -> dict[str, onnx.TypeProto]:
        domain = "" if node.domain == "ai.onnx" else node.domain
        try:
            schema = defs.get_schema(node.op_type, self._versions[domain], domain)
            if not schema.has_type_and_shape_inference_function and node.op_type in INFERRED_AS:
                like, num_inputs = INFERRED_AS[node.op_type]
                node = helper.make_node(like, node.input[:num_inputs], node.output, name=node.name)
                schema = defs.get_schema(like, self._versions[domain], domain)
        except (KeyError, defs.SchemaError) as error:
            raise _refusal(node, f"is of domain {domain!r}, accepted are operators of ONNX itself") from error
        types = {name: tensor.type for name, tensor in given.items()}
        values = {
            name: numpy_helper.from_array(tensor.values, name)
            for name, tensor in given.items()
            if tensor.values is not None
        }
        try:
            inferred = shape_inference.infer_node_outputs(schema, node, types, values, opset_imports=self._opsets)
        except (shape_inference.InferenceError, onnx.checker.ValidationError) as error:
            raise _refusal(node, f"does not fit its inputs ({str(error).strip()})") from error
        return {name: inferred.get(name, onnx.TypeProto()) for name in node.output if name}

    def _compute(self, node: onnx.NodeProto, given: dict[str, _Tensor], size: int) -> dict[str, np.ndarray]:
        """Return what a node gives, by name, where it is few values made of known ones."""
        if node.op_type not in COMPUTED or node.domain not in ("", "ai.onnx") or size > MAX_KNOWN_VALUES:
            return {}
        if node.op_type in ("Shape", "Size"):  # whatever the values
            values: dict[str, np.ndarray] = {
                name: np.broadcast_to(np.float32(0), tensor.dims) for name, tensor in given.items()
            }
        else:
            values = {name: tensor.values for name, tensor in given.items() if tensor.values is not None}
            if len(values) < len(given):
                return {}
        self._num_computed += 1
        if self._num_computed > MAX_COMPUTED:
            return {}
        from onnx.reference import ReferenceEvaluator

        graph = helper.make_graph(
            [node],
            "node",
            [onnx.ValueInfoProto(name=name, type=tensor.type) for name, tensor in given.items()],
            [onnx.ValueInfoProto(name=name) for name in node.output if name],
        )
        try:
            with np.errstate(all="ignore"):
                found = ReferenceEvaluator(helper.make_model(graph, opset_imports=self._opsets)).run(None, values)
        except Exception:  # onnx documents none; what is not known is refused where a size hangs on it
            return {}
        return {name: np.asarray(value) for name, value in zip(filter(None, node.output), found, strict=True)}


def _held(weights: onnx.TensorProto) -> _Tensor:
    dims = tuple(weights.dims)
    values = tensor_values(weights) if math.prod(dims) <= MAX_KNOWN_VALUES else None
    if values is not None and values.dtype.kind not in "biuf":  # a float of 8 or 16 bits that numpy does not know
        values = None
    return _Tensor(helper.make_tensor_type_proto(weights.data_type, dims), dims, constant=True, values=values)


def _of_images(tensor: onnx.TypeProto.Tensor, num_images: int) -> _Tensor:
    dims = tuple(dim.dim_value or num_images for dim in tensor.shape.dim)
    return _Tensor(helper.make_tensor_type_proto(tensor.elem_type, dims), dims)


def _dims(node: onnx.NodeProto, name: str, made: onnx.TypeProto, max_values: int) -> tuple[int, ...]:
    tensor = made.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        raise _refusal(node, f"gives {name!r}, whose size only running it tells; export a network without such nodes")
    dims = tuple(dim.dim_value for dim in tensor.shape.dim)
    if len(dims) > MAX_DIMS or min(dims, default=0) < 0 or math.prod(dims) > max_values:
        shown = "x".join(map(str, dims))
        raise _refusal(node, f"gives {name!r} of {shown} values, accepted are {max_values}")
    return dims


def names_read(node: onnx.NodeProto) -> set[str]:
    """Name what a node and the graphs nested in it read."""
    if not any(attribute.HasField("g") for attribute in node.attribute):
        return set(node.input)
    return {name for message, _ in messages(node) if isinstance(message, onnx.NodeProto) for name in message.input}


def _check_numbers(node: onnx.NodeProto, given: dict[str, _Tensor]) -> None:
    """Demand numbers that a shape can be computed from without overflow."""
    if node.ByteSize() > MAX_STRUCTURE_BYTES:
        raise _refusal(node, "holds weights in its attributes, accepted are initializers and constants")
    for attribute in () if node.op_type in FREE_ATTRIBUTES else node.attribute:
        numbers = [attribute.i, *attribute.ints]
        if max(map(abs, numbers)) > MAX_NUMBER or (
            attribute.name in POSITIVE and min([*attribute.ints, attribute.i or 1]) < 1
        ):
            raise _refusal(node, f"has {attribute.name} {numbers}, which is no network's")
    for name, tensor in () if node.op_type in FREE_INPUTS else given.items():
        values = tensor.values
        if values is not None and values.dtype.kind in "iu" and np.any(abs(values.astype(float)) > MAX_NUMBER):
            raise _refusal(node, f"is given {name!r} of {values.tolist()}, accepted are numbers up to {MAX_NUMBER}")
    bounds = [tensor.values for tensor in given.values() if tensor.values is not None and tensor.values.size == 1]
    if node.op_type == "Range" and len(bounds) == 3:
        start, limit, step = (float(bound.item()) for bound in bounds)
        if not (step and abs((limit - start) / step) <= MAX_NUMBER):
            raise _refusal(node, f"counts from {start} to {limit} in steps of {step}, accepted are {MAX_NUMBER} steps")


def _refusal(node: onnx.NodeProto, problem: str) -> ModelFileError:
    name = node.name or next(iter(node.output), "")
    return ModelFileError(f"its node {name!r} ({node.op_type}) {problem}; {EXPORT_HINT}")
