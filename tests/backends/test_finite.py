"""A model that is not finite is refused when it is opened, whatever the runtime makes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from lwseg_ros.backends import BackendOptions, load_runtime, open_backend
from lwseg_ros.backends.finite import check_blank_run, check_weights
from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.model_file import ModelFile, load_model, save_model, shipped_models

RUNTIMES = ["onnxruntime", "openvino", "auto"]


def edited(model: ModelFile, path: Path, edit: Callable[[onnx.ModelProto], None]) -> ModelFile:
    proto = onnx.load_model_from_string(model.data)
    edit(proto)
    return save_model(proto, model.manifest, path)


def set_weight(name: str, value: float, *, everywhere: bool = False) -> Callable[[onnx.ModelProto], None]:
    def edit(proto: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
        values = numpy_helper.to_array(tensor).copy()
        values.reshape(-1)[: None if everywhere else 1] = value
        tensor.CopyFrom(numpy_helper.from_array(values, name))

    return edit


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("fixture", ["tiny_model", "tiny_fp16_model"])
@pytest.mark.parametrize("weight", ["mean_filter", "matching", "offsets"])
def test_weights_that_are_not_finite_are_refused(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, weight: str, value: float, runtime: str
) -> None:
    model = edited(request.getfixturevalue(fixture), tmp_path / "broken.onnx", set_weight(weight, value))
    with pytest.raises(ModelFileError, match=rf"broken\.onnx: its weights '{weight}' are not finite"):
        open_backend(model, runtime)


def test_a_nan_in_a_constant_is_refused_and_an_infinite_bound_is_not(tiny_model: ModelFile, tmp_path: Path) -> None:
    def clip_at(bound: float) -> Callable[[onnx.ModelProto], None]:
        def edit(proto: onnx.ModelProto) -> None:
            tensor = numpy_helper.from_array(np.array(bound, np.float32), "bound")
            clip = helper.make_node("Clip", ["uncertainty_rounded", "", "bound"], ["clipped"])
            proto.graph.node[-1].input[0] = "clipped"
            proto.graph.node.insert(
                len(proto.graph.node) - 1, helper.make_node("Constant", [], ["bound"], value=tensor)
            )
            proto.graph.node.insert(len(proto.graph.node) - 1, clip)

        return edit

    check_weights(edited(tiny_model, tmp_path / "bounded.onnx", clip_at(float("inf"))))
    with pytest.raises(ModelFileError, match="weights 'bound' are not finite"):
        check_weights(edited(tiny_model, tmp_path / "broken.onnx", clip_at(float("nan"))))


def in_a_branch(levels: int, *, initializer: bool) -> Callable[[float], onnx.GraphProto]:
    """A graph whose array is within so many graphs of If."""

    def graph(value: float) -> onnx.GraphProto:
        tensor = numpy_helper.from_array(np.array([1.0, value], np.float32), "hidden")
        nodes = [] if initializer else [helper.make_node("Constant", [], ["hidden"], value=tensor)]
        nodes.append(helper.make_node("Identity", ["hidden"], ["given"]))
        output = helper.make_tensor_value_info("given", onnx.TensorProto.FLOAT, [2])
        found = helper.make_graph(nodes, "inner", [], [output], [tensor] if initializer else [])
        for level in range(levels):
            true = helper.make_node(
                "Constant", [], [f"true_{level}"], value=numpy_helper.from_array(np.array(True), "true")
            )
            choice = helper.make_node("If", [f"true_{level}"], ["given"], then_branch=found, else_branch=found)
            found = helper.make_graph([true, choice], "outer", [], [output])
        return found

    return graph


def with_nodes(nodes_of: Callable[[float], list[onnx.NodeProto]], value: float) -> Callable[[onnx.ModelProto], None]:
    def edit(proto: onnx.ModelProto) -> None:
        for node in reversed(nodes_of(value)):
            proto.graph.node.insert(0, node)

    return edit


@pytest.mark.parametrize(
    "nodes_of",
    [
        pytest.param(lambda value: [helper.make_node("Constant", [], ["hidden"], value_float=value)], id="value_float"),
        pytest.param(
            lambda value: [helper.make_node("Constant", [], ["hidden"], value_floats=[1.0, value])], id="value_floats"
        ),
        pytest.param(
            lambda value: [
                helper.make_node("Constant", [], ["unit"], value_float=1.0),
                helper.make_node("LeakyRelu", ["unit"], ["hidden"], alpha=value),
            ],
            id="an operator's attribute",
        ),
        *(
            pytest.param(
                lambda value, levels=levels, initializer=initializer: list(
                    in_a_branch(levels, initializer=initializer)(value).node
                ),
                id=f"{'initializer' if initializer else 'constant'}, {levels} deep",
            )
            for levels in (1, 3)
            for initializer in (False, True)
        ),
    ],
)
def test_a_nan_is_found_wherever_it_hides(
    tiny_model: ModelFile, tmp_path: Path, nodes_of: Callable[[float], list[onnx.NodeProto]]
) -> None:
    check_weights(edited(tiny_model, tmp_path / "whole.onnx", with_nodes(nodes_of, 0.5)))
    with pytest.raises(ModelFileError, match="weights 'hidden' are not finite"):
        check_weights(edited(tiny_model, tmp_path / "broken.onnx", with_nodes(nodes_of, float("nan"))))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_finite_weights_whose_logits_are_not_are_refused(tiny_model: ModelFile, tmp_path: Path, runtime: str) -> None:
    model = edited(tiny_model, tmp_path / "huge.onnx", set_weight("matching", 3e38, everywhere=True))
    with pytest.raises(ModelFileError, match=r"huge\.onnx: its logits of a blank image are not finite"):
        open_backend(model, runtime)


def test_a_pixel_that_the_graph_marks_is_refused(tiny_model: ModelFile) -> None:
    label, uncertainty = np.arange(16, dtype=np.uint8).reshape(1, 4, 4) % 5, np.zeros((1, 4, 4), np.uint8)
    check_blank_run(tiny_model, label, uncertainty)
    label[0, 2, 2] = 255
    with pytest.raises(ModelFileError, match="logits of a blank image are not finite"):
        check_blank_run(tiny_model, label, uncertainty)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_network_that_is_honestly_certain_is_opened(tiny_model: ModelFile, tmp_path: Path, runtime: str) -> None:
    def always_tree(proto: onnx.ModelProto) -> None:
        set_weight("matching", 0.0, everywhere=True)(proto)
        set_weight("offsets", 0.0, everywhere=True)(proto)
        tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == "offsets")
        tensor.CopyFrom(numpy_helper.from_array(np.array([0, 100, 0, 0, 0], np.float32), "offsets"))

    model = edited(tiny_model, tmp_path / "certain.onnx", always_tree)
    backend = open_backend(model, runtime).backend
    label, uncertainty = backend.infer(np.zeros((1, 48, 64, 3), np.uint8))
    assert (label == 1).all()
    assert (uncertainty == 0).all()


@pytest.mark.parametrize("path", shipped_models().values(), ids=shipped_models().keys())
def test_shipped_models_are_finite(path: Path) -> None:
    check_weights(load_model(path))


CASES = [("onnxruntime", "auto"), ("openvino", "auto"), ("openvino", "fp32")]


def predict(model: ModelFile, case: tuple[str, str], images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run a model as it is, without what refuses one that is not finite."""
    runtime, cpu_precision = case
    backend = load_runtime(runtime).open(model, BackendOptions(num_threads=1, cpu_precision=cpu_precision))
    try:
        return backend.infer(images)
    finally:
        backend.close()


