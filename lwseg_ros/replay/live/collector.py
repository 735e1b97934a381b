"""Receive a node's answers in a process of their own: `python -m lwseg_ros.replay.live.collector CONFIG.json`.

Every message goes, still serialized, to the end of one spool file; one line of JSON a message on standard output tells
its kind, place and time of arrival. Nothing is decoded here, so that the collector keeps up with any camera. The end of
standard input is the signal to stop, so a collector never outlives the process that started it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy

# Reliable and deep enough for a burst: nothing may be lost here that the node did publish.
QOS = QoSProfile(depth=200, history=QoSHistoryPolicy.KEEP_LAST, reliability=QoSReliabilityPolicy.RELIABLE)


def emit(**event: Any) -> None:
    """Write one event to standard output."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def load_message_type(*msgtypes: str) -> Any:
    """Import the first message class that is installed, by names such as `sensor_msgs/msg/Image`."""
    for msgtype in msgtypes:
        package, _, name = msgtype.partition("/msg/")
        with contextlib.suppress(ModuleNotFoundError):
            return getattr(importlib.import_module(f"{package}.msg"), name)
    raise ModuleNotFoundError(f"none of these message types is installed: {', '.join(msgtypes)}")


class Collector(Node):
    """Append serialized messages of several topics to a spool file."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Subscribe to `config["topics"]`, a list of {kind, name, msgtypes}, and open `config["spool"]`."""
        super().__init__("lwseg_replay_collector")
        self._topics = config["topics"]
        self._spool = Path(config["spool"]).open("wb")  # noqa: SIM115  closed with the node
        self._offset = 0
        for topic in self._topics:
            self.create_subscription(
                load_message_type(*topic["msgtypes"]), topic["name"], self._callback(topic["kind"]), QOS, raw=True
            )

    def matched(self) -> bool:
        """Tell whether every topic has a publisher."""
        return all(self.count_publishers(topic["name"]) > 0 for topic in self._topics)

    def destroy_node(self) -> None:
        """Close the spool with the node."""
        self._spool.close()
        super().destroy_node()

    def _callback(self, kind: str) -> Any:
        def receive(raw: bytes) -> None:
            receive_ns = time.monotonic_ns()
            self._spool.write(raw)
            self._spool.flush()
            emit(event="received", kind=kind, receive_ns=receive_ns, offset=self._offset, size=len(raw))
            self._offset += len(raw)

        return receive


def main() -> int:
    """Collect until standard input ends."""
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rclpy.init(args=[])
    collector = Collector(config)
    executor = SingleThreadedExecutor()
    executor.add_node(collector)
    stop = threading.Event()

    def wait_for_end_of_input() -> None:
        sys.stdin.read()
        stop.set()
        executor.wake()

    watcher = threading.Thread(target=wait_for_end_of_input, daemon=True)
    watcher.start()
    try:
        ready = False
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
            if not ready and collector.matched():
                ready = True
                emit(event="ready")
    finally:
        executor.shutdown()
        collector.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
