"""Others' networks, in every form in which they come, publish in the model file what ONNX Runtime gives for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from lwseg_training.adoption.adopt import Adopted, Wish, adopt
from onnx import helper, numpy_helper
from support.foreign_graphs import (
    SIZE_HW,
    Form,
    class_scores,
    color_network,
    foreign_output,
    write_data,
    write_foreign,
)
from support.tiny_model import CLASSES, MEAN_RGB, STD_RGB, painted_image

from lwseg_ros.datasets import load_split
from lwseg_ros.errors import DatasetError, ModelFileError
from lwseg_ros.evaluation.split import evaluate_split
from lwseg_ros.segmenter import Segmentation, Segmenter

LABELS = Form(ends_in="labels", stride=4)
IMAGES = [painted_image(SIZE_HW, seed)[0] for seed in range(3)]


def adopt_form(folder: Path, form: Form, **wishes: object) -> Adopted:
    """Adopt a network of a form with the classes that its colours are of."""
    write_foreign(folder / "foreign.onnx", form)
    wish = Wish(form.mean, form.std, form.order, form.largest, **wishes)
    return adopt(folder / "foreign.onnx", folder / "model.onnx", CLASSES, wish)


def segmented(folder: Path, backend: str = "onnxruntime") -> list[Segmentation]:
    with Segmenter.open(folder / "model.onnx", backend) as segmenter:
        return segmenter.segment(IMAGES)


def test_logits_at_an_eighth_of_the_size_are_upsampled(tmp_path: Path) -> None:
    form = Form(stride=8, batch=1, size_hw=("height", "width"), opset=11)
    adopted = adopt_form(tmp_path, form, size_hw=SIZE_HW)
    assert (adopted.output.values, adopted.output.size_hw) == ("logits", (6, 8))
    assert adopted.parity.equal_labels == 1
    manifest = adopted.model.manifest
    assert (manifest.network, manifest.input_size_hw, manifest.precision) == ("foreign", SIZE_HW, "fp32")
    assert (manifest.mean_rgb, manifest.std_rgb, manifest.temperature) == (MEAN_RGB, STD_RGB, 1.0)
    assert manifest.classes == CLASSES
    assert manifest.training["calibrated"] is False
    assert manifest.training["adopted"]["output"] == "logits"
    assert manifest.validation == {}
    for backend, share in (("onnxruntime", 0.999), ("openvino", 0.99)):
        for image, got in zip(IMAGES, segmented(tmp_path, backend), strict=True):
            scores = class_scores(foreign_output(tmp_path / "foreign.onnx", form, image), SIZE_HW)
            assert (got.label == scores.argmax(axis=2)).mean() >= share
            assert len(np.unique(got.label)) > 2


def test_probabilities_are_told_from_logits_and_stay_what_they_are(tmp_path: Path) -> None:
    form = Form(ends_in="probabilities")
    adopted = adopt_form(tmp_path, form)
    assert adopted.output.values == "probabilities"
    for image, got in zip(IMAGES, segmented(tmp_path), strict=True):
        probabilities = foreign_output(tmp_path / "foreign.onnx", form, image)
        np.testing.assert_array_equal(got.label, probabilities.argmax(axis=0))
        uncertainty = 255 * (1 - probabilities.max(axis=0)) * len(CLASSES) / (len(CLASSES) - 1)
        assert np.abs(got.uncertainty - uncertainty).max() <= 1
        assert np.ptp(got.uncertainty) > 50


@pytest.fixture(scope="module")
def giving_labels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Adopted]:
    """A network that gives labels of a quarter of the size, adopted."""
    folder = tmp_path_factory.mktemp("labels")
    return folder, adopt_form(folder, LABELS)


def expected_label(folder: Path, image: np.ndarray) -> np.ndarray:
    return foreign_output(folder / "foreign.onnx", LABELS, image).repeat(4, axis=0).repeat(4, axis=1)


def test_labels_are_published_with_the_uncertainty_that_nothing_is_known(
    giving_labels: tuple[Path, Adopted], tmp_path: Path
) -> None:
    folder, adopted = giving_labels
    assert adopted.output.values == "labels"
    assert adopted.model.manifest.uncertainty_kind == "none"
    for image, got in zip(IMAGES, segmented(folder), strict=True):
        np.testing.assert_array_equal(got.label, expected_label(folder, image))
        assert (got.uncertainty == 255).all()
    split = load_split("folder", write_data(tmp_path, 2, [info.name for info in CLASSES]), "val")
    with Segmenter.open(folder / "model.onnx", "onnxruntime") as segmenter:
        figures = evaluate_split(segmenter, split)
    assert figures["miou"] > 0.4
    unknown = {name: figures["uncertainty"][name] for name in ("ece", "auroc", "aurc", "nll")}
    assert unknown == dict.fromkeys(("ece", "auroc", "aurc", "nll")), "what is not known is not measured"
    message = "--uncertainty entropy is made of probabilities, and 'classes' holds labels"
    with pytest.raises(ModelFileError, match=message):
        adopt_form(tmp_path, LABELS, uncertainty_kind="entropy")


@pytest.mark.integration
def test_the_node_publishes_it(giving_labels: tuple[Path, Adopted], tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")
    from support.ros_harness import NodeProcess, Probe, image_message

    from lwseg_ros.imaging import messages

    folder, _ = giving_labels
    topics = ("/segment/label", "/segment/uncertainty")
    with NodeProcess(tmp_path, {"model": folder / "model.onnx", "backend": "openvino", "num_threads": 1}):
        probe = Probe()
        try:
            for topic in topics:
                probe.subscribe(topic)
            probe.connect("/image", lambda: image_message(IMAGES[0], stamp=probe.now()), *topics)
            for image in IMAGES:
                stamp = probe.publish("/image", image_message(image, stamp=probe.now()))
                label, uncertainty = (messages.view(probe.message_with_stamp(topic, stamp)) for topic in topics)
                assert (label == expected_label(folder, image)).mean() >= 0.99
                assert (uncertainty == 255).all()
        finally:
            probe.close()


def test_half_precision_with_channels_last_in_bgr_of_0_to_255(tmp_path: Path) -> None:
    form = Form(
        dtype=np.float16,
        channels_last=True,
        order="bgr",
        largest=255,
        mean=(104.0, 117.0, 123.0),
        std=(57.0, 58.0, 59.0),
        opset=19,
    )
    adopted = adopt_form(tmp_path, form)
    assert adopted.output.channels_last
    manifest = adopted.model.manifest
    assert manifest.precision == "fp16"
    assert manifest.mean_rgb == pytest.approx((123 / 255, 117 / 255, 104 / 255))
    assert manifest.std_rgb == pytest.approx((59 / 255, 58 / 255, 57 / 255))
    opsets = {opset.domain: opset.version for opset in onnx.load(tmp_path / "model.onnx").opset_import}
    assert opsets[""] == 19
    for image, got in zip(IMAGES, segmented(tmp_path), strict=True):
        scores = class_scores(foreign_output(tmp_path / "foreign.onnx", form, image), SIZE_HW, channels_last=True)
        assert (got.label == scores.argmax(axis=2)).mean() >= 0.99


def test_a_data_set_of_other_classes_is_refused_before_anything_runs(tmp_path: Path) -> None:
    names = ["lane", *(info.name for info in CLASSES[1:])]
    split = load_split("folder", write_data(tmp_path, 1, names), "val")
    with pytest.raises(DatasetError, match="class 0 is 'road' in the model and 'lane' in painted"):
        adopt(tmp_path / "missing.onnx", tmp_path / "model.onnx", CLASSES, Wish(MEAN_RGB, STD_RGB), split)


@pytest.mark.parametrize(
    ("changes", "wishes", "message"),
    [
        ({"size_hw": ("h", "w")}, {}, r"'pixels' float \[batch, 3, h, w\] takes any size; choose one with --size HxW"),
        ({}, {"size_hw": (96, 128)}, r"\[batch, 3, 48, 64\] does not take --size 96x128; leave --size out"),
        ({}, {"input": "image"}, r"no input 'image'; its inputs are 'pixels' float \[batch, 3, 48, 64\]"),
        ({}, {"output": "scores"}, r"no output 'scores'; its outputs are 'logits' float32 \[1, 5, 48, 64\]"),
        ({}, {"values": "labels"}, r"'logits' is float32 \[1, 5, 48, 64\], which are no labels; leave --values out"),
        ({"ends_in": "sigmoid"}, {}, "does not add up to 1 over the classes, .* say --values logits, or --values prob"),
        (
            {"ends_in": "labels", "stride": 9, "size_hw": (48, 64)},
            {},
            "5 x 7 for an image of 48 x 64, which is no whole",
        ),
        ({"dtype": np.float16, "std": (1e-9, 1e-9, 1e-9)}, {}, "is not finite for an image of noise"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, changes: dict[str, object], wishes: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        adopt_form(tmp_path, Form(**changes), **wishes)
    assert str(caught.value).startswith(str(tmp_path / "foreign.onnx"))
    assert "lwseg export" not in str(caught.value)
    assert not (tmp_path / "model.onnx").exists()


def test_channels_and_classes_that_differ_are_both_named(tmp_path: Path) -> None:
    write_foreign(tmp_path / "foreign.onnx")
    with pytest.raises(ModelFileError, match=r"the 4 channels of the 4 classes.*'logits' float32 \[1, 5, 48, 64\]"):
        adopt(tmp_path / "foreign.onnx", tmp_path / "model.onnx", CLASSES[:4], Wish(MEAN_RGB, STD_RGB))


def test_labels_beyond_the_classes_are_named(tmp_path: Path) -> None:
    write_foreign(tmp_path / "foreign.onnx", ends_in="labels")
    with pytest.raises(ModelFileError, match=r"it gives the labels \[4\], and there are 4 classes, 0 to 3"):
        adopt(tmp_path / "foreign.onnx", tmp_path / "model.onnx", CLASSES[:4], Wish(MEAN_RGB, STD_RGB))


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        (
            [
                helper.make_node("ReduceMean", ["logits", "axes"], ["mean"]),
                helper.make_node("Add", ["logits", "mean"], ["y"]),
            ],
            {"axes": [0]},
            "gives several images other labels than each of them alone; export the network with a dynamic batch",
        ),
        (
            [
                helper.make_node("Reshape", ["logits", "rows"], ["flat"]),
                helper.make_node("Reshape", ["flat", "picture"], ["y"]),
            ],
            {"rows": [5, -1], "picture": [1, 5, 48, 64]},
            "takes one image at a time only; export the network with a dynamic batch",
        ),
    ],
)
def test_a_graph_for_one_image_only_is_refused(
    tmp_path: Path, nodes: list[onnx.NodeProto], constants: dict[str, list[int]], message: str
) -> None:
    model = color_network(Form(batch=1, opset=18))
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in constants.items())
    model.graph.output[0].name = "y"
    onnx.save_model(model, tmp_path / "foreign.onnx")
    with pytest.raises(ModelFileError, match=message):
        adopt(tmp_path / "foreign.onnx", tmp_path / "model.onnx", CLASSES, Wish(MEAN_RGB, STD_RGB))
    assert not (tmp_path / "model.onnx").exists()
