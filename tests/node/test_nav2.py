"""The contract with kiwicampus' semantic_segmentation_layer for Nav2: types, fields, QoS and values, as its source has them."""

from __future__ import annotations

from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

import rclpy
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from support.ros_harness import NodeProcess, Probe, image_message
from support.tiny_model import ACCEPTANCE, CLASSES, painted_image, write_tiny_model

from lwseg_ros.model.model_file import ModelFile, load_model, shipped_models
from lwseg_ros.node.publishers import LATCHED_QOS, OUTPUT_QOS, CameraPublishers, PublisherGroup, fill_label_info

CONFIG = Path(__file__).parents[2] / "config" / "nav2_costmap.params.yaml"
SENSOR_DATA = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED_SUBSCRIPTION = QoSProfile(
    depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
# The parameters that the layer declares: of a source, and of a class type.
SOURCE = {
    *("segmentation_topic", "confidence_topic", "labels_topic", "pointcloud_topic", "observation_persistence"),
    *("expected_update_rate", "class_types", "max_obstacle_distance", "min_obstacle_distance", "tile_map_decay_time"),
    *("visualize_tile_map", "use_cost_selection"),
}
CLASS_TYPE = {"classes", "base_cost", "max_cost", "mark_confidence", "samples_to_max_cost", "dominant_priority"}
# The public definitions of vision_msgs, which no registry has.
DEFINITIONS = {
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name\n",
    "vision_msgs/msg/LabelInfo": "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n",
}


def source() -> dict[str, Any]:
    parameters = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["local_costmap"]["local_costmap"]["ros__parameters"]
    layer: dict[str, Any] = parameters["semantic_segmentation_layer"]
    assert layer["observation_sources"] == "camera"
    assert set(layer) == {"plugin", "enabled", "combination_method", "observation_sources", "camera"}
    assert "semantic_segmentation_layer" in parameters["plugins"]
    found: dict[str, Any] = layer["camera"]
    return found


def test_the_parameters_file_names_what_the_layer_declares_and_every_class_once() -> None:
    camera = source()
    types = camera["class_types"]
    assert set(camera) - set(types) <= SOURCE
    for name in types:
        assert set(camera[name]) == CLASS_TYPE
        assert all(0 <= camera[name][key] <= 254 for key in ("base_cost", "max_cost", "mark_confidence"))
    named = list(chain.from_iterable(camera[name]["classes"] for name in types))
    for path in shipped_models().values():
        assert sorted([*named, "sky"]) == sorted(info.name for info in load_model(path).manifest.classes)


@pytest.mark.integration
def test_label_and_confidence_reach_its_subscriptions(tiny_model: ModelFile, tmp_path: Path) -> None:
    parameters = {"model": tiny_model.path, "backend": "onnxruntime", "max_age_ms": 0, "publish_confidence": "true"}
    label_topic, confidence_topic = source()["segmentation_topic"], source()["confidence_topic"]
    topics = [label_topic, confidence_topic, "/segment/uncertainty"]
    pixels = painted_image((30, 41))[0]
    with NodeProcess(tmp_path, parameters), closing(Probe()) as probe:
        for topic in topics:
            probe.subscribe(topic, qos=SENSOR_DATA)
        probe.connect("/image", lambda: image_message(pixels, stamp=probe.now()), *topics)
        stamp = probe.publish("/image", image_message(pixels, stamp=probe.now(), frame_id="color_optical"))
        label, confidence, uncertainty = (probe.message_with_stamp(topic, stamp) for topic in topics)
        assert probe.set_parameters(uncertainty_encoding="32FC1") == (True, "")
        stamp = probe.publish("/image", image_message(pixels, stamp=probe.now(), frame_id="color_optical"))
        again = probe.message_with_stamp(confidence_topic, stamp)
    # It reads pixel v * width + u of both, and looks at neither step nor encoding nor the size of the confidence.
    for told in (label, confidence, again):
        assert (told.encoding, told.height, told.width, told.step) == ("mono8", 30, 41, 41)
        assert (len(told.data), told.header.frame_id) == (30 * 41, "color_optical")
    assert label.header.stamp == confidence.header.stamp
    expected = 255 - np.frombuffer(uncertainty.data, np.uint8)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(np.frombuffer(confidence.data, np.uint8), expected)
    np.testing.assert_array_equal(np.frombuffer(again.data, np.uint8), expected)


def test_its_qos_fits() -> None:
    for offered, asked in ((OUTPUT_QOS, SENSOR_DATA), (LATCHED_QOS, LATCHED_SUBSCRIPTION)):
        assert qos_check_compatible(offered, asked)[0] != QoSCompatibility.ERROR
    assert qos_check_compatible(SENSOR_DATA, LATCHED_SUBSCRIPTION)[0] == QoSCompatibility.ERROR


def test_label_info_has_the_fields_of_its_public_definition(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx", acceptance={**ACCEPTANCE, "thresholds": [51, 20, 0, None, 60]})
    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, text in DEFINITIONS.items():
        store.register(get_types_from_msg(text, name))
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](sec=1, nanosec=2)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="")
    message = types["vision_msgs/msg/LabelInfo"](header=header, class_map=[], threshold=0.0)
    fill_label_info(message, types["vision_msgs/msg/VisionClass"], model)
    data = store.serialize_cdr(message, "vision_msgs/msg/LabelInfo")
    told: Any = store.deserialize_cdr(data, "vision_msgs/msg/LabelInfo")
    assert [(info.class_id, info.class_name) for info in told.class_map] == [(c.id, c.name) for c in CLASSES]
    assert all(info.class_id <= 255 for info in told.class_map)  # the layer keeps 8 bits
    assert told.threshold == pytest.approx(1 - 60 / 255)


@pytest.mark.integration
def test_without_the_parameter_there_is_no_such_topic(tiny_model: ModelFile) -> None:
    context = Context()
    rclpy.init(context=context)
    node = LifecycleNode("segment", context=context)
    CameraPublishers(PublisherGroup(node), "", tiny_model)
    topics = {name for name, _ in node.get_topic_names_and_types()}
    node.destroy_node()
    rclpy.shutdown(context=context)
    assert source()["segmentation_topic"] in topics
    assert source()["confidence_topic"] not in topics
