"""The node with clocks in it: `python -m benchmarks.traced_node SPANS.json ...`, the rest as `python -m lwseg_ros.node` takes it.

When it ends, it writes what began and ended when, by CLOCK_MONOTONIC in nanoseconds: [[stage, begin_ns, end_ns], ...].
"""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from typing import Any

from lwseg_ros import segmenter
from lwseg_ros.backends.base import OutputCheck
from lwseg_ros.backends.openvino import OpenVinoBackend
from lwseg_ros.host.files import write_json
from lwseg_ros.imaging import messages
from lwseg_ros.node import __main__ as node
from lwseg_ros.node import publishers
from lwseg_ros.node.camera_input import CameraInput
from lwseg_ros.node.worker import SegmentWorker

STAGES: tuple[tuple[str, Any, str], ...] = (
    ("arrival", CameraInput, "_on_image"),
    ("turn", SegmentWorker, "_begin"),
    ("decode", messages, "decode_compressed"),
    ("decode", messages, "to_bgr"),
    ("resize", segmenter, "resize_image"),
    ("engine", OpenVinoBackend, "infer"),
    ("check", OutputCheck, "__call__"),
    ("resize back", segmenter, "resize_label"),
    ("resize back", segmenter, "resize_uncertainty"),
    ("message", messages, "fill"),
    ("extras", publishers.ResultSink, "publish_extras"),
)
"""What a frame passes through: a name, and the function that does it."""


def trace(spans: list[tuple[str, int, int]]) -> None:
    """Replace every stage's function by one that notes when it was called and when it returned."""
    for stage, owner, attribute in STAGES:
        setattr(owner, attribute, _traced(getattr(owner, attribute), stage, spans))


def _traced(function: Any, stage: str, spans: list[tuple[str, int, int]]) -> Any:
    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        begin_ns = time.monotonic_ns()
        try:
            return function(*args, **kwargs)
        finally:
            spans.append((stage, begin_ns, time.monotonic_ns()))

    return traced


def main() -> int:
    """Run the node, and write its spans; return its exit code."""
    program, path, *arguments = sys.argv
    spans: list[tuple[str, int, int]] = []
    trace(spans)
    exit_code = node.main([program, *arguments])
    write_json(Path(path), spans)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
