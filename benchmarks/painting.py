"""How long a sweep of 130,000 points takes to paint: `python -m benchmarks.painting`.

From message to message, on one core, against two baselines that take turns with it: a loop over the points in Python, on a
subset and scaled, and one copy of the bytes that come in and go out, which nothing can undercut. To be run on an idle machine;
`python -m benchmarks.painting_live` counts what arrives beside the segmentation.
"""

from __future__ import annotations

import math
import statistics
import sys
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from benchmarks.program import argument_parser, comparison, run
from lwseg_ros.evaluation.latency import take_turns
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.imaging.calibration import Calibration
from lwseg_ros.painting import rigid
from lwseg_ros.painting.painter import LabelImages, Occlusion, PaintedPoints, View, paint
from lwseg_ros.painting.point_cloud import fill_painted, point_times_ns, positions, read_points
from lwseg_ros.painting.projection import Projection
from lwseg_ros.painting.sweep import SweepTimes

RINGS, COLUMNS = 128, 1016
SIZE_HW = (360, 480)
DISTORTION = (-0.22, 0.05, 0.001, -0.0005, 0.0, 0.0, 0.0, 0.0)
FOCAL_PX = 240.0
RATE_HZ = 10
LOOPED_POINTS = 1000
TURN_S = 1.0
NO_CLASS = 255
LEAST_GAIN, LARGEST_SHARE = 50, 0.3
STAMP_NS = 1_700_000_000_000_000_000


def sweep_message(stamp_ns: int = STAMP_NS) -> SimpleNamespace:
    """The fields of a PointCloud2 of a turning lidar: 128 rings of 1016 points, 3 to 60 m away, with intensity and times."""
    rng = np.random.default_rng(1)
    names = ["x", "y", "z", "intensity", "ring", "time"]
    formats, offsets = ["<f4", "<f4", "<f4", "<f4", "<u2", "<f4"], [0, 4, 8, 16, 20, 24]
    kind = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": 32})
    points = np.zeros((COLUMNS, RINGS), kind)
    azimuth = np.linspace(-math.pi, math.pi, COLUMNS, endpoint=False)[:, None]
    elevation = np.radians(np.linspace(-22, 22, RINGS))
    range_m = 3 + 57 * rng.random((COLUMNS, 1)) * np.ones(RINGS)
    points["x"] = range_m * np.cos(elevation) * np.cos(azimuth)
    points["y"] = range_m * np.cos(elevation) * np.sin(azimuth)
    points["z"] = range_m * np.sin(elevation)
    points["time"] = np.linspace(0, 0.1, COLUMNS)[:, None]
    codes = [7, 7, 7, 7, 4, 7]
    fields = [
        SimpleNamespace(name=n, offset=o, datatype=c, count=1) for n, o, c in zip(names, offsets, codes, strict=True)
    ]
    stamp = SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id="lidar"),
        height=1,
        width=RINGS * COLUMNS,
        fields=fields,
        is_bigendian=False,
        point_step=32,
        row_step=32 * RINGS * COLUMNS,
        data=points.tobytes(),
        is_dense=True,
    )


def camera_from_lidar(time_ns: int) -> np.ndarray:
    """A camera that looks ahead, on a car that goes 15 m/s and turns."""
    time_s = (time_ns - STAMP_NS) / 1e9
    car = rigid.matrix((15 * time_s, 0, 0), (0, 0, math.sin(0.1 * time_s), math.cos(0.1 * time_s)))
    return np.asarray(rigid.matrix((0, -0.3, -0.5), (0.5, -0.5, 0.5, 0.5)) @ car)


