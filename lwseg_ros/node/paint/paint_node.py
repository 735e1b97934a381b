"""The lifecycle node `paint`: the ROS 2 edge of painting. Parameters, topics, states and diagnostics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import PointCloud2, PointField

from lwseg_ros.node.label_relay import LabelRelay
from lwseg_ros.node.managed_node import ManagedNode
from lwseg_ros.node.paint.diagnostics import camera_status, points_status
from lwseg_ros.node.paint.inputs import PaintInputs
from lwseg_ros.node.paint.parameters import PAINT_PARAMETERS, PaintSettings
from lwseg_ros.node.paint.sources import Sources
from lwseg_ros.node.paint.sweep_queue import SweepQueue
from lwseg_ros.node.paint.transforms import Transforms, listen
from lwseg_ros.node.paint.worker import SWEEP_CAUSES, CameraCounts, PaintedSweep, PaintWorker
from lwseg_ros.node.statistics import FrameSnapshot, FrameStatistics
from lwseg_ros.painting.point_cloud import fill_painted

FOLLOW_PERIOD_S = 0.5
# Below `process.END_TIMEOUT_S`; four million points take less for each camera.
STOP_TIMEOUT_S = 3.0


class PaintNode(ManagedNode[PaintSettings]):
    """Paint a lidar's points with the labels of one or several cameras.

    Configured it holds its publisher and listens to transforms; active also its subscriptions and the thread that paints.
    Diagnostics run in every state.
    """

    def __init__(self, arguments: Sequence[str] = (), relay: LabelRelay | None = None) -> None:
        """Declare the parameters; arguments as in `ManagedNode`. relay: where labels come from, in place of the topics."""
        super().__init__("paint", PaintSettings(), PAINT_PARAMETERS, arguments)
        self._relay = relay
        self._points: Any = None
        self._transforms: Transforms | None = None
        self._inputs: PaintInputs | None = None
        self._worker: PaintWorker | None = None
        self._stopped: list[PaintWorker] = []  # that had not ended when they were last looked at
        self._statistics = FrameStatistics(time.monotonic(), SWEEP_CAUSES)
        self._reported = self._statistics.snapshot(time.monotonic())
        self._reported_missing: dict[str, Counter[str]] = {}
        self._follow_timer = self.create_timer(FOLLOW_PERIOD_S, self._follow, clock=self._steady_clock)

    # States

    def _configure(self) -> None:
        self._points = self._outputs.create(PointCloud2, "~/points")
        self._transforms = listen(self, self._warn_rarely)

    def _activate(self) -> None:
        if self._transforms is None:
            raise RuntimeError("the node is not configured")
        now_s = time.monotonic()
        self._statistics.restart(now_s)
        self._reported_missing = {}
        queue = SweepQueue(self._settings.cameras, now_s)
        self._worker = PaintWorker(
            queue,
            self._transforms,
            settings=lambda: self._settings,
            statistics=self._statistics,
            publish=self._publish,
            report=self._warn_rarely,
            sources=Sources(self.resolve_topic_name if self._relay is None else None),
        )
        self._worker.start()
        self._inputs = PaintInputs(
            self, queue, self._statistics, lambda: self._settings, self._warn_rarely, self._relay
        )

    def _stop(self) -> None:
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if self._worker is not None:
            self._worker.stop(STOP_TIMEOUT_S)
            self._stopped = [worker for worker in (*self._stopped, self._worker) if worker.is_alive]
            self._worker = None

    def _release(self) -> None:
        self._stop()
        if self._transforms is not None:
            self._transforms.close()
            self._transforms = None
        self._outputs.close()
        self._points = None

    def _hangs(self) -> bool:
        return any(worker.is_alive for worker in self._stopped)

    # Output

    def _publish(self, result: PaintedSweep) -> None:
        """Publish a painted sweep; called by the thread that paints."""
        painted, publisher = result.painted, self._points
        rgb = result.classes.rgb[painted.label]
        rgb[~painted.is_seen] = 0
        message = PointCloud2()
        fill_painted(
            message,
            result.sweep.message,
            result.points,
            (painted.label, painted.uncertainty, painted.accepted, rgb),
            make_field=PointField,
            keep=painted.is_seen if self._settings.unseen_points == "drop" else None,
        )
        publisher.publish(message)

    def _follow(self) -> None:
        if self._inputs is not None:
            self._inputs.points.follow()

    def _statuses(self, name: str) -> list[DiagnosticStatus]:
        snapshot: FrameSnapshot = self._statistics.snapshot(time.monotonic())
        publishers = self._inputs.points.publishers() if self._inputs else []
        statuses = [
            points_status(
                name,
                self._state,
                snapshot,
                self._reported,
                topic=self.resolve_topic_name("points"),
                num_publishers=len(publishers),
                input_timeout_s=self._settings.input_timeout_s,
                last_drop=self._worker.last_drop if self._worker else "",
            )
        ]
        counts: dict[str, CameraCounts] = self._worker.counts if self._worker else {}
        for camera, found in counts.items():
            bad_images = self._inputs.bad_images[camera] if self._inputs else 0
            previous = self._reported_missing.get(camera, Counter())
            statuses.append(camera_status(name, camera, found, previous, bad_images))
            self._reported_missing[camera] = Counter(found.missing)
        self._reported = snapshot
        return statuses
