"""An ONNX file from anywhere: bounded before it is unpacked, and whole in itself."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from onnx import numpy_helper

from lwseg_ros.errors import ModelFileError

# Unpacked, a field takes up to a hundred times its bytes. The shipped models have 9,000 fields, their int8 files 58,000.
MAX_FIELDS = 3 << 15
# All but the weights' raw data; up to 240 kB in the shipped models.
MAX_STRUCTURE_BYTES = 1 << 21
MAX_DEPTH = 50
MAX_DIMS = 32
RAW_DATA = onnx.TensorProto.RAW_DATA_FIELD_NUMBER
EXPORT_HINT = "write model files with `lwseg export`"
NOT_ONNX = "it is not an ONNX file, or a truncated one"


def parse_onnx(data: bytes) -> onnx.ModelProto:
    """Unpack an ONNX file; raises ModelFileError where it is none, or where unpacking it would take too much."""
    if not data:
        raise ModelFileError("it is empty; copy it again")
    if data.startswith(b"version https://git-lfs"):
        raise ModelFileError("it is a Git LFS pointer, not the model; fetch the model with `git lfs pull`")
    try:
        _check_bounds(data)
        onnx_model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError, IndexError) as error:
        raise ModelFileError(f"{NOT_ONNX} ({error}); copy it again") from error
    if not onnx_model.graph.node:
        raise ModelFileError(f"it is not an ONNX file, or it holds no graph; {EXPORT_HINT}")
    return onnx_model


def check_onnx(onnx_model: onnx.ModelProto, data: bytes) -> None:
    """Check that an unpacked file is one this version reads, is valid ONNX, and holds all its tensors itself.

    data: the file's bytes. Leaves out the graph's own initializers, which a hash of the weights has to read anyway. Raises
    ModelFileError.
    """
    if onnx_model.ir_version > onnx.IR_VERSION:
        raise ModelFileError(
            f"it is of ONNX IR version {onnx_model.ir_version}, the installed onnx {onnx.__version__} reads up to "
            f"{onnx.IR_VERSION}; `pip install --upgrade onnx`"
        )
    if onnx_model.functions:  # a few that call each other unfold into more than any machine holds
        raise ModelFileError(f"its graph is made of functions, which are not accepted; {EXPORT_HINT}")
    for message, holder in messages(onnx_model):
        if isinstance(message, onnx.SparseTensorProto):  # runtimes unfold them to whatever size they declare
            raise ModelFileError(f"it holds sparse weights {message.values.name!r}, accepted are dense; {EXPORT_HINT}")
        if isinstance(message, onnx.TensorProto) and holder is not onnx_model.graph:
            tensor_values(message)
    try:
        onnx.checker.check_model(data)
    except (onnx.checker.ValidationError, ValueError) as error:
        first_line = next(iter(str(error).splitlines()), "no reason given")
        raise ModelFileError(f"its graph is not valid ONNX ({first_line}); {EXPORT_HINT}") from error


def tensor_values(tensor: onnx.TensorProto) -> np.ndarray:
    """Return a tensor's values in its dimensions and element type.

    Raises ModelFileError where they lie in another file, or are not as many as its dimensions say.
    """
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ModelFileError(
            f"weights {tensor.name!r} are kept in another file; a model file holds all its weights, {EXPORT_HINT}"
        )
    dims = tensor.dims
    try:
        if len(dims) > MAX_DIMS or any(dim < 0 for dim in dims):
            raise ValueError(f"{len(dims)} dimensions, the smallest is {min(dims)}")
        if tensor.data_type == onnx.TensorProto.STRING:
            raise ValueError("they are texts")
        size = len(tensor.raw_data) or tensor.ByteSize()
        if math.prod(dims) > 8 * size:  # no element type takes less than a bit
            raise ValueError(f"{math.prod(dims)} values are declared in {size} bytes")
        return numpy_helper.to_array(tensor)
    except Exception as error:  # onnx documents none: KeyError, TypeError and ValueError were seen
        raise ModelFileError(f"weights {tensor.name!r} are damaged ({error}); copy the file again") from error


def element_type(number: int) -> str:
    """Name an element type, such as `float`; a number that ONNX does not know stays a number."""
    known: dict[int, str] = {value: name.lower() for name, value in onnx.TensorProto.DataType.items()}
    return known.get(number, f"element type {number}")


def messages(root: Message) -> Iterator[tuple[Message, Message]]:
    """Yield a message and all that it holds, however deep, each with its holder."""
    pending = [(root, root)]
    while pending:
        message, holder = pending.pop()
        yield message, holder
        for field, value in message.ListFields():
            if field.message_type is not None:
                pending.extend((held, message) for held in ([value] if isinstance(value, Message) else value))


def _check_bounds(data: bytes) -> None:
    """Walk over the fields of a serialized model without unpacking them.

    Raises ModelFileError where there are more than a model needs; ValueError or IndexError where they are no protobuf, or a
    text is not UTF-8.
    """
    fields = structure_bytes = 0
    pending: list[tuple[int, int, Any, int]] = [(0, len(data), onnx.ModelProto.DESCRIPTOR, 0)]
    while pending:
        position, end, descriptor, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise ModelFileError(f"its graph is nested more than {MAX_DEPTH} messages deep; {EXPORT_HINT}")
        nested, texts = _messages_and_texts(descriptor)
        raw_data = RAW_DATA if descriptor is onnx.TensorProto.DESCRIPTOR else None
        while position < end:
            fields += 1
            if fields > MAX_FIELDS:
                raise ModelFileError(f"it has more than {MAX_FIELDS} fields, which is no model's; {EXPORT_HINT}")
            tag, position = _varint(data, position)
            number, wire_type = tag >> 3, tag & 7
            if wire_type == 2:
                length, start = _varint(data, position)
                position = start + length
                if number in nested:
                    pending.append((start, position, nested[number], depth + 1))
                elif number != raw_data:
                    structure_bytes += length
                    if number in texts:
                        data[start:position].decode()
            elif wire_type == 0:
                _, position = _varint(data, position)
            elif wire_type in (1, 5):
                position += 8 if wire_type == 1 else 4
            else:
                raise ValueError(f"wire type {wire_type} at byte {position}")
        if position != end:
            raise ValueError(f"a field ends at byte {position} of {end}")
    if structure_bytes > MAX_STRUCTURE_BYTES:
        raise ModelFileError(
            f"it has {structure_bytes} bytes besides its weights' raw data, at most {MAX_STRUCTURE_BYTES} are accepted; "
            + EXPORT_HINT
        )


@functools.cache
def _messages_and_texts(descriptor: Descriptor) -> tuple[dict[int, Descriptor], set[int]]:
    """List the fields of a message that are messages themselves and those that are texts, by number."""
    texts = {field.number for field in descriptor.fields if field.type == field.TYPE_STRING}
    if descriptor is onnx.AttributeProto.DESCRIPTOR:  # texts too, though declared as bytes
        texts |= {onnx.AttributeProto.S_FIELD_NUMBER, onnx.AttributeProto.STRINGS_FIELD_NUMBER}
    return {field.number: field.message_type for field in descriptor.fields if field.message_type is not None}, texts


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Read a protobuf varint; returns it and where it ends."""
    byte = data[position]
    if byte < 0x80:
        return byte, position + 1
    value, shift = byte & 0x7F, 7
    while True:
        position += 1
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
        if shift > 63:
            raise ValueError(f"no varint at byte {position}")