def add_to_logits(proto: onnx.ModelProto, stray: np.ndarray) -> None:
    """Add float32 [1, C, 1, W] to the logits that softmax is given, W of them a row."""
    softmax = [node for node in proto.graph.node if node.op_type == "Softmax"][-1]
    proto.graph.initializer.append(numpy_helper.from_array(stray, "stray"))
    place = list(proto.graph.node).index(softmax)
    proto.graph.node.insert(place, helper.make_node("Add", [softmax.input[0], "stray"], ["strayed"]))
    softmax.input[0] = "strayed"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("case", CASES, ids="-".join)
@pytest.mark.parametrize("path", shipped_models().values(), ids=shipped_models().keys())
def test_shipped_models_mark_the_pixels_whose_logits_are_not_finite(
    tmp_path: Path, camera_images: list[np.ndarray], path: Path, case: tuple[str, str], value: float
) -> None:
    model = load_model(path)
    height, width = model.manifest.input_size_hw
    images = cv2.resize(camera_images[0], (width, height))[None]
    label, uncertainty = (output.copy() for output in predict(model, case, images))
    columns = slice(100, 140)
    step = model.manifest.training["recipe"]["inference"].get(
        "label_step", 1
    )  # of a block of pixels, which is marked as a whole
    stray = np.zeros((1, len(model.manifest.classes), 1, width // step), np.float32)
    stray[:, 3, :, columns.start // step : columns.stop // step] = (
        value  # of one class; all other logits stay as they are
    )
    broken = edited(model, tmp_path / "m.onnx", lambda proto: add_to_logits(proto, stray))
    label[..., columns], uncertainty[..., columns] = model.manifest.ignore_id, 255
    actual = predict(broken, case, images)
    np.testing.assert_array_equal(actual[0], label)
    np.testing.assert_array_equal(actual[1], uncertainty)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("case", CASES, ids="-".join)
@pytest.mark.parametrize("path", shipped_models().values(), ids=shipped_models().keys())
def test_shipped_models_whose_classifier_is_not_finite_give_no_class(
    tmp_path: Path, camera_images: list[np.ndarray], path: Path, case: tuple[str, str], value: float
) -> None:
    model = load_model(path)
    height, width = model.manifest.input_size_hw
    graph = onnx.load_model_from_string(model.data).graph
    classifier = [node for node in graph.node if node.op_type == "Conv"][-1].input[1]
    # One weight of one class: its logit, and with it every pixel's softmax, is NaN or infinite.
    broken = edited(model, tmp_path / "m.onnx", set_weight(classifier, value))
    label, uncertainty = predict(broken, case, cv2.resize(camera_images[0], (width, height))[None])
    assert (label == model.manifest.ignore_id).all()
    assert (uncertainty == 255).all()
