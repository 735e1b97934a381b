"""Whether a camera of 1024 x 512 pixels at 30 images a second is kept up with: `python -m benchmarks.large_camera`.

The node in a process of its own; another publishes raw images, receives the labels and reads from the diagnostics what became of
the images. The model that was made for such images, and beside it the default one, which looks at fewer pixels. Latency is from
publishing an image to receiving its label. Only an idle machine gives figures.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.camera_shares import measure_case
from benchmarks.program import argument_parser, comparison, markdown_table, run
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.model.model_file import DEFAULT_MODEL

SIZE_HW = (512, 1024)
RATE_HZ = 30.0
SECONDS = 30.0
MODEL = "lite_seg0_lean_camvid"
CAMERA = "front"


def measure(
    model: str = MODEL, beside: str = DEFAULT_MODEL, seconds: float = SECONDS, rate_hz: float = RATE_HZ
) -> dict[str, Any]:
    """Measure both models and return the figures; raises LwsegError."""
    rows = {
        name: measure_case(name, {}, seconds, rate_hz, cameras=[CAMERA], size_hw=SIZE_HW)[CAMERA]
        for name in dict.fromkeys((model, beside))
    }
    share = rows[model]["segmented"] / (
        rate_hz * seconds
    )  # of what was to come: the camera leaves out what would be late
    return {
        "benchmark": "large_camera",
        "size_hw": SIZE_HW,
        "rate_hz": rate_hz,
        "seconds": seconds,
        "models": rows,
        "comparisons": [
            comparison(f"labels to images that were to come, {model}", share, "at least 0.99", share >= 0.99)
        ],
        "machine": machine(),
    }


def table(figures: dict[str, Any]) -> str:
    """Put the figures into a Markdown table."""
    height, width = figures["size_hw"]
    columns = ("model", "segmented", "a second", "p50 ms", "p99 ms", "dropped", "not received")
    rows = [
        [
            f"`{name}`",
            f"{row['segmented']} of {row['published']}",
            f"{row['rate_hz']:.1f}",
            *("" if value is None else f"{value:.1f}" for value in row["latency_ms"].values()),
            ", ".join(f"{count} {cause}" for cause, count in row["dropped"].items()),
            str(row["not_received"]),
        ]
        for name, row in figures["models"].items()
    ]
    parts = [
        f"one camera, {figures['rate_hz']:g} raw images of {width} x {height} a second, {figures['seconds']:g} s",
        markdown_table(columns, rows),
        *(f"{row['name']}: {row['value']:.3f} ({row['wanted']} wanted)" for row in figures["comparisons"]),
    ]
    return "\n\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `large_camera.json`; return the exit code."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=MODEL, help="default: %(default)s")
    parser.add_argument("--beside", default=DEFAULT_MODEL, help="another model (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each model (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=RATE_HZ, metavar="HZ", help="default: %(default)s")
    args = parser.parse_args(argv)
    return run("large_camera", args, lambda: measure(args.model, args.beside, args.seconds, args.rate), table)


if __name__ == "__main__":
    sys.exit(main())
