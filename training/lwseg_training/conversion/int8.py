"""int8: a model file's network in 8-bit integers, by NNCF's post-training quantization; QuantizeLinear and DequantizeLinear
stand in the graph, so that every runtime reads the same scales.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from tqdm import tqdm

from lwseg_ros.errors import LwsegError, ModelFileError
from lwseg_training.conversion.network_part import network_part

MISSING = "the Python package nncf is not installed; `pip install './training[quantize]'` (from a checkout)"
MIN_OPSET = 13  # from which on scales may be one a channel

Score = Callable[[onnx.ModelProto], float]


def quantized(
    model: onnx.ModelProto, images: Sequence[np.ndarray], score: Score | None = None, max_loss: float = 0.0
) -> onnx.ModelProto:
    """Return the model with its network in int8. Shows progress on stderr.

    Weights are symmetric, a scale a channel; activations symmetric, a scale a tensor: what every runtime has. Normalisation, and
    all behind the last convolution, stay in float32.

    Args:
        model: of a model file.
        images: uint8 BGR [H, W, 3] of the model's size, that the activations' ranges are taken from.
        score: of a model, higher is better; with it the layers that cost most of it are left in floating point, until the loss
            is at most ``max_loss``.
        max_loss: see ``score``.

    Raises LwsegError where NNCF is not installed, ModelFileError where the graph cannot be quantized.
    """
    nncf, advanced = _nncf()
    named = _prepared(model)
    part = network_part(named.graph)
    outside = [node.name for position, node in enumerate(named.graph.node) if position not in part]
    bar = tqdm(images, desc="calibrating", unit="image", file=sys.stderr, mininterval=0.5, disable=score is not None)
    options: dict[str, Any] = {
        "preset": nncf.QuantizationPreset.PERFORMANCE,
        "subset_size": len(images),
        "ignored_scope": nncf.IgnoredScope(names=outside, validate=False),
    }
    parameters = advanced.AdvancedQuantizationParameters(
        activations_quantization_params=advanced.QuantizationParameters(per_channel=False)
    )
    calibration = nncf.Dataset(images if score is not None else bar, lambda image: {"image": image[None]})
    try:
        # Its own bars and tables go to stdout, which is for figures.
        with contextlib.redirect_stdout(sys.stderr), bar:
            if score is None:
                result = nncf.quantize(named, calibration, advanced_parameters=parameters, **options)
            else:
                result = nncf.quantize_with_accuracy_control(
                    named,
                    calibration,
                    calibration,
                    lambda candidate, _: (score(signed(candidate)), None),
                    max_drop=max_loss,
                    advanced_quantization_parameters=parameters,
                    **options,
                )
    except nncf.ValidationError as error:
        raise ModelFileError(f"its graph cannot be quantized ({error}); keep fp32") from error
    return signed(result)


def signed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with signed integers alone.

    NNCF quantizes what is never negative to 0..255. TensorRT takes such integers for signed ones, with a warning at most, and
    what was above 127 wraps around. Scaled by 255 / 127 the same range is 0..127: zero stays zero and the largest value the
    largest, x = s q = (255 / 127 s) (127 / 255 q), at steps twice as coarse. Only a zero point of 0 allows that: raises
    ModelFileError for another.
    """
    converted = onnx.ModelProto()
    converted.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in converted.graph.initializer}
    unsigned = {
        (node.input[1], node.input[2])
        for node in converted.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        and tensors[node.input[2]].data_type == TensorProto.UINT8
    }
    for scale_name, zero_name in unsigned:
        scale, zero = numpy_helper.to_array(tensors[scale_name]), numpy_helper.to_array(tensors[zero_name])
        if zero.any():
            raise ModelFileError(
                f"its zero point {zero_name!r} is {zero.tolist()}, accepted is 0; quantize symmetrically"
            )
        tensors[scale_name].CopyFrom(numpy_helper.from_array((scale * (255 / 127)).astype(np.float32), scale_name))
        tensors[zero_name].CopyFrom(numpy_helper.from_array(zero.astype(np.int8), zero_name))
    del converted.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(converted)


def _nncf() -> tuple[Any, Any]:
    """Import NNCF, quietly and without its usage statistics."""
    os.environ.setdefault("NNCF_CI", "1")
    try:
        import nncf
        from nncf.quantization import advanced_parameters
    except ImportError as error:
        raise LwsegError(f"{MISSING} ({error})") from error
    nncf.set_log_level(logging.ERROR)
    return nncf, advanced_parameters


def _prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose nodes all have a name of their own, of an opset that has what is needed."""
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < MIN_OPSET:
        model = onnx.version_converter.convert_version(model, MIN_OPSET)
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for position, name in enumerate(_unique(node.name for node in named.graph.node)):
        named.graph.node[position].name = name
    return named


def _unique(names: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for position, name in enumerate(names):
        unique = name if name and name not in seen else f"{name}_{position}"
        seen.add(unique)
        yield unique
