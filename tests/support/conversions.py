"""Small files that say of themselves that they were converted from another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from lwseg_ros.model.model_file import ModelFile, save_model
from lwseg_ros.model.precisions import conversion_path
from support.tiny_model import tiny_graph, tiny_manifest


def write_conversion(model: ModelFile, to: str, sha256: str = "", **fields: Any) -> ModelFile:
    """Write what passes for a conversion of a tiny model file, beside it; sha256: of another parent. fields: of its manifest."""
    graph = tiny_graph(precision="fp16" if to == "fp16" else "fp32")
    fields = {"parent": {"sha256": sha256 or model.sha256}, **fields}
    return save_model(graph, replace(tiny_manifest(precision=to), **fields), conversion_path(model.path, to))


def with_infinite_weights(model: ModelFile) -> onnx.ModelProto:
    """Return a model file's graph with weights that no runtime may open."""
    graph = onnx.load_model_from_string(model.data)
    weights = next(tensor for tensor in graph.graph.initializer if tensor.name == "matching")
    values = numpy_helper.to_array(weights).copy()
    values[0] = np.inf
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    return graph


def copied(model: ModelFile, folder: Path) -> ModelFile:
    """Copy a model file into a folder of the test's own."""
    path = folder / model.path.name
    path.write_bytes(model.data)
    return ModelFile(path, model.manifest, model.data, model.sha256)
