"""The thread that paints: what it waits for, and that every sweep is painted or counted by cause."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from sensor_msgs.msg import CameraInfo, PointCloud2, PointField

from lwseg_ros.errors import TransformError
from lwseg_ros.node.paint.classes import LabelClasses
from lwseg_ros.node.paint.parameters import PaintSettings
from lwseg_ros.node.paint.sources import Sources
from lwseg_ros.node.paint.sweep_queue import DEPTH, Sweep, SweepQueue
from lwseg_ros.node.paint.worker import SWEEP_CAUSES, PaintedSweep, PaintWorker
from lwseg_ros.node.statistics import FrameStatistics
from lwseg_ros.painting.transforms import TransformBuffer

SHAPE = (40, 60)
MS = 1_000_000
TIMEOUT_S = 20.0
CLASSES = LabelClasses(np.arange(256, dtype=np.uint32), 255, False)


class Bench:
    """A worker with its queue; `hold` keeps it from publishing."""

    def __init__(self, *cameras: str, **settings: Any) -> None:
        self.queue = SweepQueue(cameras or ("front",), time.monotonic())
        self.transforms = TransformBuffer()
        self.settings = PaintSettings(**({"fixed_frame": "", "max_wait_ms": 10_000.0} | settings))
        self.statistics = FrameStatistics(time.monotonic(), SWEEP_CAUSES)
        self.published: list[PaintedSweep] = []
        self.reports: list[str] = []
        self.hold = False
        self.worker = PaintWorker(
            self.queue,
            self.transforms,  # type: ignore[arg-type]
            settings=lambda: self.settings,
            statistics=self.statistics,
            publish=self._publish,
            report=self.reports.append,
            sources=Sources("/segment/{}".format),
        )
        for camera in self.queue.histories:
            self.transforms.add("lidar", camera, 0, (0, 0, 0), (0, 0, 0, 1), is_static=True)
        self.queue.classes = CLASSES
        self.worker.start()

    def _publish(self, result: PaintedSweep) -> None:
        self.wait_until(lambda: not self.hold)
        self.published.append(result)

    def calibrate(self, camera: str = "front") -> None:
        info = CameraInfo(height=SHAPE[0], width=SHAPE[1], distortion_model="plumb_bob")
        info.k = [30.0, 0.0, 30.0, 0.0, 30.0, 20.0, 0.0, 0.0, 1.0]
        self.queue.histories[camera].camera_info = info

    def see(self, label: int, stamp_ns: int, camera: str = "front", *, uncertainty: int = 9) -> None:
        with self.queue.changed:
            self.queue.last_image_s[camera] = time.monotonic()
            for kind, value in (("label", label), ("uncertainty", uncertainty)):
                self.queue.histories[camera].add(kind, stamp_ns, camera, np.full(SHAPE, value, np.uint8))
            self.queue.changed.notify_all()

    def sweep(self, stamp_ns: int) -> None:
        message = PointCloud2(height=1, width=1, point_step=12, row_step=12, data=np.float32([0, 0, 5]).tobytes())
        message.fields = [PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate("xyz")]
        message.header.frame_id = "lidar"
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        self.statistics.add_arrival(time.monotonic())
        for _ in range(self.queue.put(Sweep(message, time.monotonic()))):
            self.statistics.add_drop("superseded")

    def wait_until(self, condition: Callable[[], Any]) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline_s, (self.reports, self.counts())
            time.sleep(0.002)

    def counts(self) -> SimpleNamespace:
        snapshot = self.statistics.snapshot(time.monotonic())
        dropped = {cause: count for cause, count in snapshot.dropped.items() if count}
        return SimpleNamespace(received=snapshot.received, painted=snapshot.answered, dropped=dropped)

    def labels(self, count: int) -> list[int]:
        """The first point's label of each published sweep."""
        self.wait_until(lambda: len(self.published) >= count)
        return [int(result.painted.label[0]) for result in self.published]


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*cameras: str, **settings: Any) -> Bench:
        made.append(Bench(*cameras, **settings))
        return made[-1]

    yield make
    for one in made:
        one.hold = False
        assert one.worker.stop(TIMEOUT_S)


