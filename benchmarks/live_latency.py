"""How much the node and DDS add to the engine's time: `python -m benchmarks.live_latency`.

The sample bag (480 x 360, 15 Hz) goes through the live node at its recorded rate. Latency is from publishing an image in
one process to receiving its label in another; it holds JPEG decoding, both ways through DDS, and the engine.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.program import argument_parser, comparison, run
from lwseg_ros.backends import BACKENDS
from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.model.model_file import DEFAULT_MODEL, resolve_model
from lwseg_ros.replay.live.run import LiveOptions, replay_live
from lwseg_ros.replay.sample import SAMPLE_BAG

TARGET_RATIO = 1.5


def measure(model: str = DEFAULT_MODEL, backend: str = "auto", rate: float = 1.0) -> dict[str, Any]:
    """Replay the sample bag once and return the figures, times in milliseconds; raises LwsegError."""
    figures = replay_live(SAMPLE_BAG, LiveOptions(resolve_model(model), backend, rate)).figures()
    latency_ms, engine_ms = figures["latency_ms"], figures["engine_ms"]
    if latency_ms["p50"] is None or engine_ms["p50"] is None:
        raise LwsegError(f"no label came back, so there is no latency: {figures['frames']}")
    ratio, wanted = latency_ms["p50"] / engine_ms["p50"], f"at most {TARGET_RATIO}"
    return {
        "benchmark": "live_latency",
        "size_hw": [360, 480],
        **{name: figures[name] for name in ("model", "backend", "precision", "frames", "rate_hz")},
        "latency_ms": latency_ms,
        "engine_ms": engine_ms,
        "overhead_ms": latency_ms["p50"] - engine_ms["p50"],
        "ratio": ratio,
        "target_ratio": TARGET_RATIO,
        "comparisons": [comparison("live latency p50 vs engine p50", ratio, wanted, ratio <= TARGET_RATIO)],
        "machine": machine(),
    }


def table(figures: dict[str, Any]) -> str:
    """Put the figures into lines of text."""
    latency_ms, engine_ms, frames = figures["latency_ms"], figures["engine_ms"], figures["frames"]
    rows = [
        ("publish to label received", f"p50 {latency_ms['p50']:6.1f}   p95 {latency_ms['p95']:6.1f} ms"),
        ("engine", f"p50 {engine_ms['p50']:6.1f}   p95 {engine_ms['p95']:6.1f} ms"),
        ("ratio of the p50s", f"    {figures['ratio']:6.2f}   (at most {figures['target_ratio']} wanted)"),
        ("frames", f"{frames['segmented']} of {frames['published']} segmented"),
    ]
    title = f"live latency, 480 x 360: {figures['model']} on {figures['backend']} ({figures['precision']})"
    return "\n".join([title, *(f"  {name:<26} {text}" for name, text in rows)])


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `live_latency.json`; return the exit code."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--backend", default="auto", choices=["auto", *BACKENDS], help="default: %(default)s")
    args = parser.parse_args(argv)
    return run("live_latency", args, lambda: measure(args.model, args.backend), table)


if __name__ == "__main__":
    sys.exit(main())
