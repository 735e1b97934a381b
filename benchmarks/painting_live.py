"""What arrives of painted sweeps beside the segmentation: `python -m benchmarks.painting_live`.

The nodes `segment` and `paint` in processes of their own, or in one (`--one-process`); another publishes images of 480 x 360 and
sweeps of 130,000 points, each at 10 Hz, with the car's transforms at 50 Hz, receives the painted points and reads the diagnostics.
Latency is from publishing a sweep to receiving it painted in the same process. To be run on an idle machine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.painting import FOCAL_PX, SIZE_HW, sweep_message
from benchmarks.program import argument_parser, comparison, run
from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.evaluation.percentiles import percentiles
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.node.launch_arguments import paint_remappings
from lwseg_ros.replay.live.processes import free_domain_id

ROOT = Path(__file__).parents[1]
RATE_HZ = 10
TRANSFORM_HZ = 50
SWEEP_NS = 100_000_000
SECONDS = 60.0
STARTUP_TIMEOUT_S = 60.0
SETTLE_S = 2.0


def measure(model: str, seconds: float, *, one_process: bool = False) -> dict[str, Any]:
    """Start the nodes and what drives them, and return the figures; raises LwsegError."""
    shared = os.environ | {"ROS_DOMAIN_ID": str(free_domain_id()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    remappings = [word for pair in paint_remappings([""], "", "/segment") for word in ("-r", ":=".join(pair))]
    parameters = ["-p", f"model:={model}", "-p", "diagnostics_rate_hz:=5.0"]
    # The wheels' own path for transforms; with tf2_ros it would listen to /tf.
    if one_process:
        nodes = [["-m", "lwseg_ros.node.segment_and_paint", "--ros-args", *parameters]]
    else:
        nodes = [
            ["-m", "lwseg_ros.node", "--ros-args", *parameters],
            ["-m", "lwseg_ros.node.paint", "--ros-args", "-p", "diagnostics_rate_hz:=5.0", *remappings],
        ]
    running = [subprocess.Popen([sys.executable, *node], env=shared, cwd=ROOT) for node in nodes]
    try:
        command = [sys.executable, "-m", "benchmarks.painting_live", "--drive", str(seconds)]
        done = subprocess.run(command, env=shared, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    finally:
        for node in running:
            node.send_signal(signal.SIGINT)
        for node in running:
            node.wait()
    if done.returncode != 0:
        raise LwsegError("the driver failed; see above")
    figures: dict[str, Any] = json.loads(done.stdout)
    arrived, published = figures["arrived"], figures["published"]
    return {
        "benchmark": "painting_live",
        "seconds": seconds,
        "one_process": one_process,
        **figures,
        "comparisons": [
            comparison("painted sweeps that arrive", arrived / published, "at least 0.99", arrived >= 0.99 * published)
        ],
        "machine": machine(),
    }


def drive(seconds: float) -> dict[str, Any]:
    """Publish images, sweeps and transforms once both nodes listen, and return counts and latencies; raises LwsegError."""
    import array

    import numpy as np
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from geometry_msgs.msg import TransformStamped
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

    from lwseg_ros.imaging import messages
    from lwseg_ros.node.shared_memory import room_for_images

    rclpy.init()
    with room_for_images():
        node = rclpy.create_node("car")
    statuses: dict[str, dict[str, str]] = {}
    sent_s: dict[tuple[int, int], float] = {}
    latencies_ms: list[float] = []

    def read(message: DiagnosticArray) -> None:
        for status in message.status:
            statuses[status.name] = {pair.key: pair.value for pair in status.values}

    def receive(message: PointCloud2) -> None:
        key = (message.header.stamp.sec, message.header.stamp.nanosec)
        if key in sent_s:
            latencies_ms.append(1e3 * (time.monotonic() - sent_s[key]))

    def spin_until(end_s: float) -> None:
        while (left_s := end_s - time.monotonic()) > 0:
            rclpy.spin_once(node, timeout_sec=left_s)

    node.create_subscription(DiagnosticArray, "/diagnostics", read, 10)
    node.create_subscription(PointCloud2, "/paint/points", receive, 5)
    images = node.create_publisher(Image, "/image", 5)
    infos = node.create_publisher(CameraInfo, "/camera_info", 5)
    sweeps = node.create_publisher(PointCloud2, "/points", 5)
    moving = node.create_publisher(TransformStamped, "/transforms", 100)
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    fixed = node.create_publisher(TransformStamped, "/transforms_static", latched)

    height, width = SIZE_HW
    image, info = Image(), CameraInfo(height=height, width=width, distortion_model="plumb_bob")
    messages.fill(image, np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8), "bgr8")
    info.k = [FOCAL_PX, 0.0, width / 2, 0.0, FOCAL_PX, height / 2, 0.0, 0.0, 1.0]
    info.d = [-0.22, 0.05, 0.001, -0.0005, 0.0]
    source = sweep_message()
    sweep = PointCloud2(height=1, width=source.width, point_step=source.point_step, row_step=source.row_step)
    sweep.fields = [PointField(name=f.name, offset=f.offset, datatype=f.datatype, count=1) for f in source.fields]
    sweep.data = array.array("B", source.data)
    for message, frame in ((image, "camera"), (info, "camera"), (sweep, "lidar")):
        message.header.frame_id = frame
    mount = TransformStamped(child_frame_id="lidar")
    mount.header.frame_id = "base_link"
    camera = TransformStamped(child_frame_id="camera")
    camera.header.frame_id = "base_link"
    turn = camera.transform.rotation
    turn.x, turn.y, turn.z, turn.w = -0.5, 0.5, -0.5, 0.5
    fixed.publish(mount)
    fixed.publish(camera)

    def move(now_ns: int) -> None:
        transform = TransformStamped(child_frame_id="base_link")
        transform.header.frame_id = "odom"
        transform.header.stamp.sec, transform.header.stamp.nanosec = divmod(now_ns, 10**9)
        transform.transform.translation.x = 15 * (now_ns % 10**12) / 1e9
        moving.publish(transform)

    def publish() -> None:
        """Publish a sweep at its end, and the image of its middle, as of a camera that the lidar triggers."""
        now_ns = node.get_clock().now().nanoseconds
        for message, age_ns in ((image, SWEEP_NS // 2), (info, SWEEP_NS // 2), (sweep, SWEEP_NS)):
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns - age_ns, 10**9)
        infos.publish(info)
        images.publish(image)
        sent_s[(sweep.header.stamp.sec, sweep.header.stamp.nanosec)] = time.monotonic()
        sweeps.publish(sweep)

    def run_for(duration_s: float) -> int:
        """Publish on time; what is late is not made up for. Returns the number of sweeps."""
        begin_s = time.monotonic()
        count, every = 0, TRANSFORM_HZ // RATE_HZ
        for tick in range(int(duration_s * TRANSFORM_HZ)):
            spin_until(begin_s + tick / TRANSFORM_HZ)
            move(node.get_clock().now().nanoseconds)
            if tick % every == 0:
                publish()
                count += 1
        return count

    deadline_s = time.monotonic() + STARTUP_TIMEOUT_S
    while not latencies_ms:
        if time.monotonic() > deadline_s:
            raise LwsegError(f"nothing was painted within {STARTUP_TIMEOUT_S:g} s; the diagnostics: {statuses}")
        run_for(1.0)
    spin_until(time.monotonic() + SETTLE_S)
    before = {name: dict(found) for name, found in statuses.items()}
    sent_s.clear()
    latencies_ms.clear()
    published = run_for(seconds)
    spin_until(time.monotonic() + SETTLE_S)

    def counted(status: str) -> dict[str, int]:
        """What was added to a status's counts meanwhile."""
        now = statuses[status].items()
        names = ("received", "painted", "segmented", "dropped_", "lost_")
        return {key: int(value) - int(before[status][key]) for key, value in now if key.startswith(names)}

    rclpy.shutdown()
    return {
        "published": published,
        "arrived": len(latencies_ms),
        "latency_ms": percentiles(latencies_ms, (50, 95, 99)),
        "sweeps": counted("paint: points"),
        "images": counted("segment: camera"),
    }


def table(figures: dict[str, Any]) -> str:
    """Put the figures into lines of text."""
    latency = "   ".join(f"{rank} {value:.1f}" for rank, value in figures["latency_ms"].items() if value is not None)
    where = "one process" if figures["one_process"] else "two processes"
    lines = [
        f"{figures['published']} sweeps at {RATE_HZ} Hz beside the segmentation: {figures['arrived']} arrived painted ({where})",
        f"  publish to receipt, ms   {latency}",
    ]
    for name in ("sweeps", "images"):
        lines.append(f"  {name:<8} {', '.join(f'{value} {key}' for key, value in figures[name].items() if value)}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `painting_live.json`; return the exit code."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="default: %(default)s")
    parser.add_argument("--one-process", action="store_true", help="run both nodes in one process")
    parser.add_argument(
        "--drive", type=float, help="only publish and receive, for so many seconds, as this program's own process"
    )
    args = parser.parse_args(argv)
    if args.drive:
        print(json.dumps(drive(args.drive)))
        return 0
    return run("painting_live", args, lambda: measure(args.model, args.seconds, one_process=args.one_process), table)


if __name__ == "__main__":
    sys.exit(main())