def view() -> View:
    """The camera with labels in squares, and its lens."""
    rows, columns = np.indices(SIZE_HW)
    label = ((rows // 20 + columns // 20) % 11).astype(np.uint8)
    calibration = Calibration(SIZE_HW, (FOCAL_PX, FOCAL_PX), (237.0, 185.0), DISTORTION)
    return View(LabelImages(STAMP_NS, "camera", label, label * 9), Projection(calibration), camera_from_lidar)


def paint_message(message: Any, seen: View, occlusion: Occlusion) -> PaintedPoints:
    """Do what the node does with a sweep, from message to message."""
    points = read_points(message)
    xyz = positions(points)
    times = SweepTimes.of(point_times_ns(points, STAMP_NS, has_echo=np.isfinite(xyz).all(axis=0)), STAMP_NS)
    painted = paint(xyz, times, [seen], no_class=NO_CLASS, occlusion=occlusion)
    columns = (painted.label, painted.uncertainty, painted.accepted, painted.label.astype(np.uint32))
    fill_painted(SimpleNamespace(), message, points, columns, make_field=SimpleNamespace)
    return painted


def loop(points: np.ndarray, seen: View) -> list[int]:
    """Label points one by one, without looking for what hides them."""
    k1, k2, p1, p2, *_ = DISTORTION
    (fx, fy), (cx, cy) = seen.projection.calibration.focal_px, seen.projection.calibration.center_px
    labels = []
    for point in points:
        pose = camera_from_lidar(STAMP_NS + int(float(point["time"]) * 1e9))
        x, y, z, _ = pose @ (float(point["x"]), float(point["y"]), float(point["z"]), 1.0)
        labels.append(NO_CLASS)
        if z <= 0:
            continue
        x, y = x / z, y / z
        squared = x * x + y * y
        radial = 1 + squared * (k1 + squared * k2)
        column = round(fx * (x * radial + 2 * p1 * x * y + p2 * (squared + 2 * x * x)) + cx)
        row = round(fy * (y * radial + p1 * (squared + 2 * y * y) + 2 * p2 * x * y) + cy)
        if 0 <= column < SIZE_HW[1] and 0 <= row < SIZE_HW[0]:
            labels[-1] = int(seen.images.label[row, column])
    return labels


def measure(turn_s: float = TURN_S) -> dict[str, Any]:
    """Time the three in turns and return the figures, times in milliseconds."""
    cv2.setNumThreads(1)
    message, seen = sweep_message(), view()
    points = read_points(message)
    some = points[:: len(points) // LOOPED_POINTS]
    incoming = np.frombuffer(message.data, np.uint8)
    outgoing = np.zeros(len(points) * 40, np.uint8)
    calls = {
        "paint": lambda: paint_message(message, seen, Occlusion()),
        "loop": lambda: loop(some, seen),
        "copy": lambda: (incoming.copy(), outgoing.copy()),
    }
    turns = take_turns(calls, turn_s)
    ms = {name: 1e3 * statistics.median(second for turn in found for second in turn) for name, found in turns.items()}
    ms["loop"] *= len(points) / len(some)
    p99_ms = 1e3 * float(np.percentile([second for turn in turns["paint"] for second in turn], 99))
    gain, share = ms["loop"] / ms["paint"], ms["paint"] * RATE_HZ / 1e3
    return {
        "benchmark": "painting",
        "points": len(points),
        "seen": int(paint_message(message, seen, Occlusion()).is_seen.sum()),
        "ms": ms,
        "paint_p99_ms": p99_ms,
        "copies": ms["paint"] / ms["copy"],
        "comparisons": [
            comparison("loop over the points vs painting", gain, f"at least {LEAST_GAIN}", gain >= LEAST_GAIN),
            comparison(f"share of one core at {RATE_HZ} Hz", share, f"at most {LARGEST_SHARE}", share <= LARGEST_SHARE),
        ],
        "machine": machine(),
    }


def table(figures: dict[str, Any]) -> str:
    """Put the figures into lines of text."""
    ms = figures["ms"]
    return "\n".join(
        [
            f"a sweep of {figures['points']} points, {figures['seen']} of them seen by one camera of 480 x 360",
            f"  painted, message to message   p50 {ms['paint']:8.1f}   p99 {figures['paint_p99_ms']:8.1f} ms",
            f"  a loop over the points            {ms['loop']:8.1f} ms, {ms['loop'] / ms['paint']:.0f} times as long",
            f"  a copy of what comes and goes     {ms['copy']:8.1f} ms; painting takes {figures['copies']:.1f} of them",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `painting.json`; return the exit code."""
    args = argument_parser(__doc__).parse_args(argv)
    return run("painting", args, measure, table)


if __name__ == "__main__":
    sys.exit(main())
