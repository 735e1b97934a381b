"""What a foreign graph takes and gives: found by looking and by running it, asked for where that does not tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto

from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.graph_sizes import check_sizes
from lwseg_ros.model.onnx_file import element_type

Values = Literal["logits", "probabilities", "labels"]
VALUES: tuple[Values, ...] = ("logits", "probabilities", "labels")
INPUT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
SUM_TOLERANCE = 1e-2  # of probabilities that half precision has rounded
MAX_STRETCH = 1.2  # how much more an output may be reduced along one side than along the other


@dataclass(frozen=True)
class ForeignInput:
    """The input that takes images.

    name: of it. type: ONNX's number of its element type, one of INPUT_TYPES. size_hw: pixels. channels_last: [N, H, W, 3] rather
    than [N, 3, H, W].
    """

    name: str
    type: int
    size_hw: tuple[int, int]
    channels_last: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image in a batch of its own."""
        return (1, *self.size_hw, 3) if self.channels_last else (1, 3, *self.size_hw)

    def feed(self, image: np.ndarray) -> np.ndarray:
        """Bring one image float [3, H, W] to the input's shape and type."""
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self.type)
        ordered = image.transpose(1, 2, 0) if self.channels_last else image
        return np.ascontiguousarray(ordered[None], dtype)


@dataclass(frozen=True)
class ForeignOutput:
    """The output that classes are read from.

    name: of it. dtype: numpy's. shape: of one image in a batch of its own. values: what they are. channels_last: classes are its
    last side rather than its second; of logits and probabilities.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    values: Values
    channels_last: bool = False

    @property
    def size_hw(self) -> tuple[int, int]:
        """Return height and width, in pixels."""
        height, width = self.shape[1:3] if self.channels_last else self.shape[-2:]
        return height, width


def find_input(model: onnx.ModelProto, name: str | None, size_hw: tuple[int, int] | None) -> ForeignInput:
    """Find the input that takes images float [N, 3, H, W] or [N, H, W, 3].

    name: the user's word, None to take the only one that does. size_hw: the user's word, None where the graph fixes it. Raises
    ModelFileError, which lists the inputs, where none or several come into question.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in weights}
    listed = ", ".join(_in_words(value) for value in inputs.values()) or "none"
    if name is not None and name not in inputs:
        raise ModelFileError(f"it has no input {name!r}; its inputs are {listed}")
    others = [key for key in inputs if key != name]
    if name is not None and others:
        raise ModelFileError(
            f"its inputs are {listed}, and a model file takes an image alone; export it without {', '.join(map(repr, others))}"
        )
    candidates = [value for value in inputs.values() if _channel_axis(value) and name in (None, value.name)]
    if not candidates:
        raise ModelFileError(
            f"no input takes images, float [N, 3, H, W] or [N, H, W, 3]; its inputs are {listed}; export the network alone, "
            "without what prepares its images"
        )
    if len(candidates) > 1:
        raise ModelFileError(f"several inputs may take the image: {listed}; choose one with --input NAME")
    chosen = candidates[0]
    channels_last = _channel_axis(chosen) == 3
    sides = _dims(chosen)[1:3] if channels_last else _dims(chosen)[2:]
    if size_hw is None and None in sides:
        raise ModelFileError(f"its input {_in_words(chosen)} takes any size; choose one with --size HxW")
    found = tuple(side if side is not None else asked for side, asked in zip(sides, size_hw or (0, 0), strict=True))
    if size_hw is not None and found != size_hw:
        raise ModelFileError(
            f"its input {_in_words(chosen)} does not take --size {size_hw[0]}x{size_hw[1]}; leave --size out, or export the "
            "network at that size"
        )
    return ForeignInput(chosen.name, chosen.type.tensor_type.elem_type, (found[0], found[1]), channels_last)


def check_foreign_sizes(model: onnx.ModelProto, given: ForeignInput) -> None:
    """Refuse a graph that takes more room for an image than a model file's may, before any runtime sees it.

    Raises ModelFileError, which names the node.
    """
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for value in sized.graph.input:
        if value.name == given.name:
            value.CopyFrom(onnx.helper.make_tensor_value_info(given.name, given.type, given.shape))
    check_sizes(sized)


