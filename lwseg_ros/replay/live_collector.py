"""Receive a node's answers in a process of their own: `python -m lwseg_ros.replay.live_collector CONFIG.json`.

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
from typing import Any, BinaryIO

from rclpy.context import Context
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy

from lwseg_ros.replay.live_matching import MatchingNode, matched_node

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


class Collector(MatchingNode):
    """Append serialized messages of several topics to a spool file."""

    def __init__(self, topics: list[dict[str, Any]], spool: BinaryIO, context: Context) -> None:
        """Subscribe to topics, each {kind, name, msgtypes}; the file is the caller's to close."""
        super().__init__("lwseg_replay_collector", context=context)
        self._topics = topics
        self._spool = spool
        for topic in self._topics:
            self.create_subscription(
                load_message_type(*topic["msgtypes"]), topic["name"], self._callback(topic["kind"]), QOS, raw=True
            )

    def matched(self) -> bool:
        """Tell whether every topic has a publisher."""
        return all(self.count_publishers(topic["name"]) > 0 for topic in self._topics)

    def _callback(self, kind: str) -> Any:
        def receive(raw: bytes) -> None:
            receive_ns, offset = time.monotonic_ns(), self._spool.tell()
            self._spool.write(raw)
            self._spool.flush()
            emit(event="received", kind=kind, receive_ns=receive_ns, offset=offset, size=len(raw))

        return receive


def main() -> int:
    """Collect until standard input ends."""
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    stop = threading.Event()

    def wait_for_end_of_input() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_end_of_input, daemon=True).start()
    with (
        Path(config["spool"]).open("wb") as spool,
        matched_node(lambda context: Collector(config["topics"], spool, context), stop.is_set) as matched,
    ):
        if matched is not None:
            emit(event="ready")
            while not stop.is_set():
                matched[1].spin_once(timeout_sec=0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
