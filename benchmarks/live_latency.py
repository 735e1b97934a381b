"""How much the node and DDS add to the engine's time: `python -m benchmarks.live_latency`.

The sample bag (480 x 360, 15 Hz) goes through the live node at its recorded rate. Latency is from publishing an image in
one process to receiving its label in another; it holds JPEG decoding, both ways through DDS, and the engine.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lwseg_ros.backends import BACKENDS
from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.files import write_atomically
from lwseg_ros.model_file import DEFAULT_MODEL, resolve_model
from lwseg_ros.replay.live.run import LiveOptions, replay_live
from lwseg_ros.replay.sample import SAMPLE_BAG

TARGET_RATIO = 1.5


def measure(model: str = DEFAULT_MODEL, backend: str = "auto", rate: float = 1.0) -> dict[str, Any]:
    """Replay the sample bag once and return the figures, times in milliseconds; raises LwsegError."""
    figures = replay_live(SAMPLE_BAG, LiveOptions(resolve_model(model), backend, rate)).figures()
    latency_ms, engine_ms = figures["latency_ms"], figures["engine_ms"]
    if latency_ms["p50"] is None or engine_ms["p50"] is None:
        raise LwsegError(f"no label came back, so there is no latency: {figures['frames']}")
    return {
        "benchmark": "live_latency",
        "size_hw": [360, 480],
        **{name: figures[name] for name in ("model", "backend", "precision", "frames", "rate_hz")},
        "latency_ms": latency_ms,
        "engine_ms": engine_ms,
        "overhead_ms": latency_ms["p50"] - engine_ms["p50"],
        "ratio": latency_ms["p50"] / engine_ms["p50"],
        "target_ratio": TARGET_RATIO,
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--backend", default="auto", choices=["auto", *BACKENDS], help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), metavar="DIR", help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        figures = measure(args.model, args.backend)
    except LwsegError as error:
        print(f"live_latency: {error}", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out / "live_latency.json", (json.dumps(figures, indent=2) + "\n").encode())
    print(json.dumps(figures, indent=2) if args.json else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
