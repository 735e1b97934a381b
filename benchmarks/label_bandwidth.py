"""Bytes a frame of labels, compressed beside raw, on the sample bag: `python -m benchmarks.label_bandwidth`.

The labels are those of the model in the camera's pixels; compressed as the node publishes them on ~/label/compressed, in the sizes
of the parameter label_compressed_divisor. Nothing is timed.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from benchmarks.program import argument_parser, comparison, run
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.imaging.label_png import encode_label
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.sample import SAMPLE_BAG
from lwseg_ros.segmenter import Segmenter

DIVISORS = (1, 2, 4)
RATE_HZ = 15.0  # of the sample bag
WANTED_RATIO = 10.0


def measure(model: str) -> dict[str, Any]:
    """Segment the sample bag and return the figures; raises LwsegError."""
    raw: list[int] = []
    encoded: dict[int, list[int]] = {divisor: [] for divisor in DIVISORS}
    with Bag(SAMPLE_BAG) as bag, Segmenter.open(model) as segmenter:
        for message in bag.messages(bag.image_topic()):
            label = segmenter.segment([bag.image(message)])[0].label
            raw.append(label.nbytes)
            for divisor, sizes in encoded.items():
                sizes.append(len(encode_label(label, divisor)))
    rows = [row("raw, ~/label", raw)]
    rows += [row(f"png, divisor {divisor}", sizes) for divisor, sizes in encoded.items()]
    ratio = rows[0]["mean_bytes"] / rows[1]["mean_bytes"]
    return {
        "benchmark": "label_bandwidth",
        "model": model,
        "frames": len(raw),
        "rate_hz": RATE_HZ,
        "rows": rows,
        "comparisons": [
            comparison(
                "bytes of a raw label to a compressed one", ratio, f">= {WANTED_RATIO:g}", ratio >= WANTED_RATIO, 1
            )
        ],
        "machine": machine(),
    }


def row(name: str, sizes: list[int]) -> dict[str, Any]:
    """Sum up the bytes of some messages' data."""
    mean_bytes = float(np.mean(sizes))
    return {
        "name": name,
        "mean_bytes": round(mean_bytes),
        "max_bytes": max(sizes),
        "mb_per_s": round(mean_bytes * RATE_HZ / 1e6, 3),
    }


def table(figures: dict[str, Any]) -> str:
    """Put the figures into lines of text."""
    lines = [
        f"labels of {figures['model']}, {figures['frames']} frames of the sample bag; MB/s at {figures['rate_hz']:g} Hz"
    ]
    for found in figures["rows"]:
        lines.append(
            f"  {found['name']:<16} {found['mean_bytes']:8} bytes a frame, at most {found['max_bytes']:8}, "
            f"{found['mb_per_s']:7.3f} MB/s"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `label_bandwidth.json`; return the exit code."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    args = parser.parse_args(argv)
    return run("label_bandwidth", args, lambda: measure(args.model), table)


if __name__ == "__main__":
    sys.exit(main())
