"""ONNX files as others export them: each names the colour of a pixel, as `tiny_model` does, in one of many forms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import yaml
from onnx import TensorProto, helper, numpy_helper

from lwseg_ros.classes import ClassInfo
from support.tiny_model import CLASSES, MEAN_RGB, STD_RGB, painted_image

SIZE_HW = (48, 64)
SHARPNESS = 8.0


@dataclass(frozen=True)
class Form:
    """How a network was exported, and what its images are prepared by: (pixel * largest / 255 - mean) / std, RGB or BGR.

    batch, size_hw: sides of the input, a text where they are free. stride: the output's. ends_in: what the output holds. classes:
    whose colours it names.
    """

    batch: int | str = "batch"
    size_hw: tuple[int | str, int | str] = SIZE_HW
    dtype: type = np.float32
    channels_last: bool = False
    stride: int = 1
    ends_in: str = "logits"
    opset: int = 17
    mean: tuple[float, float, float] = MEAN_RGB
    std: tuple[float, float, float] = STD_RGB
    order: str = "rgb"
    largest: int = 1
    classes: tuple[ClassInfo, ...] = CLASSES

    def prepared(self, image: np.ndarray) -> np.ndarray:
        """Bring an image uint8 BGR [H, W, 3] to what the network takes, as its users would write it."""
        pixels = image[..., ::-1] if self.order == "rgb" else image
        prepared = (pixels.astype(np.float64) / 255 * self.largest - self.mean) / self.std
        ordered = prepared if self.channels_last else prepared.transpose(2, 0, 1)
        return np.ascontiguousarray(ordered[None], self.dtype)


def color_network(form: Form) -> onnx.ModelProto:
    """Build the graph: of each pixel, or of the mean of stride x stride of them, how near it is to each class's colour."""
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(form.dtype))
    means = np.array([info.color_rgb for info in form.classes]) / 255  # [C, 3]
    if form.order == "bgr":
        means = means[:, ::-1]
    # -|x - mean|^2 without |x|^2, which all classes have; x = (prepared * std + mean) / largest.
    weights = 2 * means * np.array(form.std) / form.largest
    bias = (2 * means * np.array(form.mean) / form.largest).sum(1) - (means**2).sum(1)
    constants: dict[str, np.ndarray] = {
        "weights": (SHARPNESS * weights)[:, :, None, None].astype(form.dtype),
        "bias": (SHARPNESS * bias).astype(form.dtype),
    }
    stride = {"kernel_shape": [form.stride] * 2, "strides": [form.stride] * 2}
    nodes = [
        *([helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2])] if form.channels_last else []),
        helper.make_node("AveragePool", ["planes" if form.channels_last else "pixels"], ["means"], **stride),
        helper.make_node("Conv", ["means", "weights", "bias"], ["logits"]),
    ]
    height, width = (side // form.stride if isinstance(side, int) else "out" for side in form.size_hw)
    shape: list[Any] = [form.batch, len(form.classes), height, width]
    output, output_type = "logits", elem_type
    if form.ends_in in ("probabilities", "sigmoid"):
        operator = helper.make_node("Softmax", ["logits"], ["scores"], axis=1)
        if form.ends_in == "sigmoid":
            operator = helper.make_node("Sigmoid", ["logits"], ["scores"])
        nodes, output = [*nodes, operator], "scores"
    elif form.ends_in == "labels":
        nodes.append(helper.make_node("ArgMax", ["logits"], ["classes"], axis=1, keepdims=0))
        output, output_type, shape = "classes", TensorProto.INT64, [form.batch, height, width]
    elif form.channels_last:
        nodes.append(helper.make_node("Transpose", ["logits"], ["logits_last"], perm=[0, 2, 3, 1]))
        output, shape = "logits_last", [form.batch, height, width, len(form.classes)]
    given = [form.batch, *form.size_hw, 3] if form.channels_last else [form.batch, 3, *form.size_hw]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pixels", elem_type, given)],
        [helper.make_tensor_value_info(output, output_type, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", form.opset)])


def write_foreign(path: Path, form: Form | None = None, **changes: Any) -> Form:
    """Write a graph of a form, by default an ordinary one with some changes, and return the form."""
    form = replace(form or Form(), **changes)
    onnx.save_model(color_network(form), path)
    return form


def foreign_output(path: Path, form: Form, image: np.ndarray) -> np.ndarray:
    """Return what ONNX Runtime gives for an image uint8 BGR [H, W, 3] prepared by hand, the only output, without the batch."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: form.prepared(image)})
    return output[0]


def class_scores(output: np.ndarray, size_hw: tuple[int, int], channels_last: bool = False) -> np.ndarray:
    """Bring scores of the classes to float32 [H, W, C], upsampled by OpenCV."""
    scores = np.ascontiguousarray(output if channels_last else output.transpose(1, 2, 0), np.float32)
    return cv2.resize(scores, size_hw[::-1], interpolation=cv2.INTER_LINEAR)


def write_data(folder: Path, num_images: int, names: list[str]) -> Path:
    """Write a data set of painted images, a tenth of whose pixels are labelled at random; `names` are those of its classes."""
    random = np.random.default_rng(0)
    for index in range(num_images):
        image, label = painted_image(SIZE_HW, index)
        wrong = random.random(SIZE_HW) < 0.1
        label[wrong] = random.integers(0, len(names), wrong.sum())
        assert cv2.imwrite(str(folder / f"{index}.image.png"), image)
        assert cv2.imwrite(str(folder / f"{index}.image.label.png"), label)
    val = {"images": "*.image.png", "labels": "{name}.label.png"}
    described = {"name": "painted", "classes": names, "splits": {"val": val}}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    return folder
