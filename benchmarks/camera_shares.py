"""What each of six cameras gets where all ask for more than there is: `python -m benchmarks.camera_shares`.

The node in a process of its own; another publishes raw images of 480 x 360 of all cameras, one shortly after the other, receives
their labels and reads from the diagnostics what became of the images. As the node comes, with one camera served first
(`priorities`), and with the others limited (`max_rate_hz`). Latency is from publishing an image to receiving its label. Only an
idle machine gives figures.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.program import argument_parser, comparison, markdown_table, run
from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.evaluation.percentiles import percentiles
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.replay.live.processes import free_domain_id

ROOT = Path(__file__).parents[1]
CAMERAS = ("front", "front_left", "front_right", "rear", "rear_left", "rear_right")
SIZE_HW = (360, 480)
RATE_HZ = 25.0
SECONDS = 60.0
SETTLE_S = 2.0
MAX_RATIO = 1.1
EVEN = "all alike"
CASES: dict[str, dict[str, list[float] | list[int]]] = {
    EVEN: {},
    "the first one first": {"priorities": [1, 0, 0, 0, 0, 0]},
    "the others limited to 5 Hz": {"max_rate_hz": [0.0, 5.0, 5.0, 5.0, 5.0, 5.0]},
}


def measure(model: str = DEFAULT_MODEL, seconds: float = SECONDS, rate_hz: float = RATE_HZ) -> dict[str, Any]:
    """Measure all cases and return the figures; raises LwsegError."""
    cases = {name: measure_case(model, parameters, seconds, rate_hz) for name, parameters in CASES.items()}
    segmented = [row["segmented"] for row in cases[EVEN].values()]
    ratio = max(segmented) / max(1, min(segmented))
    return {
        "benchmark": "camera_shares",
        "model": model,
        "size_hw": SIZE_HW,
        "rate_hz": rate_hz,
        "seconds": seconds,
        "cases": cases,
        "comparisons": [
            comparison("largest share to smallest, all alike", ratio, f"at most {MAX_RATIO}", ratio <= MAX_RATIO)
        ],
        "machine": machine(),
    }


def measure_case(
    model: str,
    parameters: dict[str, Any],
    seconds: float,
    rate_hz: float,
    settle_s: float = SETTLE_S,
    *,
    cameras: Sequence[str] = CAMERAS,
    size_hw: tuple[int, int] = SIZE_HW,
) -> dict[str, dict[str, Any]]:
    """Start the node and the cameras, and return what became of each camera's images; raises LwsegError."""
    environment = os.environ | {"ROS_DOMAIN_ID": str(free_domain_id()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    words = {"model": model, "cameras": f"[{', '.join(cameras)}]", "diagnostics_rate_hz": 5.0, **parameters}
    given = [word for name, value in words.items() for word in ("-p", f"{name}:={value}")]
    config = {"cameras": cameras, "size_hw": size_hw, "rate_hz": rate_hz, "seconds": seconds, "settle_s": settle_s}
    node = subprocess.Popen([sys.executable, "-m", "lwseg_ros.node", "--ros-args", *given], env=environment, cwd=ROOT)
    try:
        driver = [sys.executable, "-m", "benchmarks.camera_shares_driver", json.dumps(config)]
        done = subprocess.run(driver, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        died = node.poll() is not None
    finally:
        node.send_signal(signal.SIGINT)
        node.wait()
    if died or done.returncode != 0:
        raise LwsegError(f"the {'node' if died else 'cameras'} failed; see above")
    return rows_of(json.loads(done.stdout), seconds)


def rows_of(cameras: dict[str, dict[str, Any]], seconds: float) -> dict[str, dict[str, Any]]:
    """Work out rates, shares, drops and latencies from what the cameras' process counted (`camera_shares_driver.drive`)."""
    segmented = sum(found["counts"]["segmented"] for found in cameras.values())
    rows = {}
    for camera, found in cameras.items():
        counts = found["counts"]
        rows[camera] = {
            "published": found["published"],
            "segmented": counts["segmented"],
            "rate_hz": round(counts["segmented"] / seconds, 2),
            "share": round(counts["segmented"] / max(1, segmented), 4),
            "dropped": {
                name.removeprefix("dropped_"): count
                for name, count in counts.items()
                if name.startswith("dropped_") and count
            },
            "not_received": found["published"] - counts["received"],
            "latency_ms": percentiles(found["latencies_ms"], (50, 99)),
        }
    return rows


def table(figures: dict[str, Any]) -> str:
    """Put the figures into a Markdown table for each case."""
    parts = [
        f"{figures['model']}, {figures['rate_hz']:g} images of 480 x 360 a second and camera, {figures['seconds']:g} s"
    ]
    columns = ("camera", "segmented", "a second", "share", "p50 ms", "p99 ms", "dropped", "not received")
    for name, cameras in figures["cases"].items():
        rows = [
            [
                camera,
                f"{row['segmented']} of {row['published']}",
                f"{row['rate_hz']:.1f}",
                f"{100 * row['share']:.1f} %",
                *("" if value is None else f"{value:.1f}" for value in row["latency_ms"].values()),
                ", ".join(f"{count} {cause}" for cause, count in row["dropped"].items()),
                str(row["not_received"]),
            ]
            for camera, row in cameras.items()
        ]
        parts.append(f"**{name[0].upper()}{name[1:]}**:\n\n{markdown_table(columns, rows)}")
    parts += [f"{row['name']}: {row['value']:.2f} ({row['wanted']} wanted)" for row in figures["comparisons"]]
    return "\n\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Measure, print tables (or JSON), and write `camera_shares.json`; return the exit code."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each case (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=RATE_HZ, metavar="HZ", help="of each camera (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    return run("camera_shares", args, lambda: measure(args.model, args.seconds, args.rate), table)


if __name__ == "__main__":
    sys.exit(main())
