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

from lwseg_ros.node.paint.classes import LabelClasses
from lwseg_ros.node.paint.parameters import PaintSettings
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
        if self.queue.put(Sweep(message, time.monotonic())) is not None:
            self.statistics.add_drop("superseded")

    def wait_until(self, condition: Callable[[], Any]) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline_s, (self.reports, self.counts())
            time.sleep(0.002)

    def counts(self) -> SimpleNamespace:
        snapshot = self.statistics.snapshot(time.monotonic())
        dropped = {cause: count for cause, count in snapshot.dropped.items() if count}
        return SimpleNamespace(received=snapshot.received, painted=snapshot.segmented, dropped=dropped)

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
