"""Is what a model computes finite? Labels and uncertainty, which are bytes, do not tell: a NaN becomes any byte, and some
runtimes' ReLU makes zero of it.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.model.onnx_file import messages

FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def check_weights(model: ModelFile) -> None:
    """Refuse weights and attributes, of nested graphs too, that are not finite.

    A single infinity, not in an array, may be an operator's bound. Raises ModelFileError.
    """
    for message, holder in messages(onnx.load_model_from_string(model.data)):
        if isinstance(message, onnx.TensorProto) and message.data_type in FLOAT_TYPES:
            arrays, name = [numpy_helper.to_array(message)], message.name
        elif isinstance(message, onnx.AttributeProto):
            arrays, name = [np.array(message.f), np.array(message.floats)], ", ".join(getattr(holder, "output", ()))
        else:
            continue
        if any(np.isnan(values).any() or (values.ndim and np.isinf(values).any()) for values in arrays):
            raise ModelFileError(
                f"model file {model.path}: its weights {name!r} are not finite; export a checkpoint that has converged"
            )


def check_blank_run(model: ModelFile, label: np.ndarray, uncertainty: np.ndarray) -> None:
    """Refuse a model that does not give finite logits for a blank image; raises ModelFileError.

    label, uncertainty: uint8 [N, H, W], of the blank image. A graph exported today marks such pixels with the ignore id. An
    earlier one gives the same bytes everywhere, which an honest network may do too: then its logits are looked at, by ONNX
    Runtime where that is installed.
    """
    marked = model.manifest.ignore_id is not None and (label == model.manifest.ignore_id).any()
    constant = label.min() == label.max() and uncertainty.min() == uncertainty.max()
    if marked or (constant and not _logits_are_finite(model)):
        raise ModelFileError(
            f"model file {model.path}: its logits of a blank image are not finite; export a checkpoint that has converged"
        )


def _logits_are_finite(model: ModelFile) -> bool:
    """Run the graph up to its softmax on a blank image; True, too, where that is not possible."""
    proto = onnx.load_model_from_string(model.data)
    name = _softmax_input(proto.graph)
    try:
        import onnxruntime
    except ImportError:
        name = None
    if name is None:
        return True
    proto.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run([name], {"image": np.zeros((1, *model.manifest.input_size_hw, 3), np.uint8)})
    return bool(np.isfinite(logits).all())


def _softmax_input(graph: onnx.GraphProto) -> str | None:
    """Name the input of the softmax that the uncertainty is made of; None where there is none."""
    sources = {output: node for node in graph.node for output in node.output}
    pending = ["uncertainty"]
    seen: set[str] = set()
    while pending:
        node = sources.get(pending.pop(0))
        if node is None or node.output[0] in seen:
            continue
        if node.op_type == "Softmax":
            return str(node.input[0])
        seen.add(node.output[0])
        pending += node.input
    return None
