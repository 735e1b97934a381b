"""One camera's subscriptions on a real network: what a frame takes along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from support.ros_harness import RELIABLE
from support.ros_subject import Subject, ros_subject

from lwseg_ros.node.camera_input import CameraInput
from lwseg_ros.node.frame import Frame
from lwseg_ros.node.mailbox import Mailbox
from lwseg_ros.node.parameters import Settings

pytestmark = pytest.mark.integration

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
CALIBRATED = [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]


@pytest.fixture
def subject() -> Iterator[Subject]:
    with ros_subject("subject") as node:
        yield node


@pytest.fixture
def camera() -> Iterator[Subject]:
    with ros_subject("camera") as node:
        yield node


def open_input(subject: Subject, camera: str = "front") -> tuple[CameraInput, Mailbox[Frame]]:
    node: Any = subject.node
    source = CameraInput(node, camera, Settings)
    mailbox: Mailbox[Frame] = Mailbox([camera])
    source.open(mailbox)
    return source, mailbox


def test_a_frame_keeps_the_calibration_that_was_there_when_it_came(subject: Subject, camera: Subject) -> None:
    source, mailbox = open_input(subject)
    images = camera.node.create_publisher(Image, "/front/image", RELIABLE)
    infos = camera.node.create_publisher(CameraInfo, "/front/camera_info", qos_profile_sensor_data)
    subject.spin_until(lambda: images.get_subscription_count() and infos.get_subscription_count(), "subscriptions")
    subject.spin_for(1.0)

    def send(*widths: int) -> CameraInfo | None:
        """Publish calibrations of some widths, then an image, all before the input looks; the calibration that it has then."""
        before = source.statistics.snapshot(0.0).received
        for width in widths:
            infos.publish(CameraInfo(width=width))
        images.publish(Image())
        camera.spin_for(0.2)
        subject.spin_until(lambda: source.statistics.snapshot(0.0).received == before + 1, "the image")
        return mailbox.take()["front"].camera_info

    assert send() is None
    first = send(1)
    assert first is not None, "of a pair that waits, the calibration is taken first"
    assert first.width == 1
    assert send() is first
    infos.publish(CameraInfo(width=2))
    subject.spin_until(lambda: send().width == 2, "the next calibration")  # type: ignore[union-attr]
    assert first.width == 1


@pytest.mark.parametrize("name", ["", "front"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_calibration_that_was_published_once_before_is_received(
    subject: Subject, camera: Subject, name: str, beside: bool
) -> None:
    topic = f"/{name}/camera_info" if name else "/camera_info"
    latched = camera.node.create_publisher(CameraInfo, topic, LATCHED)
    latched.publish(CameraInfo(k=CALIBRATED))
    if beside:  # one who does not keep what it sent
        camera.node.create_publisher(CameraInfo, topic, qos_profile_sensor_data)
    source, _ = open_input(subject, name)
    assert source.state().info_topic == topic
    subject.spin_until(lambda: source.state().calibration == "received", "the calibration")


def test_a_latched_calibration_may_come_later(subject: Subject, camera: Subject) -> None:
    source, _ = open_input(subject)
    subject.spin_for(0.3)
    assert source.state().calibration == "none has come on /front/camera_info; -r front/camera_info:=TOPIC"
    latched = camera.node.create_publisher(CameraInfo, "/front/camera_info", LATCHED)
    latched.publish(CameraInfo())
    subject.spin_until(lambda: "not calibrated" in source.state().calibration, "the calibration")


def test_where_a_calibration_was_remapped_to_is_said(subject: Subject) -> None:
    node: Any = subject.node
    remapped = Node("remapped", context=node.context, cli_args=["--ros-args", "-r", "camera_info:=/camera/info"])
    source = CameraInput(remapped, "", Settings)
    source.open(Mailbox([""]))
    assert source.state().calibration == "none has come on /camera/info"
    source.close()
    remapped.destroy_node()


def test_closing_leaves_nothing_and_the_calibration_stays(subject: Subject, camera: Subject) -> None:
    latched = camera.node.create_publisher(CameraInfo, "/front/camera_info", LATCHED)
    latched.publish(CameraInfo(k=CALIBRATED))
    source, mailbox = open_input(subject)
    subject.spin_until(lambda: source.state().calibration == "received", "the calibration")
    source.close()
    assert not list(subject.node.subscriptions)
    assert not list(subject.node.timers)
    assert source.state().topic == ""
    source.close()
    camera.node.destroy_publisher(latched)
    source.open(mailbox)
    assert source.state().calibration == "received"
