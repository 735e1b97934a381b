"""What the node `paint` takes in, from the topics of a real node: what it keeps of it, what it refuses, and that it cleans up."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from builtin_interfaces.msg import Time as TimeMessage
from rclpy.clock import ClockType
from rclpy.exceptions import NameValidationException
from rclpy.parameter import Parameter
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from support.ros_harness import image_message
from support.ros_subject import Subject, ros_subject

from lwseg_ros.errors import PointCloudError
from lwseg_ros.node.label_relay import LabelRelay, RelayedLabels
from lwseg_ros.node.paint.inputs import PaintInputs
from lwseg_ros.node.paint.parameters import PaintSettings
from lwseg_ros.node.paint.sweep_queue import Sweep, SweepQueue
from lwseg_ros.node.paint.worker import SWEEP_CAUSES
from lwseg_ros.node.publishers import OUTPUT_QOS
from lwseg_ros.node.statistics import FrameStatistics
from lwseg_ros.painting.point_cloud import read_points

pytestmark = pytest.mark.integration

SECOND = 1_000_000_000
STAMP_NS = 1_700_000_000 * SECOND
PIXELS = np.zeros((4, 6), np.uint8)


def pixels(encoding: str) -> Image:
    return image_message(PIXELS, encoding, stamp=TimeMessage())


class Bench:
    """The inputs of a node, which publishes what they hear itself."""

    def __init__(self, subject: Subject, *cameras: str, relay: LabelRelay | None = None) -> None:
        self.subject = subject
        self.queue = SweepQueue(cameras or ("front",), time.monotonic())
        self.statistics = FrameStatistics(time.monotonic(), SWEEP_CAUSES)
        self.reports: list[str] = []
        self.inputs = PaintInputs(subject.node, self.queue, self.statistics, PaintSettings, self.reports.append, relay)
        self._publishers: dict[str, Any] = {}

    def publish(self, topic: str, message: Any, stamp_ns: int | None = STAMP_NS) -> None:
        if stamp_ns is not None:
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, SECOND)
        if topic not in self._publishers:
            self._publishers[topic] = self.subject.node.create_publisher(type(message), topic, OUTPUT_QOS)
            self.subject.spin_until(self._publishers[topic].get_subscription_count, f"a subscription of {topic}")
        self._publishers[topic].publish(message)

    def see(self, stamp_ns: int) -> None:
        images = {"label": PIXELS, "uncertainty": PIXELS}
        self.inputs.take_labels(RelayedLabels("front", stamp_ns, "optical", images, None))

    def sees(self, stamp_ns: int) -> bool:
        return self.queue.histories["front"].nearest(stamp_ns, 0) is not None

    def dropped(self) -> Counter[str]:
        return +Counter(self.statistics.snapshot(time.monotonic()).dropped)


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    with ros_subject("paint") as subject:
        yield lambda *cameras, **options: Bench(subject, *cameras, **options)


def test_images_that_are_no_labels_or_have_no_stamp_are_bad(bench: Callable[..., Bench]) -> None:
    one = bench()
    bad = one.inputs.bad_images

    def refused(count: int, said: str, encoding: str, stamp_ns: int) -> None:
        one.publish("front/label", pixels(encoding), stamp_ns)
        one.subject.spin_until(lambda: bad["front"] == count, "a bad image")
        assert said in one.reports[-1]

    refused(
        1, "its encoding is 'bayer_rggb8'; accepted: mono8, 8UC1, and of uncertainty 32FC1", "bayer_rggb8", STAMP_NS
    )
    refused(2, "label of camera front cannot be used: its stamp is 0 s; accepted: above 0", "mono8", 0)
    refused(3, "its stamp is -1 s", "8UC1", -SECOND)
    for number, encoding in enumerate(("mono8", "8UC1")):
        one.publish("front/label", pixels(encoding), STAMP_NS + number)
        one.publish("front/uncertainty", pixels("mono8"), STAMP_NS + number)
        one.subject.spin_until(lambda number=number: one.sees(STAMP_NS + number), "a label")
    assert bad == {"front": 3}
    one.see(0)  # as the relay does
    assert bad == {"front": 4}
    assert not one.sees(0)


def test_each_image_has_the_calibration_of_its_stamp(bench: Callable[..., Bench]) -> None:
    one = bench()
    history = one.queue.histories["front"]
    for number in range(2):
        one.publish("front/camera_info", CameraInfo(height=4 + number, width=6), STAMP_NS + number)
        one.subject.spin_until(
            lambda number=number: history.camera_info and history.camera_info.height == 4 + number, "a calibration"
        )
    assert [history.camera_info_at(STAMP_NS + number).height for number in range(3)] == [4, 5, 5]


def test_labels_are_forgotten_after_a_while(bench: Callable[..., Bench]) -> None:
    one = bench()
    stamps_ns = [STAMP_NS + number * SECOND // 10 for number in range(40)]
    for stamp_ns in stamps_ns:
        one.see(stamp_ns)
    kept_ns = [stamp_ns for stamp_ns in stamps_ns if one.sees(stamp_ns)]
    # The default max_wait_ms and max_time_difference_ms, and a second.
    assert kept_ns == [stamp_ns for stamp_ns in stamps_ns if stamp_ns >= stamps_ns[-1] - 1_460_000_000]


def test_a_cloud_of_too_many_points_waits_without_its_data(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.publish("points", PointCloud2(height=1, width=10_000_000, point_step=1, data=bytes(1000)))
    one.subject.spin_until(lambda: one.queue.others_wait, "a sweep")
    sweep = one.queue.take()
    assert sweep is not None
    assert len(sweep.message.data) == 0
    with pytest.raises(PointCloudError, match="it has 10000000 points; at most"):
        read_points(sweep.message)


def test_a_sweep_that_comes_too_late_is_inactive(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.queue.close()
    one.publish("points", PointCloud2())
    one.subject.spin_until(one.dropped, "a drop")
    assert one.dropped() == {"inactive": 1}


def test_a_topic_that_cannot_be_leaves_no_subscription(bench: Callable[..., Bench]) -> None:
    with pytest.raises(NameValidationException):
        bench("front", "no name")
    with ros_subject("other") as subject:
        before = {subscription.topic_name for subscription in subject.node.subscriptions}
        with pytest.raises(NameValidationException):
            Bench(subject, "front", "no name")
        assert {subscription.topic_name for subscription in subject.node.subscriptions} == before


def test_labels_that_mean_something_else_are_forgotten(bench: Callable[..., Bench]) -> None:
    one = bench()
    texts = [json.dumps({"classes": [{"id": id_, "color_rgb": [1, 2, 3]}], "ignore_id": None}) for id_ in (0, 1)]
    one.see(STAMP_NS)  # what they mean may come after them
    for _ in range(2):
        one.inputs.take_label_info(texts[0])
        assert one.sees(STAMP_NS)
    one.inputs.take_label_info(texts[1])
    assert not one.sees(STAMP_NS)


def test_a_clock_that_becomes_another_or_goes_back_begins_anew(bench: Callable[..., Bench]) -> None:
    one = bench()

    def wait_and_see() -> None:
        one.see(STAMP_NS)
        assert one.queue.put(Sweep(PointCloud2(), 0.0)) == 0
        assert one.sees(STAMP_NS)

    def has_begun_anew(num_dropped: int) -> bool:
        return not one.sees(STAMP_NS) and not one.queue.others_wait and one.dropped() == {"superseded": num_dropped}

    def set_clock(now_s: float) -> None:
        one.subject.node.get_clock().set_ros_time_override(Time(seconds=now_s, clock_type=ClockType.ROS_TIME))

    wait_and_see()
    one.subject.node.set_parameters([Parameter("use_sim_time", value=True)])
    one.subject.spin_until(lambda: has_begun_anew(1), "another clock")
    wait_and_see()
    for now_s in (8, 9, 8.5):  # a little back is none
        set_clock(now_s)
        assert one.sees(STAMP_NS)
    set_clock(1)
    assert has_begun_anew(2)
    one.inputs.close()
    wait_and_see()
    set_clock(0)
    assert one.sees(STAMP_NS)
