"""Which topics the survey of cameras takes, and what it says of images that cannot be segmented."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from support.ros_harness import image_message

from lwseg_ros.node.camera_survey import _size_of, camera_findings


@pytest.mark.integration
def test_every_camera_once_and_no_labels_of_ours() -> None:
    rclpy.init()
    camera, segment, survey = (Node(name) for name in ("camera", "segment", "survey"))
    raw = camera.create_publisher(Image, "/front/image_raw", 5)
    for neighbour in ("compressed", "compressedDepth"):
        camera.create_publisher(CompressedImage, f"/front/image_raw/{neighbour}", 5)
    segment.create_publisher(Image, "/segment/label", 5)
    segment.create_publisher(CompressedImage, "/segment/label/compressed", 5)
    segment.create_publisher(String, "/segment/label_info_json", 5)
    message = image_message(np.zeros((48, 64, 3), np.uint8), stamp=Image().header.stamp)
    ended = threading.Event()

    def publish() -> None:
        while not ended.wait(0.02):
            raw.publish(message)

    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
        (found,) = camera_findings(survey, [], wait_s=30.0, listen_s=0.2)
        unknown = list(camera_findings(survey, ["not a topic!", "/nobody"], wait_s=0.2, listen_s=0.2))
    finally:
        ended.set()
        publishing.join()
        for node in (camera, segment, survey):
            node.destroy_node()
        rclpy.shutdown()
    assert (found.name, found.values["image"]) == ("camera /front/image_raw", "64 x 48 bgr8")
    assert "PTP" in found.remedy  # there is no stamp
    assert [(finding.name, bool(finding.remedy)) for finding in unknown] == [
        ("camera not a topic!", True),
        ("camera /nobody", True),
    ]


@pytest.mark.integration
def test_what_is_there_in_the_place_of_images_is_said() -> None:
    rclpy.init()
    camera, survey = Node("camera"), Node("survey")
    camera.create_publisher(CompressedImage, "/front/image_raw/compressed", 5)
    camera.create_publisher(String, "/front/name", 5)
    try:
        found = list(camera_findings(survey, ["/front/image_raw", "/front/name"], wait_s=0.5, listen_s=0.2))
    finally:
        camera.destroy_node()
        survey.destroy_node()
        rclpy.shutdown()
    assert [finding.found for finding in found] == [
        "nobody publishes images but compressed ones, on /front/image_raw/compressed",
        "it carries std_msgs/msg/String, no images",
    ]
    assert "parameter transport" in found[0].remedy
    assert "image topic" in found[1].remedy


def test_images_that_cannot_be_segmented_are_told() -> None:
    stamp = Image().header.stamp
    assert _size_of(image_message(np.zeros((4, 6), np.float32), "32FC1", stamp=stamp)) == (
        "6 x 4 32FC1, no picture",
        "",
    )
    assert "encoding 'strange' is not supported" in _size_of(Image(encoding="strange", height=4, width=4))[1]
    assert "publish sensor_msgs/CompressedImage" in _size_of(CompressedImage(format="jpeg", data=b"no picture"))[1]
