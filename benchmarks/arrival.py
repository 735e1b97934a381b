"""How many of a camera's raw images reach the node: `python -m benchmarks.arrival`.

A publisher in another process sends images at a steady rate to a node with default settings, and reads from the node's
diagnostics what became of them. Best-effort publishers are tried as they are, and with the profile that the diagnostics
recommend (config/fastdds.xml).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.host.files import write_atomically
from lwseg_ros.imaging.transport import PROFILES_VARIABLES
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.replay.live.processes import free_domain_id

FRAMES, RATE_HZ = 300, 10.0
ROOT = Path(__file__).parents[1]
PROFILES = ROOT / "config" / "fastdds.xml"
STARTUP_TIMEOUT_S = 120.0
SETTLE_S = 1.0  # the two ends of a connection do not learn of each other at the same time


class Case(NamedTuple):
    """One publisher."""

    size_hw: tuple[int, int]
    reliability: str
    """What it offers: reliable or best_effort."""
    with_profile: bool = False
    """Whether its Fast DDS has the profile that is shipped for publishers."""


CASES = [
    Case((480, 640), "reliable"),
    Case((720, 1280), "reliable"),
    Case((480, 640), "best_effort"),
    Case((720, 1280), "best_effort"),
    Case((480, 640), "best_effort", with_profile=True),
    Case((720, 1280), "best_effort", with_profile=True),
]


def measure(model: str = DEFAULT_MODEL, frames: int = FRAMES, rate_hz: float = RATE_HZ) -> dict[str, Any]:
    """Try all cases and return the figures; raises LwsegError."""
    rows = [{**case._asdict(), **measure_case(case, model, frames, rate_hz)} for case in CASES]
    return {
        "benchmark": "arrival",
        "rate_hz": rate_hz,
        "cases": rows,
        "comparisons": [
            {
                "name": f"images that arrive, {describe(row)}",
                "value": row["received"],
                "wanted": f"{row['published']} of {row['published']}",
                "met": row["received"] == row["published"],
            }
            for row in rows
            if row["reliability"] == "reliable" or row["with_profile"]
        ],
        "machine": machine(),
    }


def measure_case(case: Case, model: str, frames: int, rate_hz: float) -> dict[str, Any]:
    """Start a node and a publisher, and return what became of the images; raises LwsegError."""
    shared = os.environ | {"ROS_DOMAIN_ID": str(free_domain_id()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    profile = dict.fromkeys(PROFILES_VARIABLES, str(PROFILES)) if case.with_profile else {}
    options = {"height": case.size_hw[0], "width": case.size_hw[1], "reliability": case.reliability}
    command = [sys.executable, "-m", "benchmarks.arrival", "--publish"]
    command.append(json.dumps({**options, "frames": frames, "rate_hz": rate_hz}))
    node = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lwseg_ros.node",
            "--ros-args",
            "-p",
            f"model:={model}",
            "-p",
            "diagnostics_rate_hz:=5.0",
        ],
        env=shared,
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        done = subprocess.run(command, env=shared | profile, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    finally:
        node.send_signal(signal.SIGINT)
        node.wait()
    if done.returncode != 0:
        raise LwsegError(f"the publisher of {describe(case._asdict())} failed; see above")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def publish(height: int, width: int, reliability: str, frames: int, rate_hz: float) -> dict[str, Any]:
    """Publish black images once the node listens, and return its counts; raises LwsegError."""
    import numpy as np
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    from lwseg_ros.imaging import messages

    rclpy.init()
    node = rclpy.create_node("camera")
    status: dict[str, str] = {}
    troubles: dict[str, None] = {}

    def read(array: DiagnosticArray) -> None:
        for found in array.status:
            if found.name == "segment: camera":
                status.update({pair.key: pair.value for pair in found.values})
                if found.level != b"\x00":
                    troubles[found.message] = None

    def spin_until(end_s: float) -> None:
        while (left_s := end_s - time.monotonic()) > 0:
            rclpy.spin_once(node, timeout_sec=left_s)

    def counts() -> dict[str, int]:
        return {key: int(value) for key, value in status.items() if value.isdecimal()}

    node.create_subscription(DiagnosticArray, "/diagnostics", read, 10)
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability.upper()])
    publisher = node.create_publisher(Image, "/image", qos)
    message = Image()
    messages.fill(message, np.zeros((height, width, 3), np.uint8), "bgr8")
    deadline_s = time.monotonic() + STARTUP_TIMEOUT_S
    while not (publisher.get_subscription_count() and status.get("publishers") == "1"):
        if time.monotonic() > deadline_s:
            raise LwsegError(f"the node did not subscribe within {STARTUP_TIMEOUT_S:g} s")
        spin_until(time.monotonic() + 0.1)
    spin_until(time.monotonic() + SETTLE_S)
    troubles.clear()
    start_s = time.monotonic()
    for index in range(frames):
        spin_until(start_s + index / rate_hz)
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
    spin_until(time.monotonic() + SETTLE_S)
    end_s = time.monotonic() + 10 * SETTLE_S  # a busy machine's node may be behind
    while counts()["received"] + counts()["lost_in_transport"] < frames and time.monotonic() < end_s:
        spin_until(time.monotonic() + 0.2)
    figures = {name: counts()[name] for name in ("received", "segmented", "dropped_superseded", "lost_in_transport")}
    chosen = {"input_reliability": status["input_reliability"], "troubles": list(troubles)}
    rclpy.shutdown()
    return {"published": frames, **figures, **chosen}


def describe(case: dict[str, Any]) -> str:
    """Name a case in words."""
    height, width = case["size_hw"]
    profile = " with config/fastdds.xml" if case["with_profile"] else ""
    return f"{width} x {height}, {case['reliability']} publisher{profile}"


def table(figures: dict[str, Any]) -> str:
    """Put the figures into lines of text."""
    lines = [f"images that arrive, {figures['rate_hz']:g} Hz"]
    for row in figures["cases"]:
        lines.append(
            f"  {describe(row):<62} {row['received']:4} of {row['published']} (subscribed {row['input_reliability']}, "
            f"{row['segmented']} segmented, {row['lost_in_transport']} counted as lost)"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `arrival.json`; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each case (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=RATE_HZ, metavar="HZ", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--publish", help=argparse.SUPPRESS)  # the publisher's process
    args = parser.parse_args(argv)
    try:
        if args.publish:
            print(json.dumps(publish(**json.loads(args.publish))))
            return 0
        figures = measure(args.model, args.frames, args.rate)
    except LwsegError as error:
        print(f"arrival: {error}", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out / "arrival.json", (json.dumps(figures, indent=2) + "\n").encode())
    print(json.dumps(figures, indent=2) if args.json else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
