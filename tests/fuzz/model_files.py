"""Model files: damaged bytes, and messages whose fields were changed one by one and written again."""

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
from support.tiny_model import tiny_graph, tiny_manifest

from fuzz.compressed import damaged
from fuzz.runner import refused
from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.model_file import METADATA_KEY, load_model, save_model

NUMBERS = (-(2**63), -(2**31), -1, 0, 1, 2, 7, 255, 2**16, 2**31 - 1, 2**40, 2**63 - 1)
TEXTS = ("", "image", "label", "weights", "../../etc/passwd", "N", "\0", "é" * 300, "x" * 5000)
VALUES = (None, True, -1, 0, 1.5, 1e400, float("nan"), 2**70, "", "x" * 5000, [], {}, [[]], [0, 1], {"a": [1]})


def check(seed: int) -> str:
    """Make a model file; it has to load with what its manifest says, or be refused as a model file."""
    rng = np.random.default_rng([3, seed])
    kind = rng.choice(["bytes", "fields", "manifest", "cut"])
    if kind == "bytes":
        data = damaged(sound_model(), rng)
    elif kind == "cut":
        data = sound_model()[: int(rng.integers(len(sound_model())))]
    else:
        model = onnx.load_model_from_string(sound_model())
        if kind == "fields":
            for _ in range(int(rng.choice([1, 1, 2, 5]))):
                _change_a_field(model, rng)
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
