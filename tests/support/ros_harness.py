"""Run the real node in a process of its own and talk to it over DDS from this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# A domain of our own on this machine only, so that parallel runs and other robots are not heard.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from lwseg_ros.imaging import messages

TIMEOUT_S = 20.0
RELIABLE = QoSProfile(depth=20)
BEST_EFFORT = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)


class NodeProcess:
    """`python -m lwseg_ros.node` with parameters; a context manager that ends it by SIGINT.

    program: another one that runs the node. environment: added to this process's.
    """

    def __init__(
        self,
        folder: Path,
        parameters: Mapping[str, object],
        arguments: tuple[str, ...] = (),
        *,
        program: tuple[str, ...] = ("-m", "lwseg_ros.node"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        command = [sys.executable, *program, "--ros-args", *arguments]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        self._log = (folder / f"node_{time.monotonic_ns()}.log").open("w+b")
        self.process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGINT)
        self._log.close()

    @property
    def output(self) -> str:
        """What the node has printed so far."""
        self._log.flush()
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def wait(self) -> int:
        """Wait for the process to end by itself; its exit code."""
        try:
            return self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the node did not end; it said:\n{self.output}") from None

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait; the exit code."""
        self.process.send_signal(number)
        return self.wait()


class Probe:
    """A node in this process that publishes images and collects what comes back."""

    def __init__(self, node_name: str = "/segment") -> None:
        self._context = Context()
        rclpy.init(context=self._context)
        self.node = Node("probe", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._target = node_name
        self._publishers: dict[str, Any] = {}
        self._subscriptions: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self.received: dict[str, list[Any]] = defaultdict(list)
        self._stamp_s = 0
        self.subscribe("/diagnostics", DiagnosticArray)

    def close(self) -> None:
        """Leave the network."""
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def spin_until(self, condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
        """Receive until the condition holds and return its value; fail with `what` after the timeout."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline_s, f"{what} did not happen within {timeout_s:g} s"
            self._executor.spin_once(timeout_sec=0.02)

    def spin_for(self, duration_s: float) -> None:
        """Receive for a while."""
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=0.02)

    def publisher(self, topic: str, message_type: Any, qos: QoSProfile = RELIABLE) -> Any:
        """Give a publisher that at least one subscription matches."""
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(message_type, topic, qos)
        publisher = self._publishers[topic]
        self.spin_until(publisher.get_subscription_count, f"a subscription of {topic}")
        return publisher

    def connect(
        self, topic: str, make_message: Callable[[], Any], *answer_topics: str, qos: QoSProfile = RELIABLE
    ) -> None:
        """Publish until every topic answers: the two ends of a connection do not learn of each other at the same time."""
        publisher = self.publisher(topic, type(make_message()), qos)
        for answer_topic in answer_topics:
            self.received[answer_topic].clear()
        silent = list(answer_topics)
        for _ in range(int(TIMEOUT_S / 0.5)):
            publisher.publish(make_message())
            end_s = time.monotonic() + 0.5
            while silent and time.monotonic() < end_s:
                self._executor.spin_once(timeout_sec=0.02)
                silent = [answer_topic for answer_topic in silent if not self.received[answer_topic]]
            if not silent:
                self.spin_for(0.2)
                return
        raise AssertionError(f"no answer on {', '.join(silent)} to messages on {topic}")

    def forget_publisher(self, topic: str) -> None:
        """Destroy a publisher."""
        self.node.destroy_publisher(self._publishers.pop(topic))

    def subscribe(self, topic: str, message_type: Any = Image, qos: QoSProfile = RELIABLE) -> None:
        """Collect a topic's messages in `received`."""
        if topic not in self._subscriptions:
            self._subscriptions[topic] = self.node.create_subscription(
                message_type, topic, self.received[topic].append, qos
            )

    def unsubscribe(self, topic: str) -> None:
        """Stop collecting a topic."""
        self.node.destroy_subscription(self._subscriptions.pop(topic))
        self.received.pop(topic, None)

    def publish(self, topic: str, message: Any, qos: QoSProfile = RELIABLE) -> tuple[int, int]:
        """Publish a message and return its stamp."""
        self.publisher(topic, type(message), qos).publish(message)
        return message.header.stamp.sec, message.header.stamp.nanosec

    def message_with_stamp(self, topic: str, stamp: tuple[int, int]) -> Any:
        """Wait for the message of a topic that carries a stamp."""

        def find() -> Any:
            return next(
                (m for m in self.received[topic] if (m.header.stamp.sec, m.header.stamp.nanosec) == stamp), None
            )

        return self.spin_until(find, f"a message with stamp {stamp} on {topic}")

    def now(self) -> Any:
        """The time of the system clock."""
        return self.node.get_clock().now()

    def status(
        self, name: str, accept: Callable[[DiagnosticStatus], Any] = lambda status: True, *, new: bool = True
    ) -> DiagnosticStatus:
        """Wait for a diagnostic status of a name that `accept` likes; with `new`, leave out those received before."""
        topic = "/diagnostics"
        if new:
            self.received[topic].clear()

        def find() -> DiagnosticStatus | None:
            found = (s for array in self.received[topic] for s in array.status if s.name == name and accept(s))
            return next(found, None)

        try:
            return self.spin_until(find, f"a status {name!r} as expected")
        except AssertionError as error:
            last = [s for array in self.received[topic][-1:] for s in array.status]
            raise AssertionError(f"{error}; the last ones: {last}") from None

    def counts(self, camera: str = "", accept: Callable[[dict[str, int]], Any] = lambda counts: True) -> dict[str, int]:
        """Wait for a camera's frame counts that `accept` likes."""
        name = f"segment: camera {camera}".rstrip()
        return count_values(self.status(name, lambda status: accept(count_values(status))))

    def settled_counts(self, camera: str = "") -> dict[str, int]:
        """Wait for counts that the node sends from now on, and in which each image that it received is segmented or dropped."""
        name, now, topic = f"segment: camera {camera}".rstrip(), self.now().to_msg(), "/diagnostics"

        def find() -> dict[str, int] | None:
            for array in self.received[topic]:
                if (array.header.stamp.sec, array.header.stamp.nanosec) > (now.sec, now.nanosec):
                    for counts in (count_values(status) for status in array.status if status.name == name):
                        dropped = sum(value for key, value in counts.items() if key.startswith("dropped_"))
                        if counts["received"] == counts["segmented"] + dropped:
                            return counts
            return None

        return self.spin_until(find, f"settled counts of {name!r}")

    def call(self, service: str, service_type: Any, request: Any, *, only_asks: bool = False) -> Any:
        """Call one of the node's services.

        only_asks: it changes nothing, and is called again where no answer comes: DDS loses the first answer of a service whose two
            ends learn of each other at different times, which ``service_is_ready`` does not tell.
        """
        if service not in self._clients:
            self._clients[service] = self.node.create_client(service_type, f"{self._target}/{service}")
        client = self._clients[service]
        self.spin_until(client.service_is_ready, f"the service {service}")
        futures, called_s = [client.call_async(request)], time.monotonic()

        def answer() -> Any:
            if only_asks and time.monotonic() > called_s + len(futures) * TIMEOUT_S / 4:
                futures.append(client.call_async(request))
            return next((future.result() for future in futures if future.done()), None)

        return self.spin_until(answer, f"the answer of {service}")

    def set_parameters(self, **values: Any) -> tuple[bool, str]:
        """Set parameters one by one; whether all were accepted, and the reasons of those that were not."""
        request = SetParameters.Request()
        request.parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        results = self.call("set_parameters", SetParameters, request).results
        return all(result.successful for result in results), "; ".join(r.reason for r in results if r.reason)

    def get_parameter(self, name: str) -> Any:
        """Read one parameter."""
        response = self.call("get_parameters", GetParameters, GetParameters.Request(names=[name]), only_asks=True)
        return Parameter.from_parameter_msg(_named(name, response.values[0])).value

    def transition(self, number: int) -> bool:
        """Ask for a lifecycle transition; whether it succeeded."""
        return self.call("change_state", ChangeState, ChangeState.Request(transition=Transition(id=number))).success

    def state(self) -> str:
        """The lifecycle state's name."""
        return self.call("get_state", GetState, GetState.Request(), only_asks=True).current_state.label


def _named(name: str, value: Any) -> Any:
    from rcl_interfaces.msg import Parameter as ParameterMessage

    return ParameterMessage(name=name, value=value)


def values(status: DiagnosticStatus) -> dict[str, str]:
    """A status's values by key."""
    return {pair.key: pair.value for pair in status.values}


def count_values(status: DiagnosticStatus) -> dict[str, int]:
    """A camera status's whole numbers by key."""
    return {key: int(value) for key, value in values(status).items() if value.isdecimal()}


def image_message(pixels: np.ndarray, encoding: str = "bgr8", *, stamp: Any, frame_id: str = "camera_optical") -> Image:
    """Make an Image message."""
    message = Image()
    messages.fill(message, pixels, encoding)
    message.header.stamp = stamp.to_msg() if hasattr(stamp, "to_msg") else stamp
    message.header.frame_id = frame_id
    return message


def compressed_message(
    data: bytes, kind: str = "png", *, stamp: Any, frame_id: str = "camera_optical"
) -> CompressedImage:
    """Make a CompressedImage message."""
    message = CompressedImage(format=kind, data=data)
    message.header.stamp = stamp.to_msg()
    message.header.frame_id = frame_id
    return message
