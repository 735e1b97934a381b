"""Taking the reversal of colours, BGR to RGB, out of a graph, for OpenVINO.

Its CPU plugin reverses by a reference implementation, in float32 with the channels last, which forces copies of the image into
other layouts and types around it; in mixed precision that is a large part of what a light network takes. OpenCV reverses the
camera's bytes in next to no time. All else stays as it is, and so does every value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    import openvino

CHANNELS_LAST = 3  # axis of the colours in [N, H, W, 3]


def take_out_reversal(model: openvino.Model) -> bool:
    """Take out the layer that reverses the image's colours, which is to be given with reversed ones from then on.

    False, and then the model is as it was, where anything but a cast or a transposition comes before, or there is none.
    """
    value, axis = model.input(0), CHANNELS_LAST
    while len(layers := _readers(value)) == 1:
        layer = layers[0]
        kind = layer.get_type_name()
        if kind == "Slice":
            if not _reverses(layer, axis):
                return False
            for consumer in layer.output(0).get_target_inputs():
                consumer.replace_source_output(value)
            return True
        if kind == "Transpose":
            order = _constant(layer, 1)
            if axis not in order:
                return False
            axis = order.index(axis)
        elif kind != "Convert":
            return False
        value = layer.output(0)
    return False


def reverse(images: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write uint8 [N, H, W, 3], C-contiguous, with reversed colours to ``out``, of that shape and kind, and return it."""
    rows = (-1, *images.shape[2:])
    cv2.cvtColor(images.reshape(rows), cv2.COLOR_BGR2RGB, dst=out.reshape(rows))
    return out


def _readers(value: Any) -> list[Any]:
    """Return the layers that read a value, but for those that only ask for its shape, which a reversal does not change."""
    layers = [consumer.get_node() for consumer in value.get_target_inputs()]
    return [layer for layer in layers if layer.get_type_name() != "ShapeOf"]


def _reverses(layer: Any, axis: int) -> bool:
    """Tell whether a Slice (data, start, stop, step, axes) gives all of its input, in reverse along one axis."""
    if layer.get_input_size() < 5:
        return False
    start, stop, step, axes = (_constant(layer, number) for number in range(1, 5))
    shape = layer.get_input_partial_shape(0)
    if (step, axes) not in (([-1], [axis]), ([-1], [axis - len(shape)])):
        return False
    size = shape[axis].get_length() if shape[axis].is_static else 0
    from_last = bool(start) and (start[0] == -1 or start[0] >= size - 1)
    return bool(size) and from_last and bool(stop) and stop[0] < -size


def _constant(layer: Any, number: int) -> list[int]:
    """Return an input's values; empty where it is computed."""
    source = layer.input_value(number).get_node()
    return source.data.reshape(-1).tolist() if source.get_type_name() == "Constant" else []
