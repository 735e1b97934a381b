"""A model file's graph in OpenVINO, in the arithmetic that the backend chose: the network alone, and all of it in streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops

from lwseg_ros.backends import openvino_colours, openvino_mixed
from lwseg_ros.backends.openvino_core import shared_core
from lwseg_ros.backends.openvino_mixed import MATRIX_OPS
from lwseg_ros.errors import BackendError
from lwseg_ros.model.model_file import ModelFile

MIXED = "bf16+fp32"
HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16", MIXED: "bf16"}
"""INFERENCE_PRECISION_HINT for each `OpenVinoBackend.precision`; int8 is part of the graph."""
Infer = Callable[[np.ndarray], Any]


def bare_network(model: ModelFile, precision: str) -> Infer:
    """Return a call of the network alone: normalised float32 [1, 3, H, W] to logits [1, C, H, W], which stay where they are.

    Left out are normalisation, and what makes label and uncertainty of the logits. precision: `OpenVinoBackend.precision`.
    Raises BackendError where the graph has no such part.
    """
    core = shared_core()
    graph = _up_to_logits(core.read_model(model.data, b""), model)
    if precision == MIXED:
        graph = openvino_mixed.keep_fine_layers(core, graph)
    graph = _from_normalised_image(graph, model)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": HINTS[precision]}
    request = core.compile_model(graph, "CPU", settings).create_infer_request()
    return lambda image: request.infer({0: image}, share_inputs=True, share_outputs=True)[0]


def streams(model: ModelFile, precision: str, count: int, num_threads: int) -> list[Infer]:
    """Return ``count`` calls that run beside each other, each from a thread of its own: uint8 [1, H, W, 3] to the outputs.

    All are of one compiled model, whose streams share ``num_threads`` threads. Raises BackendError.
    """
    core = shared_core()
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": str(count),
        "INFERENCE_NUM_THREADS": num_threads,
        "INFERENCE_PRECISION_HINT": HINTS[precision],
    }
    graphs = [core.read_model(model.data, b"")]
    reversed_colours = openvino_colours.take_out_reversal(graphs[0])
    if precision == MIXED:
        parts = openvino_mixed.split_off_tail(graphs[0])
        if parts is None:
            raise BackendError(f"{model.path} has no one last matrix product, so it has no mixed precision")
        graphs = [openvino_mixed.keep_fine_layers(core, parts[0]), parts[1]]
    compiled = [
        core.compile_model(graph, "CPU", settings | ({"INFERENCE_PRECISION_HINT": "f32"} if number else {}))
        for number, graph in enumerate(graphs)
    ]
    return [_chain([part.create_infer_request() for part in compiled], reversed_colours) for _ in range(count)]


def _chain(requests: list[Any], reversed_colours: bool) -> Infer:
    def infer(images: np.ndarray) -> Any:
        if reversed_colours:
            images = openvino_colours.reverse(images, np.empty_like(images))
        for request in requests[:-1]:
            images = request.infer({0: images}, share_inputs=True, share_outputs=True)[0]
        return requests[-1].infer({0: images}, share_inputs=True, share_outputs=False)

    return infer


def _up_to_logits(graph: openvino.Model, model: ModelFile) -> openvino.Model:
    """Cut a graph behind the first tensor [N, C, H, W] of the image's size from the last matrix product on."""
    layers = graph.get_ordered_ops()
    matrix_ops = [number for number, layer in enumerate(layers) if layer.get_type_name() in MATRIX_OPS]
    for layer in layers[matrix_ops[-1] if matrix_ops else len(layers) :]:
        shape = layer.output(0).get_partial_shape() if layer.get_output_size() else None
        if shape is None or shape.rank.is_dynamic or len(shape) != 4 or shape[2].is_dynamic or shape[3].is_dynamic:
            continue
        if (shape[2].get_length(), shape[3].get_length()) == model.manifest.input_size_hw:
            return openvino.Model([ops.result(layer.output(0))], graph.get_parameters(), "up to the logits")
    raise BackendError(f"the graph of {model.path} has no logits of the image's size, so it has no bare network")


def _from_normalised_image(graph: openvino.Model, model: ModelFile) -> openvino.Model:
    """Cut off what comes before the network's first matrix product, and before the quantisation of its input."""
    first = next(layer for layer in graph.get_ordered_ops() if layer.get_type_name() in MATRIX_OPS)
    value = first.input_value(0)
    while value.get_node().get_type_name() == "FakeQuantize":
        value = value.get_node().input_value(0)
    entry = ops.parameter(value.get_partial_shape(), value.get_element_type(), name="normalised")
    image = graph.input(0)
    for consumer in value.get_target_inputs():
        consumer.replace_source_output(entry.output(0))
    # A batch of any size is asked for with the image's shape, [N, H, W, 3].
    for shape in (consumer.get_node() for consumer in image.get_target_inputs()):
        if shape.get_type_name() == "ShapeOf":
            batch = ops.slice(ops.shape_of(entry, shape.get_element_type()), [0], [1], [1])
            fixed = np.array([*model.manifest.input_size_hw, 3], shape.get_element_type().to_dtype())
            for consumer in shape.output(0).get_target_inputs():
                consumer.replace_source_output(ops.concat([batch, fixed], 0).output(0))
    return openvino.Model(graph.get_results(), [entry], "bare network")
