"""Both nodes in one process: labels reach the points without a message, and each node keeps its own arguments."""

from __future__ import annotations

import json
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from support.ros_harness import NodeProcess, Probe, image_message
from support.tiny_model import ACCEPTANCE, CLASSES, write_tiny_model

from lwseg_ros.node.launch_arguments import rviz_remappings, segment_and_paint_arguments
from lwseg_ros.node.segment_and_paint import split_arguments
from lwseg_ros.painting.point_cloud import read_points

HEIGHT, WIDTH = 48, 64
CONFIG = Path(__file__).parents[2] / "config"
PROGRAM = ("-m", "lwseg_ros.node.segment_and_paint")
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
LEFT, RIGHT = CLASSES[0], CLASSES[3]


def test_each_node_gets_its_own_arguments_and_both_the_rest() -> None:
    words = (
        "program --segment -r image:=/a --paint -r points:=/b --ros-args -p use_sim_time:=true --segment -p model:=c"
    )
    both, segment, paint = split_arguments(words.split())
    assert both == ["program", "--ros-args", "-p", "use_sim_time:=true"]
    assert segment == ["--ros-args", "-r", "image:=/a", "-p", "model:=c"]
    assert paint == ["--ros-args", "-r", "points:=/b"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    acceptance = {**ACCEPTANCE, "thresholds": [254, 254, 254, None, 254]}  # cars are never accepted
    path: Path = write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx", acceptance=acceptance).path
    return path


def arguments(model: Path) -> tuple[str, ...]:
    """What the launch file gives, with the shipped parameters file, and what this test needs beside it."""
    segment = (f"model:={model}", "backend:=onnxruntime", "num_threads:=1", "max_age_ms:=0")
    paint = ("fixed_frame:=''", "max_wait_ms:=5000.0", "max_time_difference_ms:=1000.0", "input_timeout_s:=60.0")
    return (
        *PROGRAM,
        *segment_and_paint_arguments([""], "/camera/image_raw", "", "/lidar/points", {"diagnostics_rate_hz": 10.0}),
        *("--segment", *(word for value in segment for word in ("-p", value))),
        *("--paint", *(word for value in paint for word in ("-p", value))),
        *("--ros-args", "--params-file", str(CONFIG / "vehicle.params.yaml")),
    )


class Car:
    """Publishes what a car with one camera and one lidar does, both looking the same way."""

    def __init__(self, probe: Probe, namespace: str = "") -> None:
        self.probe = probe
        self.points_topic = f"{namespace}/paint/points"
        transform = TransformStamped()
        transform.header.frame_id, transform.child_frame_id = "lidar", "camera_optical"
        transform.transform.rotation.w = 1.0
        probe.publisher(f"{namespace}/transforms_static", TransformStamped, LATCHED).publish(transform)
        probe.subscribe(self.points_topic, PointCloud2)

    def painted(self) -> np.ndarray:
        """Send images and sweeps until a sweep comes back painted, and return its points."""

        def answer() -> Any:
            now = self.probe.now()
            self.send_image(now)
            cloud = PointCloud2(height=1, width=3, point_step=12, row_step=36)
            cloud.fields = [
                PointField(name=name, offset=4 * number, datatype=PointField.FLOAT32, count=1)
                for number, name in enumerate("xyz")
            ]
            xyz = [(-2.0, 0.0, 5.0), (2.0, 0.0, 5.0), (0.0, 0.0, -5.0)]
            cloud.data = b"".join(struct.pack("<3f", *point) for point in xyz)
            cloud.header.stamp, cloud.header.frame_id = now.to_msg(), "lidar"
            self.probe.publish("/lidar/points", cloud)
            self.probe.spin_for(0.2)
            return self.probe.received[self.points_topic]

        self.probe.received[self.points_topic].clear()
        return read_points(self.probe.spin_until(answer, "a painted sweep")[0])

    def send_image(self, now: Any) -> None:
        """Send an image and its calibration."""
        info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.0] * 5)
        info.k = [32.0, 0.0, 32.0, 0.0, 32.0, 24.0, 0.0, 0.0, 1.0]
        self.probe.publish("/camera/camera_info", info)
        image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        image[:, : WIDTH // 2], image[:, WIDTH // 2 :] = LEFT.color_rgb[::-1], RIGHT.color_rgb[::-1]
        self.probe.publish("/camera/image_raw", image_message(image, stamp=now))


@pytest.fixture(scope="module")
def car(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Car]:
    folder = tmp_path_factory.mktemp("log")
    with closing(Probe()) as probe, NodeProcess(folder, {}, program=arguments(model)) as process:
        yield Car(probe)
        assert process.end(signal.SIGTERM) == 0, process.output
        assert "Traceback" not in process.output


@pytest.mark.integration
def test_points_are_painted_though_nobody_subscribes_labels(car: Car) -> None:
    points = car.painted()
    assert points["label"].tolist() == [LEFT.id, RIGHT.id, 255]
    assert points["accepted"].tolist() == [255, 0, 0]
    red, green, blue = LEFT.color_rgb
    assert points["rgb"].copy().view(np.uint32)[0] == red << 16 | green << 8 | blue
    for topic in ("label", "uncertainty", "accepted", "camera_info", "label_info_json"):
        assert car.probe.node.count_publishers(f"/segment/{topic}") == 1
        assert car.probe.node.count_subscribers(f"/segment/{topic}") == 0
        assert car.probe.node.count_subscribers(f"/{topic}") == 0


def rviz_topics() -> dict[str, str]:
    """The topics that RViz is to show, each with the type that its display takes."""
    displays = yaml.safe_load((CONFIG / "lwseg.rviz").read_text(encoding="utf-8"))["Visualization Manager"]["Displays"]
    kinds = {"rviz_default_plugins/Image": "Image", "rviz_default_plugins/PointCloud2": "PointCloud2"}
    topics = {d["Topic"]["Value"]: f"sensor_msgs/msg/{kinds[d['Class']]}" for d in displays if "Topic" in d}
    moved = dict(rviz_remappings([""], "/camera/image_raw", "", "segment"))
    assert set(moved) == set(topics)
    return {moved[topic]: kind for topic, kind in topics.items()}


def foxglove_topics() -> dict[str, str]:
    """The topics that Foxglove's layout shows, each with the type that its panel takes."""
    layout = json.loads((CONFIG / "lwseg.foxglove.json").read_text(encoding="utf-8"))
    topics = {}

    def leaves(node: Any) -> list[str]:
        return [node] if isinstance(node, str) else leaves(node["first"]) + leaves(node["second"])

    assert sorted(leaves(layout["layout"])) == sorted(layout["configById"])
    for panel in layout["configById"].values():
        if "imageMode" in panel:
            topics[panel["imageMode"]["imageTopic"]] = "sensor_msgs/msg/Image"
        topics |= dict.fromkeys(panel.get("topics", ()), "sensor_msgs/msg/PointCloud2")
    return topics


@pytest.mark.integration
@pytest.mark.parametrize("topics", [rviz_topics, foxglove_topics])
def test_what_rviz_and_foxglove_show_is_published(car: Car, topics: Callable[[], dict[str, str]]) -> None:
    shown = topics()
    of_a_camera = {f"/segment/{kind}" for kind in ("overlay", "uncertainty", "accepted")}
    assert set(shown) >= {"/camera/image_raw", "/paint/points", *of_a_camera}
    car.probe.publisher("/camera/image_raw", Image)  # the camera's own, which the node hears
    for topic, kind in shown.items():
        publishers = car.probe.spin_until(
            lambda topic=topic: car.probe.node.get_publishers_info_by_topic(topic), f"a publisher of {topic}"
        )
        assert [publisher.topic_type for publisher in publishers] == [kind]


@pytest.mark.integration
def test_each_node_goes_through_its_states_by_itself(car: Car) -> None:
    client = car.probe.node.create_client(ChangeState, "/paint/change_state")

    def change(number: int) -> None:
        request = ChangeState.Request(transition=Transition(id=number))
        car.probe.spin_until(client.service_is_ready, "the service of paint")
        future = client.call_async(request)
        assert car.probe.spin_until(lambda: future.done() and future.result(), "the transition of paint").success

    change(Transition.TRANSITION_DEACTIVATE)
    assert car.probe.state() == "active"  # segment's
    car.probe.status("paint: points", lambda status: status.message == "inactive")
    car.send_image(car.probe.now())  # with nobody to take the labels
    change(Transition.TRANSITION_ACTIVATE)
    assert car.painted()["label"].tolist() == [LEFT.id, RIGHT.id, 255]  # what they mean was kept
    assert car.probe.transition(Transition.TRANSITION_DEACTIVATE)
    assert car.probe.transition(Transition.TRANSITION_CLEANUP)
    assert car.probe.transition(Transition.TRANSITION_CONFIGURE)
    assert car.probe.transition(Transition.TRANSITION_ACTIVATE)
    assert car.painted()["label"].tolist() == [LEFT.id, RIGHT.id, 255]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("--paint", "-p", "unseen_points:=hide"), 1, "unseen_points is 'hide'; accepted: one of keep, drop"),
        (("--segment", "-p", "model:=/nowhere.onnx"), 1, "cannot configure: no model '/nowhere.onnx'"),
        (("--paint", "--nonsense"), 2, "wrong ROS arguments: ['--nonsense']; see --help"),
    ],
)
def test_what_is_wrong_with_one_node_ends_both(
    words: tuple[str, ...], exit_code: int, said: str, tmp_path: Path
) -> None:
    with NodeProcess(tmp_path, {}, program=(*PROGRAM, *words)) as process:
        assert process.wait() == exit_code
        assert said in process.output
        assert len(process.output.strip().splitlines()) == 1