def test_a_sweep_waits_for_the_images_that_belong_to_it(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.calibrate()
    one.see(0, 950 * MS)
    one.see(1, 1000 * MS)
    one.sweep(1040 * MS)  # nearer to what comes next
    time.sleep(0.05)
    assert not one.published
    one.see(2, 1050 * MS)
    assert one.labels(1) == [2]
    one.sweep(1052 * MS)
    assert one.labels(2) == [2, 2]
    assert one.worker.counts["front"].used == 2


def test_a_sweep_waits_for_a_transform_that_is_late(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.calibrate()
    one.transforms.add("odom", "lidar", 900 * MS, (0, 0, 0), (0, 0, 0, 1))
    one.settings = PaintSettings(fixed_frame="odom", max_wait_ms=10_000.0)
    one.see(1, 1010 * MS)
    one.sweep(1000 * MS)
    time.sleep(0.05)
    assert not one.published
    one.transforms.add("odom", "lidar", 1100 * MS, (0, 0, 0), (0, 0, 0, 1))
    assert one.labels(1) == [1]


def test_what_does_not_come_in_time_is_the_cause(bench: Callable[..., Bench]) -> None:
    one = bench(max_wait_ms=1.0)
    one.sweep(1000 * MS)
    one.wait_until(lambda: one.counts().dropped == {"no_labels": 1})
    one.see(1, 1100 * MS)
    one.sweep(1100 * MS)
    one.wait_until(lambda: one.counts().dropped == {"no_labels": 1, "no_calibration": 1})
    assert one.worker.last_drop.startswith("no camera_info on /segment/front/camera_info: ")
    one.calibrate()
    one.settings = PaintSettings(fixed_frame="odom", max_wait_ms=1.0)
    one.sweep(1101 * MS)
    one.wait_until(lambda: one.counts().dropped == {"no_labels": 1, "no_calibration": 1, "no_transform": 1})
    assert "'odom'" in one.worker.last_drop
    one.queue.classes = None
    one.sweep(1100 * MS)
    one.wait_until(lambda: one.counts().dropped.get("no_classes") == 1)
    one.queue.classes = CLASSES
    one.sweep(1100 * MS)
    assert one.labels(1) == [1]
    counts = one.counts()
    assert counts.received == counts.painted + sum(counts.dropped.values())
    assert dict(one.worker.counts["front"].missing) == {"no_labels": 1, "no_calibration": 1, "no_transform": 1}


def test_the_cameras_that_can_paint_and_a_silent_one_is_not_waited_for(bench: Callable[..., Bench]) -> None:
    one = bench("front", "rear", input_timeout_s=0.1)
    one.calibrate()
    one.see(1, 1000 * MS)
    one.sweep(1000 * MS)
    assert one.labels(1) == [1]
    assert dict(one.worker.counts["rear"].missing) == {"no_labels": 1}
    one.calibrate("rear")
    one.see(1, 1100 * MS)
    one.see(2, 1100 * MS, "rear", uncertainty=3)
    one.sweep(1100 * MS)
    assert one.labels(2) == [1, 2]


def test_sizes_that_differ_within_a_stamp_are_no_labels(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.calibrate()
    one.see(1, 1000 * MS)
    one.queue.histories["front"].add("uncertainty", 1000 * MS, "front", np.zeros((40, 61), np.uint8))
    one.sweep(1000 * MS)
    one.wait_until(lambda: one.counts().dropped == {"no_labels": 1})
    assert "have the sizes [(40, 60), (40, 61)]" in one.worker.last_drop


def test_what_waits_too_long_behind_others_is_superseded_and_the_rest_inactive(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.calibrate()
    one.see(1, 1000 * MS)
    one.hold = True
    for _ in range(DEPTH + 3):
        one.sweep(1000 * MS)
    one.wait_until(lambda: one.counts().dropped.get("superseded", 0) >= 1)
    one.hold = False
    one.wait_until(lambda: one.counts().painted)
    one.worker.stop(TIMEOUT_S)
    counts = one.counts()
    assert counts.received == DEPTH + 3 == counts.painted + sum(counts.dropped.values())


@pytest.mark.parametrize("stamp_ns", [0, -1000 * MS])
def test_sweeps_without_a_stamp_are_bad(bench: Callable[..., Bench], stamp_ns: int) -> None:
    one = bench()
    one.calibrate()
    one.see(1, stamp_ns)
    one.sweep(stamp_ns)
    one.wait_until(lambda: one.counts().dropped == {"bad": 1})
    assert one.worker.last_drop == f"its stamp or first point's time is {stamp_ns / 1e9:g} s; accepted: above 0"


def test_which_images_are_missing_is_said(bench: Callable[..., Bench]) -> None:
    one = bench(max_wait_ms=1.0)
    one.calibrate()
    one.queue.histories["front"].expects_accepted = True
    one.see(1, 1000 * MS)
    one.sweep(1000 * MS)
    one.wait_until(lambda: one.counts().dropped == {"no_labels": 1})
    assert one.worker.last_drop.startswith("no usable image has come on /segment/front/accepted: ")
    one.queue.histories["front"].add("accepted", 900 * MS, "front", np.zeros(SHAPE, np.uint8))
    one.sweep(1000 * MS)
    one.wait_until(lambda: one.counts().dropped == {"no_labels": 2})
    assert one.worker.last_drop == "no accepted within 60 ms of the sweep's middle"


def test_labels_that_come_too_late_are_told_from_those_of_another_clock(bench: Callable[..., Bench]) -> None:
    one = bench(max_wait_ms=1.0)
    one.calibrate()
    one.see(1, 1000 * MS)
    one.sweep(1000 * MS + 900 * MS)
    one.wait_until(lambda: one.counts().dropped == {"no_labels": 1})
    assert "ms after a sweep of their stamp; max_wait_ms is 1: raise it" in one.worker.last_drop
    one.sweep(700 * MS)
    one.wait_until(lambda: one.counts().dropped == {"no_labels": 2})
    assert one.worker.last_drop.startswith("the nearest label is 300 ms after the sweep's middle; ")


def give_up(one: Bench, camera: str) -> None:
    """As after sweeps have missed a camera for 50 s, the last of which waited for it just now."""
    patience, now_s = one.worker._patience[camera], time.monotonic()
    patience.tell(now_s - 50, was_awaited=True, took_part=False)
    patience.tell(now_s, was_awaited=True, took_part=False)


def test_a_camera_that_missed_every_sweep_makes_the_others_wait_no_longer(bench: Callable[..., Bench]) -> None:
    one = bench("front", "rear", max_wait_ms=1e9, input_timeout_s=40.0)
    one.calibrate()
    one.see(1, 1000 * MS)
    one.see(2, 1000 * MS, "rear")
    give_up(one, "rear")  # which has no camera_info
    one.sweep(1000 * MS)
    assert one.labels(1) == [1]
    assert dict(one.worker.counts["rear"].missing) == {"no_calibration": 1}
    one.calibrate("rear")
    one.see(2, 1000 * MS, "rear", uncertainty=3)
    one.sweep(1000 * MS)
    assert one.labels(2) == [1, 2]
    one.sweep(1010 * MS)  # after what it took part in, it is waited for
    one.see(1, 1010 * MS)
    time.sleep(0.05)
    assert len(one.published) == 2
    one.see(2, 1010 * MS, "rear", uncertainty=3)
    assert one.labels(3) == [1, 2, 2]


def test_where_every_camera_missed_every_sweep_they_are_waited_for(bench: Callable[..., Bench]) -> None:
    one = bench(input_timeout_s=40.0)
    one.calibrate()
    give_up(one, "front")
    one.sweep(1000 * MS)
    time.sleep(0.05)
    one.see(1, 1000 * MS)
    assert one.labels(1) == [1]


def test_every_camera_is_tried_before_any_is_again(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench("front", "rear")
    tried: list[str] = []
    lookup = one.transforms.lookup

    def late_in_front(target: str, *others: Any) -> np.ndarray:
        tried.append(target)
        if tried.count("front") < 3 and target == "front":
            raise TransformError("not yet")
        return lookup(target, *others)

    monkeypatch.setattr(one.transforms, "lookup", late_in_front)
    for camera, label, uncertainty in (("front", 1, 9), ("rear", 2, 10)):
        one.calibrate(camera)
        one.see(label, 1000 * MS, camera, uncertainty=uncertainty)
    one.sweep(1000 * MS)
    assert one.labels(1) == [1]
    assert tried == ["front", "rear", "front", "front"]
    assert one.worker.counts["front"].used == one.worker.counts["rear"].used == 1


def test_a_sweep_that_waits_for_transforms_when_the_node_is_deactivated_is_inactive(
    bench: Callable[..., Bench],
) -> None:
    one = bench(max_wait_ms=1e9)
    one.settings = PaintSettings(fixed_frame="odom", max_wait_ms=1e9)
    one.calibrate()
    one.see(1, 1010 * MS)
    one.sweep(1000 * MS)
    one.wait_until(lambda: not one.queue.others_wait)
    time.sleep(0.05)
    assert one.worker.stop(TIMEOUT_S)
    assert one.counts().dropped == {"inactive": 1}


def test_a_sweep_is_given_up_between_cameras(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    one = bench("front", "rear")
    begun: list[Any] = []

    def closes_after_the_first(points: Any, times: Any, views: Any, **_: Any) -> None:
        for view in views:
            begun.append(view)
            one.queue.close()

    monkeypatch.setattr("lwseg_ros.node.paint.worker.paint", closes_after_the_first)
    for camera in ("front", "rear"):
        one.calibrate(camera)
        one.see(1, 1000 * MS, camera)
    one.sweep(1000 * MS)
    one.wait_until(lambda: one.counts().dropped == {"inactive": 1})
    assert len(begun) == 1


def test_a_fault_of_the_program_ends_nothing(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    one = bench()
    one.calibrate()
    one.see(1, 1000 * MS)
    with monkeypatch.context() as patch:
        patch.setattr("lwseg_ros.node.paint.worker.paint", lambda *_, **__: 1 / 0)
        one.sweep(1000 * MS)
        one.wait_until(lambda: one.counts().dropped == {"error": 1})
    assert "ZeroDivisionError" in one.worker.last_drop
    one.sweep(1000 * MS)
    assert one.labels(1) == [1]
