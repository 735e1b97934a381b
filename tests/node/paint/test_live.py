"""The node `paint` in a process of its own: what it publishes, and that nothing it is sent ends it or colours a point wrongly."""

from __future__ import annotations

import json
import signal
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import String
from support.ros_harness import NodeProcess, Probe, count_values, image_message, values

from lwseg_ros.painting.point_cloud import read_points

pytestmark = pytest.mark.integration

HEIGHT, WIDTH = 40, 60
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
POINTS = "/paint/points"
INFO = {
    "classes": [
        {"id": 0, "name": "road", "color_rgb": [128, 64, 128], "threshold": 9},
        {"id": 1, "name": "car", "color_rgb": [0, 0, 142], "threshold": None},
    ],
    "level": 0.1,
    "ignore_id": 7,
}
# Ahead to the left and to the right, behind, no echo, and hidden by nothing; camera and lidar look the same way.
XYZ = [(-1.0, 0.0, 5.0), (1.0, 0.0, 5.0), (0.0, 0.0, -5.0), (float("nan"),) * 3]


class Car:
    """Publishes what a car with one camera and one lidar does."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.stamp_ns = probe.now().nanoseconds
        transform = TransformStamped()
        transform.header.frame_id, transform.child_frame_id = "lidar", "camera_optical"
        transform.transform.rotation.w = 1.0
        probe.publisher("/transforms_static", TransformStamped, LATCHED).publish(transform)
        probe.publisher("/label_info_json", String, LATCHED).publish(String(data=json.dumps(INFO)))
        for topic, kind in (("label", Image), ("uncertainty", Image), ("accepted", Image), ("camera_info", CameraInfo)):
            probe.publisher(f"/{topic}", kind)
        probe.publisher("/points", PointCloud2)
        probe.subscribe(POINTS, PointCloud2)

    def stamp(self) -> Any:
        stamp = self.probe.now().to_msg()
        stamp.sec, stamp.nanosec = divmod(self.stamp_ns, 1_000_000_000)
        return stamp

    def send(
        self, cloud: PointCloud2 | None = None, label: np.ndarray | None = None, k: list[float] | None = None
    ) -> None:
        """Publish images and a sweep of the next moment."""
        self.stamp_ns += 100_000_000
        camera_info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.0] * 5)
        camera_info.k = k or [30.0, 0.0, 30.0, 0.0, 30.0, 20.0, 0.0, 0.0, 1.0]
        self.probe.publish("/camera_info", camera_info)
        if label is None:
            label = np.zeros((HEIGHT, WIDTH), np.uint8)
            label[:, WIDTH // 2 :] = 1
        images = {"label": label, "uncertainty": label * 0 + 40, "accepted": label * 0 + 255}
        for topic, image in images.items():
            self.probe.publish(f"/{topic}", image_message(image, "mono8", stamp=self.stamp()))
        message = cloud or cloud_message()
        message.header.stamp, message.header.frame_id = self.stamp(), message.header.frame_id or "lidar"
        self.probe.publish("/points", message)

    def painted(self) -> np.ndarray:
        """The points of the last moment as they come back."""
        stamp = self.stamp()
        return read_points(self.probe.message_with_stamp(POINTS, (stamp.sec, stamp.nanosec)))

    def counts(self, accept: Callable[[dict[str, int]], Any]) -> dict[str, int]:
        return count_values(self.probe.status("paint: points", lambda status: accept(count_values(status))))


def cloud_message(**changes: Any) -> PointCloud2:
    message = PointCloud2(height=1, width=len(XYZ), point_step=12, row_step=12 * len(XYZ))
    message.fields = [
        PointField(name=name, offset=4 * number, datatype=PointField.FLOAT32, count=1)
        for number, name in enumerate("xyz")
    ]
    message.data = b"".join(struct.pack("<3f", *point) for point in XYZ)
    frame_id = changes.pop("frame_id", "")
    for name, value in changes.items():
        setattr(message, name, value)
    message.header.frame_id = frame_id
    return message


@pytest.fixture(scope="module")
def car(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Car]:
    probe = Probe("/paint")
    parameters = {"diagnostics_rate_hz": 20.0, "max_wait_ms": 1500.0, "input_timeout_s": 30.0}
    with NodeProcess(tmp_path_factory.mktemp("paint"), parameters, program=("-m", "lwseg_ros.node.paint")) as process:
        car = Car(probe)
        yield car
        assert process.end(signal.SIGTERM) == 0, process.output
    probe.close()


def test_points_come_back_with_labels_and_colours(car: Car) -> None:
    before = car.counts(lambda counts: True)
    car.send()
    points = car.painted()
    assert points.dtype.names == ("x", "y", "z", "rgb", "label", "uncertainty", "accepted")
    assert points["label"].tolist() == [0, 1, 7, 7]
    assert points["uncertainty"].tolist() == [40, 40, 255, 255]
    assert points["accepted"].tolist() == [255, 255, 0, 0]
    assert points["rgb"].copy().view(np.uint32).tolist() == [0x804080, 0x00008E, 0, 0]
    after = car.counts(lambda counts: counts["painted"] > before["painted"])
    assert after["received"] == after["painted"] == before["received"] + 1


def test_points_that_no_camera_sees_can_be_dropped(car: Car) -> None:
    assert car.probe.set_parameters(unseen_points="drop") == (True, "")
    car.send()
    assert car.painted()["label"].tolist() == [0, 1]
    assert car.probe.set_parameters(unseen_points="keep") == (True, "")
    accepted, reason = car.probe.set_parameters(unseen_points="hide")
    assert not accepted
    assert reason == "unseen_points is 'hide'; accepted: one of keep, drop"


XZ = [PointField(name=name, offset=0, datatype=7, count=1) for name in "xz"]
BIG = np.array(XYZ, ">f4").tobytes()


@pytest.mark.parametrize(
    ("cloud", "labels"),
    [
        (cloud_message(width=0, row_step=0, data=b""), []),
        (cloud_message(is_bigendian=True, data=BIG), [0, 1, 7, 7]),
        (cloud_message(height=2, width=2, row_step=24), [0, 1, 7, 7]),
    ],
    ids=["no points", "big-endian", "organised"],
)
def test_unusual_clouds_are_painted(car: Car, cloud: PointCloud2, labels: list[int]) -> None:
    car.send(cloud)
    assert car.painted()["label"].tolist() == labels


@pytest.mark.parametrize(
    ("changes", "cause", "said"),
    [
        ({"cloud": cloud_message(fields=XZ)}, "bad", "no field y"),
        ({"cloud": cloud_message(data=b"123")}, "bad", "truncated"),
        ({"cloud": cloud_message(width=10_000_000)}, "bad", "10000000 points"),
        ({"cloud": cloud_message(frame_id="radar")}, "no_transform", "'radar' and 'camera_optical' are not connected"),
        ({"k": [0.0] * 9}, "no_calibration", "all zero"),
        ({"label": np.zeros((HEIGHT, WIDTH + 2), np.uint8)}, "no_calibration", "of images of 40 x 60 pixels"),
    ],
    ids=["no y", "truncated", "ten million", "no transform", "not calibrated", "another size"],
)
def test_what_cannot_be_painted_is_counted_and_said(car: Car, changes: dict[str, Any], cause: str, said: str) -> None:
    assert car.probe.set_parameters(max_wait_ms=50.0)[0]
    before = car.counts(lambda counts: True)
    car.send(**changes)
    after = car.counts(lambda counts: counts[f"dropped_{cause}"] > before[f"dropped_{cause}"])
    assert after["painted"] == before["painted"]
    assert (
        after["received"]
        == sum(value for name, value in after.items() if name.startswith("dropped_")) + after["painted"]
    )
    car.probe.status("paint: points", lambda status: said in values(status)["last_drop"])
    assert car.probe.set_parameters(max_wait_ms=1500.0)[0]
    car.send()
    assert car.painted()["label"].tolist() == [0, 1, 7, 7]


def test_it_is_a_managed_node(car: Car) -> None:
    assert car.probe.transition(Transition.TRANSITION_DEACTIVATE)
    assert car.probe.state() == "inactive"
    car.probe.status("paint: points", lambda status: status.message == "inactive")
    assert car.probe.transition(Transition.TRANSITION_CLEANUP)
    assert car.probe.set_parameters(cameras=["left", "right"]) == (True, "")
    assert car.probe.transition(Transition.TRANSITION_CONFIGURE)
    assert car.probe.transition(Transition.TRANSITION_ACTIVATE)
    car.probe.status("paint: camera right", lambda status: status.level == DiagnosticStatus.OK)
