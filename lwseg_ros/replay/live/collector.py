"""Receive a node's answers in a process of their own: `python -m lwseg_ros.replay.live.collector CONFIG.json`.

Every message goes, still serialized, to the end of one spool file; one line of JSON a message on standard output tells
its kind, place and time of arrival. Nothing is decoded here, so that the collector keeps up with any camera.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy

from lwseg_ros.imaging.message_types import load_message_type
from lwseg_ros.replay.live.protocol import Commands, emit, read_config

# Reliable and deep enough for a burst: nothing may be lost here that the node did publish.
QOS = QoSProfile(depth=200, history=QoSHistoryPolicy.KEEP_LAST, reliability=QoSReliabilityPolicy.RELIABLE)


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
        with contextlib.suppress(OSError):  # what is left of a write that failed, and was told
            self._spool.close()
        super().destroy_node()

    def _callback(self, kind: str) -> Any:
        def receive(raw: bytes) -> None:
            receive_ns = time.monotonic_ns()
            try:
                self._spool.write(raw)
                self._spool.flush()
            except OSError as error:
                emit(event="disk full", message=str(error.strerror))
                raise
            emit(event="received", kind=kind, receive_ns=receive_ns, offset=self._offset, size=len(raw))
            self._offset += len(raw)

        return receive


def main() -> int:
    """Collect until standard input ends."""
    rclpy.init(args=[])
    collector = Collector(read_config())
    executor = SingleThreadedExecutor()
    executor.add_node(collector)
    commands = Commands(on_end=executor.wake)
    try:
        ready = False
        while not commands.ended:
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
