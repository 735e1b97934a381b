"""The report's charts and frames: plots as inline SVG, frames as data URIs. Nothing here needs a network or a file."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lwseg_ros.evaluation.metrics import UncertaintyMetrics
from lwseg_ros.imaging import drawing
from lwseg_ros.imaging.resizing import resize_image
from lwseg_ros.model.model_file import Manifest
from lwseg_ros.replay.kept_frames import KeptFrame

JPEG_QUALITY = 85
OVERLAY_ALPHA = 0.55
MAX_IMAGE_WIDTH = 640
WRONG_BGR = (60, 60, 235)
IGNORED_BGR = (120, 120, 120)

WIDTH, HEIGHT = 1000, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 128, 14, 34


@dataclass(frozen=True)
class StripFrame:
    """One row of the strip: images as data URIs; errors is None without ground truth."""

    index: int
    image: str
    overlay: str
    uncertainty: str | None
    errors: str | None
    accuracy: float | None


def strip(frames: Sequence[KeptFrame], manifest: Manifest) -> list[StripFrame]:
    """Draw image, overlay, uncertainty and errors of every frame."""
    palette = manifest.palette_bgr
    rows = []
    for frame in frames:
        label, uncertainty, truth = frame.prediction.label, frame.prediction.uncertainty, frame.ground_truth
        errors, accuracy = None, None
        if truth is not None:
            errors = data_uri(error_map(frame.image, label, truth, manifest.ignore_id))
            counted = np.ones(label.shape, bool) if manifest.ignore_id is None else truth != manifest.ignore_id
            accuracy = float((truth == label)[counted].mean()) if counted.any() else None
        rows.append(
            StripFrame(
                index=frame.index,
                image=data_uri(frame.image),
                overlay=data_uri(drawing.overlay(frame.image, label, palette, OVERLAY_ALPHA)),
                uncertainty=None if uncertainty is None else data_uri(drawing.heat_map(uncertainty)),
                errors=errors,
                accuracy=accuracy,
            )
        )
    return rows


def error_map(image: np.ndarray, label: np.ndarray, truth: np.ndarray, ignore_id: int | None) -> np.ndarray:
    """Mark wrong pixels red and ignored ones grey on a faded image.

    Args:
        image: uint8 BGR [H, W, 3].
        label: uint8 [H, W], predicted.
        truth: uint8 [H, W].

    Returns:
        uint8 BGR [H, W, 3].
    """
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    faded = cv2.cvtColor((150 + grey.astype(np.float32) * 0.41).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    ignored = np.zeros(truth.shape, bool) if ignore_id is None else truth == ignore_id
    faded[(label != truth) & ~ignored] = WRONG_BGR
    faded[ignored] = IGNORED_BGR
    return faded


def data_uri(image: np.ndarray) -> str:
    """Encode uint8 BGR [H, W, 3] as a JPEG data URI, made smaller where it is very wide."""
    if image.shape[1] > MAX_IMAGE_WIDTH:
        height = round(image.shape[0] * MAX_IMAGE_WIDTH / image.shape[1])
        image = resize_image(image, (height, MAX_IMAGE_WIDTH))
    ok, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape} as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def latency_svg(latencies_ms: Sequence[float | None], engine_p50_ms: float | None) -> str:
    """Plot latency over the frames as a line with gaps and red marks where no label came."""
    known = [value for value in latencies_ms if value is not None]
    if not known:
        return ""
    top_ms = round_up(max(known) * 1.05)
    count = max(len(latencies_ms) - 1, 1)

    def x(index: int) -> float:
        return LEFT + index / count * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top_ms * (HEIGHT - TOP - BOTTOM)

    parts = [_axes(top_ms, y, "ms")]
    p50, p95 = np.percentile(known, (50, 95))  # not percentiles(), which allows for no values
    guides = [(f"p95 {p95:.1f} ms", p95, "guide"), (f"p50 {p50:.1f} ms", p50, "guide")]
    if engine_p50_ms is not None:
        guides.append((f"engine p50 {engine_p50_ms:.1f} ms", engine_p50_ms, "guide engine"))
    previous_y = -math.inf
    for text, value, css in sorted(guides, key=lambda guide: -guide[1]):
        text_y = max(y(value) + 4, previous_y + 15)  # texts of close lines go below each other
        previous_y = text_y
        parts.append(f'<line class="{css}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text class="{css}" x="{WIDTH - RIGHT + 6}" y="{text_y:.1f}">{text}</text>')
    path, pen_down = [], False
    for index, value in enumerate(latencies_ms):
        if value is None:
            parts.append(f'<circle class="lost" cx="{x(index):.1f}" cy="{y(0):.1f}" r="3"/>')
            pen_down = False
            continue
        path.append(f"{'L' if pen_down else 'M'}{x(index):.1f} {y(value):.1f}")
        pen_down = True
        parts.append(f'<circle class="dot" cx="{x(index):.1f}" cy="{y(value):.1f}" r="2"/>')
    parts.append(f'<path class="curve" d="{"".join(path)}"/>')
    parts += [_tick_x(x(index), str(index)) for index in _ticks(len(latencies_ms))]
    return _svg(parts, "latency of every frame")


def reliability_svg(metrics: UncertaintyMetrics, num_bins: int = 10) -> str:
    """Plot accuracy over confidence in bins, with the diagonal that a calibrated model follows."""
    if not math.isfinite(metrics.ece):
        return ""
    confidence = 1 - np.arange(256) / 255 * (metrics.num_classes - 1) / metrics.num_classes
    bins = np.clip((confidence * num_bins).astype(int), 0, num_bins - 1)
    right = np.bincount(bins, metrics.counts[:, 0], num_bins)
    pixels = np.bincount(bins, metrics.counts.sum(axis=1), num_bins)
    side, left = 220, 36

    def at(value: float) -> float:
        return left + value * side

    def y(value: float) -> float:
        return 10 + (1 - value) * side

    parts = [f'<rect class="frame" x="{left}" y="10" width="{side}" height="{side}"/>']
    for index in range(num_bins):
        if pixels[index]:
            accuracy = right[index] / pixels[index]
            share = pixels[index] / pixels.sum()
            parts.append(
                f'<rect class="bar" x="{at(index / num_bins) + 1:.1f}" y="{y(accuracy):.1f}" '
                f'width="{side / num_bins - 2:.1f}" height="{accuracy * side:.1f}">'
                f"<title>accuracy {accuracy:.3f}, {share:.1%} of the pixels</title></rect>"
            )
    parts.append(f'<line class="guide" x1="{at(0)}" y1="{y(0)}" x2="{at(1)}" y2="{y(1)}"/>')
    for value in (0, 0.5, 1):
        parts.append(f'<text x="{at(value)}" y="{y(0) + 16}" text-anchor="middle">{value:g}</text>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4}" text-anchor="end">{value:g}</text>')
    parts.append(f'<text x="{at(0.5)}" y="{y(0) + 32}" text-anchor="middle">confidence</text>')
    return (
        f'<svg viewBox="0 0 {left + side + 14} {side + 48}" role="img" aria-label="accuracy over confidence" '
        f'style="max-width:300px">{"".join(parts)}</svg>'
    )


def _svg(parts: Sequence[str], label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _axes(top: float, y: Callable[[float], float], unit: str) -> str:
    parts = []
    for step in range(5):
        value = top * step / 4
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        text = f"{value:g}" + (f" {unit}" if step == 4 else "")
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{text}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 2}" text-anchor="middle">frame</text>')
    return "".join(parts)


def _tick_x(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{text}</text>'


def _ticks(count: int) -> list[int]:
    """Choose about ten round frame numbers."""
    step = max(1, int(round_up(count / 10)))
    return list(range(0, count, step))


def round_up(value: float) -> float:
    """Round up to 1, 2, 4, 5 or 10 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 4, 5, 10) if value <= factor * power * (1 + 1e-9))
