"""Which labels a graph can give, as far as its nodes tell. Weights are believed before what the file declares of shapes."""

from __future__ import annotations

import math

import numpy as np
import onnx

from lwseg_ros.model.onnx_file import tensor_values

# Of [N, C, H, W], each of these keeps C.
KEEP_CHANNELS = {
    *("AveragePool", "BatchNormalization", "Cast", "Clip", "DequantizeLinear", "Dropout", "Elu", "Exp"),
    *("HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LeakyRelu", "Log", "LogSoftmax", "MaxPool"),
    *("Neg", "QuantizeLinear", "Relu", "Resize", "Sigmoid", "Softmax", "Sqrt", "Tanh"),
}
BROADCAST = {"Add", "Div", "Max", "Mean", "Min", "Mul", "Sub", "Sum", "Where"}
KEEP_VALUES = {"Cast", "Floor", "Gather", "Identity", "Reshape", "Round", "Squeeze", "Transpose", "Unsqueeze"}
NO_LABEL = 256  # labels are 8-bit


def label_values(graph: onnx.GraphProto, output: str = "label") -> set[int] | None:
    """Return all values that an output can have, or None where the graph does not tell.

    It tells where the output is an ArgMax over the channels of a convolution, or over a side that the file declares, which then
    only changes its type or shape, is repeated or picked from, or is chosen by Where between such values and constants. 256
    stands for all above 255.
    """
    known = _Known(graph)
    for node in graph.node:  # each after those that it depends on, which the checker demands
        if node.domain in ("", "ai.onnx"):
            known.follow(node)
    return known.values(output)


def _is_nearest(attributes: dict[str, onnx.AttributeProto]) -> bool:
    return "mode" not in attributes or attributes["mode"].s == b"nearest"


class _Known:
    """What is known of the tensors of a graph that has been followed up to some node."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self._declared = {value.name: value.type.tensor_type.shape.dim for value in graph.value_info}
        self._channels: dict[str, int | None] = {}
        self._values: dict[str, set[int] | None] = {}

    def follow(self, node: onnx.NodeProto) -> None:
        """Learn what a node tells of its first output."""
        inputs, output, kind = list(node.input), node.output[0], node.op_type
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if kind == "Constant" and "value" in attributes:
            self._constants[output] = attributes["value"].t
            self._shapes[output] = tuple(attributes["value"].t.dims)
        elif kind == "Conv" and inputs[1] in self._shapes:
            self._channels[output] = self._shapes[inputs[1]][0]
        elif kind == "ConvTranspose" and inputs[1] in self._shapes:
            groups = attributes["group"].i if "group" in attributes else 1
            self._channels[output] = self._shapes[inputs[1]][1] * groups
        elif kind == "Concat" and attributes["axis"].i in (1, -3):
            parts = [self.channels(name) for name in inputs]
            self._channels[output] = None if None in parts else sum(part or 0 for part in parts)
        elif kind in BROADCAST:
            # A tensor of many channels meets others of as many or of one: those that are not known do not matter.
            most = max((self.channels(name) or 0 for name in inputs), default=0)
            self._channels[output] = most if most > 1 else None
        elif kind in KEEP_CHANNELS:
            self._channels[output] = self.channels(inputs[0])
            if inputs[0] in self._shapes:  # weights that are kept in another type
                self._shapes[output] = self._shapes[inputs[0]]

        if kind == "ArgMax":
            classes = self._side(inputs[0], attributes["axis"].i if "axis" in attributes else 0)
            self._values[output] = None if classes is None else set(range(min(classes, NO_LABEL + 1)))
        elif kind in KEEP_VALUES or (kind == "Resize" and _is_nearest(attributes)):
            self._values[output] = self.values(inputs[0])
        elif kind == "Where":
            one, other = self.values(inputs[1]), self.values(inputs[2])
            self._values[output] = None if one is None or other is None else one | other

    def channels(self, name: str) -> int | None:
        """Return the C of a tensor [N, C, H, W], None where it is not known."""
        shape = self._shapes.get(name, ())
        if len(shape) == 4:
            return int(shape[1])
        found = self._channels.get(name)
        return self._declared_side(name, 1) if found is None else found

    def values(self, name: str) -> set[int] | None:
        """Return all values that a tensor can have, None where that is not known."""
        if name not in self._values:
            constant = self._constants.get(name)
            number = tensor_values(constant) if constant is not None and math.prod(constant.dims) == 1 else None
            is_number = number is not None and number.dtype.kind in "iuf" and np.isfinite(number).all()
            self._values[name] = {int(number.item())} if number is not None and is_number else None
        return self._values[name]

    def _side(self, name: str, axis: int) -> int | None:
        return self.channels(name) if axis in (1, -3) else self._declared_side(name, axis)

    def _declared_side(self, name: str, axis: int) -> int | None:
        dims = self._declared.get(name, ())
        if len(dims) != 4 or not -4 <= axis < 4 or not dims[axis].HasField("dim_value"):
            return None
        return int(dims[axis].dim_value)
