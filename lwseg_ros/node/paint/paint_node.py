"""The lifecycle node `paint`: the ROS 2 edge of painting. Parameters, topics, states and diagnostics."""

from __future__ import annotations

import re
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import NameValidationException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import PointCloud2, PointField

from lwseg_ros.errors import LwsegError
from lwseg_ros.node.paint.diagnostics import camera_status, points_status
from lwseg_ros.node.paint.inputs import PaintInputs
from lwseg_ros.node.paint.parameters import PAINT_PARAMETERS, PaintSettings
from lwseg_ros.node.paint.sweep_queue import SweepQueue
from lwseg_ros.node.paint.transforms import Transforms, listen
from lwseg_ros.node.paint.worker import SWEEP_CAUSES, CameraCounts, PaintedSweep, PaintWorker
from lwseg_ros.node.parameters import faults
from lwseg_ros.node.publishers import PublisherGroup
from lwseg_ros.node.services import survive_requests
from lwseg_ros.node.statistics import FrameSnapshot, FrameStatistics
from lwseg_ros.node.transitions import refuse_impossible_transitions
from lwseg_ros.painting.point_cloud import fill_painted

WARNING_PERIOD_S = 5.0
FOLLOW_PERIOD_S = 0.5
# Below `process.END_TIMEOUT_S`; four million points take less.
STOP_TIMEOUT_S = 3.0


class PaintNode(LifecycleNode):
    """Paint a lidar's points with the labels of one or several cameras.

    Configured it holds its publisher and listens to transforms; active also its subscriptions and the thread that paints.
    Diagnostics run in every state.
    """

    def __init__(self) -> None:
        """Declare the parameters; raises what rclpy raises for an override that does not fit."""
        super().__init__("paint")
        refuse_impossible_transitions(self)
        survive_requests(self)
        self._state = "unconfigured"
        self._settings = PaintSettings()
        self._outputs = PublisherGroup(self)
        self._points: Any = None
        self._transforms: Transforms | None = None
        self._inputs: PaintInputs | None = None
        self._worker: PaintWorker | None = None
        self._hangs = False
        self._statistics = FrameStatistics(time.monotonic(), SWEEP_CAUSES)
        self._reported = self._statistics.snapshot(time.monotonic())
        self._reported_missing: dict[str, Counter[str]] = {}
        self._warned_s: dict[str, float] = {}
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # so that a paused simulation is diagnosed too
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self._follow_timer = self.create_timer(FOLLOW_PERIOD_S, self._follow, clock=steady)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        for name, parameter in PAINT_PARAMETERS.items():
            default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
            self.declare_parameter(name, default, parameter.descriptor())

    # States

    def autostart(self) -> bool:
        """Configure and activate if the parameter says so; False when that failed."""
        if not self._settings.autostart:
            self.get_logger().info("waiting for lifecycle transitions (autostart is false)")
            return True
        steps: tuple[Callable[[], TransitionCallbackReturn], ...] = (self.trigger_configure, self.trigger_activate)
        return all(step() == TransitionCallbackReturn.SUCCESS for step in steps)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Create the publisher and listen to transforms."""
        return self._transition(
            "configure", "inactive", self._configure, lambda: super(PaintNode, self).on_configure(state)
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and paint."""
        return self._transition("activate", "active", lambda: super(PaintNode, self).on_activate(state), self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and finish the sweep in hand."""
        return self._transition(
            "deactivate", "inactive", self._stop, lambda: super(PaintNode, self).on_deactivate(state)
        )

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the publisher and the transforms."""
        return self._transition(
            "clean up", "unconfigured", lambda: super(PaintNode, self).on_cleanup(state), self._release
        )

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop in whatever state and let go of everything."""
        return self._transition("shut down", "finalized", self._release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after an unexpected failure."""
        return self._transition("recover", "unconfigured", self._release)

    def interrupt(self) -> None:
        """Nothing here takes minutes."""

    def close(self) -> bool:
        """End in the finalized state, whatever the present one; False where the thread still paints."""
        if self._state != "finalized":
            self.trigger_shutdown()
        return not self._hangs

    def _transition(self, name: str, goal: str, *actions: Callable[[], Any]) -> TransitionCallbackReturn:
        """Run a transition's actions; rclpy itself would swallow their exceptions without a word."""
        try:
            for action in actions:
                action()
        except (LwsegError, NameValidationException) as error:  # the latter: a topic that becomes too long
            self.get_logger().error(f"cannot {name}: {' '.join(str(error).split())}")
            if self._state != "unconfigured":
                return TransitionCallbackReturn.ERROR
            self._release()
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f"cannot {name}:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        self._state = goal
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        self._points = self._outputs.create(PointCloud2, "~/points")
        self._transforms = listen(self, self._warn)

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
            report=self._warn,
        )
        self._worker.start()
        self._inputs = PaintInputs(self, queue, self._statistics, self._settings, self._warn)

    def _stop(self) -> None:
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if self._worker is not None:
            self._hangs = not self._worker.stop(STOP_TIMEOUT_S)
            self._worker = None

    def _release(self) -> None:
        self._stop()
        if self._transforms is not None:
            self._transforms.close()
            self._transforms = None
        self._outputs.close()
        self._points = None

    # Parameters

    def _on_set_parameters(self, parameters: Sequence[Any]) -> SetParametersResult:
        values = {parameter.name: parameter.value for parameter in parameters}
        found = faults(values, unconfigured=self._state == "unconfigured", parameters=PAINT_PARAMETERS)
        if found:
            return SetParametersResult(successful=False, reason="; ".join(found))
        self._settings = self._settings.changed(values)
        self._timer.timer_period_ns = int(1e9 / self._settings.diagnostics_rate_hz)
        return SetParametersResult(successful=True)

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

    def _warn(self, text: str) -> None:
        """Log what happened, but every kind of trouble only once in five seconds."""
        now_s = time.monotonic()
        kind = re.sub(r"\d+", "#", text)
        if now_s - self._warned_s.get(kind, -WARNING_PERIOD_S) < WARNING_PERIOD_S:
            return
        if len(self._warned_s) > 100:  # texts may hold what a broken publisher makes up
            self._warned_s.clear()
        self._warned_s[kind] = now_s
        self.get_logger().warning(text)

    def _publish_diagnostics(self) -> None:
        name = self.get_fully_qualified_name().lstrip("/")
        snapshot: FrameSnapshot = self._statistics.snapshot(time.monotonic())
        publishers = self._inputs.points.publishers() if self._inputs else []
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [
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
            message.status.append(camera_status(name, camera, found, previous, bad_images))
            self._reported_missing[camera] = Counter(found.missing)
        self._reported = snapshot
        self._diagnostics.publish(message)
