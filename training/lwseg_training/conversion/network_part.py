"""Which nodes of a model file's graph are the network: what is before and behind it stays in float32 in every precision."""

from __future__ import annotations

import onnx

from lwseg_ros.errors import ModelFileError

MATRIX_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def network_part(graph: onnx.GraphProto) -> set[int]:
    """Return the positions of the nodes that lie on a way from one matrix product or convolution to another, these included.

    Normalisation comes before all of them; upsampling of the logits, softmax, arg-max and uncertainty after. Raises ModelFileError
    for a graph without any.
    """
    after: set[int] = set()
    reached: set[str] = set()
    for position, node in enumerate(graph.node):  # each after those that it depends on
        if node.op_type in MATRIX_OPS or reached.intersection(node.input):
            after.add(position)
            reached.update(node.output)
    part: set[int] = set()
    needed: set[str] = set()
    for position in sorted(after, reverse=True):
        node = graph.node[position]
        if node.op_type in MATRIX_OPS or needed.intersection(node.output):
            part.add(position)
            needed.update(node.input)
    if not part:
        raise ModelFileError(f"its graph has none of {', '.join(MATRIX_OPS)}; there is nothing to convert")
    return part