def find_output(
    outputs: dict[str, list[np.ndarray]],
    num_classes: int,
    size_hw: tuple[int, int],
    name: str | None,
    values: Values | None,
) -> ForeignOutput:
    """Find the output that classes are read from, and what its values are.

    Args:
        outputs: by name, what the graph gives for each of some images.
        num_classes: of the classes file.
        size_hw: of the input.
        name: the user's word, None to take the only output that is a picture of the classes.
        values: the user's word, None to tell by the values.

    Raises ModelFileError, which lists the outputs, where none or several come into question.
    """
    listed = ", ".join(f"{key!r} {arrays[0].dtype} {list(arrays[0].shape)}" for key, arrays in outputs.items())
    if name is not None and name not in outputs:
        raise ModelFileError(f"it has no output {name!r}; its outputs are {listed}")
    found = {}
    for key, arrays in outputs.items():
        kind = _kind(arrays[0], num_classes)
        if kind is not None and name in (None, key):
            found[key] = kind
    if not found:
        raise ModelFileError(
            f"no output has the {num_classes} channels of the {num_classes} classes, or is one of integer labels [N, H, W]; its "
            f"outputs are {listed}; give the classes in the order of its channels, all of them"
        )
    if len(found) > 1:
        raise ModelFileError(f"several outputs may hold the classes: {listed}; choose one with --output NAME")
    [(key, (labels, channels_last))] = found.items()
    arrays = outputs[key]
    if labels != (values == "labels") and values is not None:
        raise ModelFileError(
            f"its output {key!r} is {arrays[0].dtype} {list(arrays[0].shape)}, which are no {values}; leave --values out"
        )
    told = "labels" if labels else values or _logits_or_probabilities(key, arrays, 3 if channels_last else 1)
    output = ForeignOutput(key, arrays[0].dtype, arrays[0].shape, told, channels_last)
    _check_picture(output, size_hw)
    return output


def _kind(array: np.ndarray, num_classes: int) -> tuple[bool, bool] | None:
    """Return whether an output is one of labels and whether its classes are its last side; None where it has no classes."""
    if array.dtype.kind in "iu" and (array.ndim == 3 or (array.ndim == 4 and array.shape[1] == 1)):
        return True, False
    if array.dtype.kind == "f" and array.ndim == 4 and num_classes in (array.shape[1], array.shape[3]):
        return False, array.shape[1] != num_classes
    return None


def _logits_or_probabilities(name: str, arrays: Sequence[np.ndarray], axis: int) -> Values:
    if not all(np.isfinite(array).all() for array in arrays):
        raise ModelFileError(
            f"its output {name!r} is not finite for an image of noise; export a network that has converged"
        )
    if any(array.min() < 0 or array.max() > 1 for array in arrays):
        return "logits"
    if all(abs(array.astype(np.float64).sum(axis=axis) - 1).max() <= SUM_TOLERANCE for array in arrays):
        return "probabilities"
    raise ModelFileError(
        f"its output {name!r} lies within 0 and 1 but does not add up to 1 over the classes, so it may be logits or a sigmoid of "
        "each class; say --values logits, or --values probabilities to have them divided by their sum"
    )


def _check_picture(output: ForeignOutput, size_hw: tuple[int, int]) -> None:
    """Demand an output of about the input's aspect and no larger; raises ModelFileError."""
    down, across = (side / max(own, 1) for side, own in zip(size_hw, output.size_hw, strict=True))
    if min(down, across) < 1 or max(down, across) > MAX_STRETCH * min(down, across):
        raise ModelFileError(
            f"its output {output.name!r} is {output.size_hw[0]} x {output.size_hw[1]} for an image of {size_hw[0]} x {size_hw[1]}, "
            "which is no reduced picture of it; export the network with its whole image as output"
        )
    if output.values == "labels" and (down % 1 or across % 1):
        raise ModelFileError(
            f"its labels {output.name!r} are {output.size_hw[0]} x {output.size_hw[1]} for an image of "
            f"{size_hw[0]} x {size_hw[1]}, which is no whole multiple; choose another --size, or export logits"
        )


def _channel_axis(value: onnx.ValueInfoProto) -> int | None:
    """Return which side of an input holds the channels, 1 or 3; None where it takes no images."""
    dims = _dims(value)
    if value.type.tensor_type.elem_type not in INPUT_TYPES or len(dims) != 4:
        return None
    if dims[1] == 3 or dims[3] == 3:
        return 1 if dims[1] == 3 else 3
    return 1 if dims[1] is None else None


def _dims(value: onnx.ValueInfoProto) -> list[int | None]:
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]


def _in_words(value: onnx.ValueInfoProto) -> str:
    dims = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim
    ]
    return f"{value.name!r} {element_type(value.type.tensor_type.elem_type)} [{', '.join(map(str, dims))}]"
