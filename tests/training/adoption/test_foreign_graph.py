"""Which input takes images, which output holds the classes, and what is asked for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from lwseg_training.adoption.foreign_graph import find_input, find_output
from onnx import TensorProto, helper

from lwseg_ros.errors import ModelFileError

SIZE_HW = (16, 24)


def with_inputs(**shapes: list[int | str]) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    return helper.make_model(helper.make_graph([], "inputs", values, []))


def scores(channels: int = 4, scale: float = 5.0) -> list[np.ndarray]:
    return [np.random.default_rng(0).normal(0, scale, (1, channels, *SIZE_HW)).astype(np.float32)]


@pytest.mark.parametrize(
    ("shape", "size_hw", "channels_last"),
    [
        ([1, 3, 16, 24], None, False),
        (["N", 3, "h", "w"], (16, 24), False),
        (["N", "c", 16, "w"], (16, 24), False),
        ([1, 16, 24, 3], None, True),
    ],
)
def test_an_image_is_known_by_its_shape(
    shape: list[int | str], size_hw: tuple[int, int] | None, channels_last: bool
) -> None:
    found = find_input(with_inputs(x=shape), None, size_hw)
    assert (found.name, found.size_hw, found.channels_last) == ("x", SIZE_HW, channels_last)
    image = np.arange(3 * 16 * 24, dtype=np.float32).reshape(3, 16, 24)
    fed = found.feed(image)
    assert fed.shape == found.shape
    np.testing.assert_array_equal(fed[0].transpose(2, 0, 1) if channels_last else fed[0], image)


def test_several_inputs_are_listed() -> None:
    both = {"left": [1, 3, 16, 24], "right": [1, 3, 16, 24]}
    with pytest.raises(ModelFileError, match=r"'left' float \[1, 3, 16, 24\], 'right' .* choose one with --input NAME"):
        find_input(with_inputs(**both), None, None)
    with pytest.raises(ModelFileError, match="a model file takes an image alone; export it without 'left'"):
        find_input(with_inputs(**both), "right", None)
    with pytest.raises(ModelFileError, match=r"no input takes images.*'tokens' float \[1, 128\]"):
        find_input(with_inputs(tokens=[1, 128]), None, None)


def test_several_outputs_are_listed_and_one_is_chosen() -> None:
    outputs = {"main": scores(), "aux": scores(scale=3.0), "features": scores(channels=64)}
    with pytest.raises(ModelFileError, match=r"several .*'main' float32 \[1, 4, 16, 24\], 'aux' .*--output NAME"):
        find_output(outputs, 4, SIZE_HW, None, None)
    assert find_output(outputs, 4, SIZE_HW, "aux", None).name == "aux"
    assert find_output(outputs, 64, SIZE_HW, None, None).name == "features"
    with pytest.raises(ModelFileError, match="no output has the 4 channels of the 4 classes"):
        find_output(outputs, 4, SIZE_HW, "features", None)


def test_values_are_told_by_what_they_are() -> None:
    (logits,) = scores()
    exponentials = np.exp(logits)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    sigmoid = 1 / (1 + np.exp(-logits))
    assert find_output({"x": [logits]}, 4, SIZE_HW, None, None).values == "logits"
    assert find_output({"x": [probabilities]}, 4, SIZE_HW, None, None).values == "probabilities"
    assert find_output({"x": [sigmoid]}, 4, SIZE_HW, None, "probabilities").values == "probabilities"
    assert find_output({"x": [logits.argmax(axis=1)]}, 4, SIZE_HW, None, None).values == "labels"
    with pytest.raises(ModelFileError, match="does not add up to 1"):
        find_output({"x": [sigmoid]}, 4, SIZE_HW, None, None)


@pytest.mark.parametrize("size_hw", [(16, 6), (32, 48)])
def test_an_output_of_another_shape_or_larger_is_no_picture(size_hw: tuple[int, int]) -> None:
    output = np.random.default_rng(0).normal(size=(1, 4, *size_hw)).astype(np.float32)
    message = f"'x' is {size_hw[0]} x {size_hw[1]} for an image of 16 x 24, which is no reduced picture of it"
    with pytest.raises(ModelFileError, match=message):
        find_output({"x": [output]}, 4, SIZE_HW, None, None)
