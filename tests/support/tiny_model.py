"""A small real model file: names the colour of each pixel. Fast, and made without torch.

Its classes have the colours below; a region painted in a class's colour gets that class's id, with low uncertainty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lwseg_ros.classes import ClassInfo
from lwseg_ros.model.model_file import Manifest, ModelFile, save_model

CLASSES = (
    ClassInfo(0, "road", (128, 64, 128)),
    ClassInfo(1, "tree", (20, 140, 30)),
    ClassInfo(2, "sky", (70, 130, 220)),
    ClassInfo(3, "car", (20, 10, 120)),
    ClassInfo(4, "sign", (230, 210, 40)),
)
ACCEPTANCE = {
    "level": 0.1,
    "confidence": 0.9,
    "thresholds": [254, 20, 0, None, 60],
    "normal": {"accepted_share": [0.4, None], "uncertainty_spread": [None, 90.0], "brightness": [60.0, 180.0]},
}
"""What a tiny model's manifest may say of accepted pixels."""
MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)
SHARPNESS = 40.0


def tiny_manifest(
    size_hw: tuple[int, int] = (48, 64),
    precision: str = "fp32",
    dataset: str = "painted colours",
    acceptance: dict[str, Any] | None = None,
) -> Manifest:
    """Return the manifest that belongs to `tiny_graph`."""
    return Manifest(
        network="tiny",
        classes=CLASSES,
        dataset=dataset,
        input_size_hw=size_hw,
        mean_rgb=MEAN_RGB,
        std_rgb=STD_RGB,
        precision=precision,
        uncertainty_kind="least_confidence",
        temperature=1.0,
        ignore_id=255,
        training={"recipe": "none: weights set by hand"},
        validation={},
        acceptance=acceptance or {},
    )


def tiny_graph(size_hw: tuple[int, int] = (48, 64), precision: str = "fp32") -> onnx.ModelProto:
    """Build the graph: normalise, two convolutions at half size, upsample, softmax, arg-max, least confidence.

    size_hw: even sides. precision: "fp32" or "fp16"; the latter runs the convolutions in half.
    """
    height, width = size_hw
    half = precision == "fp16"
    dtype = np.float16 if half else np.float32
    mean_bgr = np.array(MEAN_RGB[::-1]).reshape(1, 3, 1, 1) * 255
    std_bgr = np.array(STD_RGB[::-1]).reshape(1, 3, 1, 1) * 255

    # First convolution: 3 x 3 means of each channel, once as they are and once negated, so that ReLU loses nothing.
    mean_filter = np.zeros((6, 3, 3, 3))
    for channel in range(3):
        mean_filter[channel, channel] = 1 / 9
        mean_filter[channel + 3, channel] = -1 / 9
    # Second: squared distance to each class's colour, up to a term that all classes share.
    colors_bgr = np.array([info.color_rgb[::-1] for info in CLASSES]) / 255
    means, stds = mean_bgr.reshape(3) / 255, std_bgr.reshape(3) / 255
    per_channel = SHARPNESS * 2 * colors_bgr * stds
    matching = np.concatenate([per_channel, -per_channel], axis=1).reshape(len(CLASSES), 6, 1, 1)
    offsets = SHARPNESS * (2 * colors_bgr @ means - (colors_bgr**2).sum(1))

    weights = {
        "mean_bgr": mean_bgr.astype(np.float32),
        "std_bgr": std_bgr.astype(np.float32),
        "mean_filter": mean_filter.astype(dtype),
        "matching": matching.astype(dtype),
        "offsets": offsets.astype(dtype),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "one": np.array(1, np.float32),
        "levels": np.array(255 * len(CLASSES) / (len(CLASSES) - 1), np.float32),
    }
    network_type = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes = [
        # TensorRT wants the uint8 image cast before anything else.
        helper.make_node("Cast", ["image"], ["image_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["image_float"], ["image_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["image_nchw", "mean_bgr"], ["centred"]),
        helper.make_node("Div", ["centred", "std_bgr"], ["normalised"]),
        helper.make_node("Cast", ["normalised"], ["network_input"], to=network_type),
        helper.make_node(
            "Conv", ["network_input", "mean_filter"], ["conv1"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]
        ),
        helper.make_node("Relu", ["conv1"], ["relu1"]),
        helper.make_node("Conv", ["relu1", "matching", "offsets"], ["network_output"], kernel_shape=[1, 1]),
        helper.make_node("Cast", ["network_output"], ["small_logits"], to=TensorProto.FLOAT),
        helper.make_node(
            "Resize",
            ["small_logits", "", "scales"],
            ["logits"],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["label_int64"], axis=1, keepdims=0),
        helper.make_node("Cast", ["label_int64"], ["label_float"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["label_float"], ["label"], to=TensorProto.UINT8),
        helper.make_node("ReduceMax", ["probabilities"], ["confidence"], axes=[1], keepdims=0),
        helper.make_node("Sub", ["one", "confidence"], ["doubt"]),
        helper.make_node("Mul", ["doubt", "levels"], ["uncertainty_float"]),
        helper.make_node("Round", ["uncertainty_float"], ["uncertainty_rounded"]),
        helper.make_node("Cast", ["uncertainty_rounded"], ["uncertainty"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, 3])],
        [
            helper.make_tensor_value_info("label", TensorProto.UINT8, ["N", height, width]),
            helper.make_tensor_value_info("uncertainty", TensorProto.UINT8, ["N", height, width]),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def write_tiny_model(
    path: Path,
    size_hw: tuple[int, int] = (48, 64),
    precision: str = "fp32",
    dataset: str = "painted colours",
    acceptance: dict[str, Any] | None = None,
) -> ModelFile:
    """Write a tiny model file and return it loaded."""
    return save_model(tiny_graph(size_hw, precision), tiny_manifest(size_hw, precision, dataset, acceptance), path)


def painted_image(size_hw: tuple[int, int], seed: int = 0, noise: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    """Paint rectangles in the classes' colours; returns image uint8 BGR [H, W, 3] and its label uint8 [H, W]."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    label = np.zeros(size_hw, np.uint8)
    for class_id in rng.permutation(len(CLASSES)):
        top, left = rng.integers(0, max(1, height * 3 // 4)), rng.integers(0, max(1, width * 3 // 4))
        label[top : top + height // 2, left : left + width // 2] = class_id
    colors_bgr = np.array([info.color_rgb[::-1] for info in CLASSES], np.float32)
    image = colors_bgr[label] + rng.normal(0, noise, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8), label
