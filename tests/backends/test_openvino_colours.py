"""The reversal of colours is taken out of the graph where it is one, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino", reason="openvino is not installed: pip install lwseg_ros[cpu]")

import openvino
from openvino import opset13 as ops

from lwseg_ros.backends import BackendOptions, openvino_colours
from lwseg_ros.backends.openvino import OpenVinoBackend
from lwseg_ros.backends.openvino_core import shared_core
from lwseg_ros.evaluation.latency import random_images
from lwseg_ros.model.model_file import load_model, resolve_model

LEAST = np.iinfo(np.int64).min
SIZE_HW = (4, 3)


def sliced(value: Any, start: int, stop: int, step: int, axis: int) -> Any:
    return ops.slice(value, *(ops.constant(np.array([number], np.int64)) for number in (start, stop, step, axis)))


def graph_of(layers: Callable[[Any], Any]) -> openvino.Model:
    """Make a graph from an image uint8 [N, 4, 3, 3] to what `layers` makes of its channels, float32 [N, 3, 4, 3]."""
    image = ops.parameter(openvino.PartialShape([-1, *SIZE_HW, 3]), np.uint8, name="image")
    channels = ops.transpose(ops.convert(image, "f32"), ops.constant(np.array([0, 3, 1, 2], np.int64)))
    return openvino.Model([ops.result(layers(channels))], [image], "graph")


def run(graph: openvino.Model, images: np.ndarray) -> np.ndarray:
    return np.array(shared_core().compile_model(graph, "CPU")([images])[0])


@pytest.mark.parametrize("axis", [1, -3])
@pytest.mark.parametrize("ends", [(-1, LEAST), (2, -4)])
def test_a_reversal_is_taken_out(axis: int, ends: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, *SIZE_HW, 3), dtype=np.uint8)

    def layers(channels: Any) -> Any:
        return ops.multiply(sliced(channels, *ends, -1, axis), ops.constant(np.float32(0.5)))

    expected = run(graph_of(layers), images)
    graph = graph_of(layers)
    assert openvino_colours.take_out_reversal(graph)
    assert "Slice" not in [layer.get_type_name() for layer in graph.get_ordered_ops()]
    reversed_images = openvino_colours.reverse(images, np.empty_like(images))
    assert np.array_equal(reversed_images, images[..., ::-1])
    assert np.array_equal(run(graph, reversed_images), expected)


def test_a_layer_that_asks_for_the_images_shape_is_in_nobodys_way() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, *SIZE_HW, 3), dtype=np.uint8)

    def graph() -> openvino.Model:
        image = ops.parameter(openvino.PartialShape([-1, *SIZE_HW, 3]), np.uint8, name="image")
        num_images = ops.gather(ops.shape_of(image), ops.constant(np.int64(0)), ops.constant(np.int64(0)))
        colours = sliced(ops.convert(image, "f32"), -1, LEAST, -1, 3)
        return openvino.Model([ops.result(ops.multiply(colours, ops.convert(num_images, "f32")))], [image], "graph")

    expected = run(graph(), images)
    without = graph()
    assert openvino_colours.take_out_reversal(without)
    assert np.array_equal(run(without, np.ascontiguousarray(images[..., ::-1])), expected)


@pytest.mark.parametrize(
    "layers",
    [
        lambda channels: ops.relu(channels),
        lambda channels: sliced(channels, -1, LEAST, -1, 2),  # upside down
        lambda channels: sliced(channels, -1, LEAST, -1, 3),  # the image's width is 3, too
        lambda channels: sliced(channels, -2, LEAST, -1, 1),  # two channels of three
        lambda channels: sliced(channels, -1, 0, -1, 1),
        lambda channels: sliced(channels, 0, 3, 1, 1),
        lambda channels: sliced(ops.multiply(channels, ops.constant(np.float32(2))), -1, LEAST, -1, 1),
        lambda channels: ops.add(sliced(channels, -1, LEAST, -1, 1), channels),  # both orders are used
    ],
)
def test_anything_else_stays(layers: Callable[[Any], Any]) -> None:
    graph = graph_of(layers)
    before = [layer.get_friendly_name() for layer in graph.get_ordered_ops()]
    assert not openvino_colours.take_out_reversal(graph)
    assert [layer.get_friendly_name() for layer in graph.get_ordered_ops()] == before


def test_a_shipped_model_gives_the_same_without_its_reversal(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(resolve_model("lite_seg0_fast_camvid"))
    assert openvino_colours.take_out_reversal(shared_core().read_model(model.data, b""))
    options = BackendOptions(max_batch=3, num_threads=1)
    images = random_images(model, 2)
    given = images.copy()
    found = OpenVinoBackend(model, options).infer(images)
    monkeypatch.setattr(openvino_colours, "take_out_reversal", lambda graph: False)
    expected = OpenVinoBackend(model, options).infer(images)
    assert [np.array_equal(*outputs) for outputs in zip(found, expected, strict=True)] == [True, True]
    assert np.array_equal(images, given), "images are only read"
