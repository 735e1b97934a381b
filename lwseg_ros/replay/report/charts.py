"""The report's charts as geometry: SVG paths in a square of 100 x 100 that the page stretches, with their labels beside.

A path is stretched with its chart, a text is not: so a chart is readable at any width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MAX_POINTS = 400  # more columns than this no screen shows apart


@dataclass(frozen=True)
class Tick:
    """A label at an axis: where, from 0 to 100, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """One chart; y grows downwards as in SVG, so that 0 is the top.

    Attributes:
        title: what is shown, with its unit.
        paths: CSS class and path, the lowest first.
        y_ticks, x_ticks: at 0 to 100 from the bottom and the left.
        guides: horizontal lines with a name, from the bottom.
        marks: from the left, with a text: frames without a label.
        key: name of the values in the page's data, for what a pointer shows; empty where there are none.
    """

    title: str
    paths: Sequence[tuple[str, str]]
    y_ticks: Sequence[Tick]
    x_ticks: Sequence[Tick] = ()
    guides: Sequence[Tick] = ()
    marks: Sequence[Tick] = ()
    key: str = ""


@dataclass(frozen=True)
class Series:
    """A figure of every frame, None where it was not measured.

    Attributes:
        key, title, unit: `%` shows shares in percent.
        guides: values that a line is drawn at, by name.
        is_share: the axis ends at 1 and begins where the values do; else it begins at 0.
    """

    key: str
    title: str
    unit: str
    values: Sequence[float | None]
    guides: Mapping[str, float | None] = field(default_factory=dict)
    is_share: bool = True


def timeline(series: Series, lost: Sequence[int] = ()) -> Chart | None:
    """Draw a figure over the frames; None where none was measured.

    Up to MAX_POINTS frames are drawn one by one, with gaps. More are drawn as an envelope: least to greatest value of each of
    MAX_POINTS stretches, and their medians as a line.

    Args:
        lost: numbers of the frames without a label, which are marked.
    """
    values = np.array([math.nan if value is None else value for value in series.values], float)
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    guides = {name: value for name, value in series.guides.items() if value is not None}
    low, high = _range(series, min(known), max(*known, *guides.values()) if guides else max(known))
    scaled = 100 - (values - low) / (high - low) * 100
    groups = np.array_split(scaled, min(len(scaled), MAX_POINTS))
    centers = (np.arange(len(groups)) + 0.5) / len(groups) * 100
    paths = []
    if len(groups) < len(scaled):
        spans = [(np.nanmin(group), np.nanmax(group)) if np.isfinite(group).any() else None for group in groups]
        paths.append(("band", _band(centers, spans)))
    medians = [float(np.nanmedian(group)) if np.isfinite(group).any() else None for group in groups]
    paths.append(("line", line(centers, medians)))
    shown = 100 if series.unit == "%" else 1
    step = (high - low) / 2
    return Chart(
        title=f"{series.title}, {series.unit}",
        paths=paths,
        y_ticks=[Tick(index * 50, f"{(low + step * index) * shown:.4g}") for index in range(3)],
        x_ticks=[Tick((index + 0.5) / len(values) * 100, str(index)) for index in _ticks(len(values))],
        guides=_apart([Tick((value - low) / (high - low) * 100, name) for name, value in guides.items()]),
        marks=_marks(lost, len(values)),
        key=series.key,
    )


def reliability(bins: Sequence[Mapping[str, Any]]) -> Chart:
    """Draw accuracy over confidence in the bins of the ECE, with the diagonal that a calibrated model follows."""
    bars = ""
    for each in bins:
        if each["pixels"]:
            left, right, top = each["low"] * 100 + 0.4, each["high"] * 100 - 0.4, 100 - each["accuracy"] * 100
            bars += f"M{left:.2f} 100V{top:.2f}H{right:.2f}V100Z"
    expected = [(each["confidence"], each["confidence"]) for each in bins if each["pixels"]]
    dots = "".join(f"M{x * 100 - 1.6:.2f} {100 - y * 100:.2f}h3.2" for x, y in expected)
    return Chart(
        "accuracy over confidence, %",
        [("bars", bars), ("diagonal", "M0 100L100 0"), ("expected", dots)],
        _SHARES,
        _SHARES,
    )


def risk_coverage(points: Sequence[Sequence[float]], oracle: Sequence[Sequence[float]] = ()) -> Chart | None:
    """Draw the error rate of the most certain pixels over their share, and what an all-knowing order of them would give."""
    if not points:
        return None
    top = round_up(max(risk for _, risk in (*points, *oracle)) or 0.01)
    paths = []
    for css, curve in (("diagonal", oracle), ("line", points)):
        if curve:
            xs, ys = zip(*curve, strict=True)
            paths.append((css, line([x * 100 for x in xs], [100 - y / top * 100 for y in ys])))
    ticks = [Tick(index * 50, f"{top * index * 50:.3g}") for index in range(3)]
    return Chart("error rate over share of pixels kept, %", paths, ticks, _SHARES)


def line(xs: Sequence[float] | np.ndarray, ys: Sequence[float | None]) -> str:
    """Return a path through the points, with gaps where y is None."""
    path, pen = [], "M"
    for x, y in zip(xs, ys, strict=True):
        if y is None:
            pen = "M"
            continue
        # a point between two gaps is seen by its round end
        path.append(f"{pen}{x:.2f} {y:.2f}" + ("h0" if pen == "M" else ""))
        pen = "L"
    return "".join(path)


def round_up(value: float) -> float:
    """Round up to 1, 2, 4, 5 or 10 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 4, 5, 10) if value <= factor * power * (1 + 1e-9))


_SHARES = tuple(Tick(value, str(value)) for value in (0, 50, 100))


def _range(series: Series, least: float, most: float) -> tuple[float, float]:
    if series.is_share:
        return min(math.floor(least * 10) / 10, 0.9), 1.0
    return 0.0, round_up(most * 1.02)


def _band(xs: np.ndarray, spans: Sequence[tuple[float, float] | None]) -> str:
    """Return closed shapes between the ends, one for each stretch without a gap."""
    path, start = "", 0
    for end in range(len(spans) + 1):
        if end == len(spans) or spans[end] is None:
            stretch = [(x, *span) for x, span in zip(xs[start:end], spans[start:end], strict=True) if span is not None]
            outline = [(x, high) for x, high, _ in stretch] + [(x, low) for x, _, low in reversed(stretch)]
            if outline:
                path += "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in outline) + "Z"
            start = end + 1
    return path


def _marks(lost: Sequence[int], num_frames: int) -> list[Tick]:
    """Mark frames that are lost; those that would lie on each other become one mark with their number."""
    num_places = min(num_frames, MAX_POINTS)
    counts: dict[int, list[int]] = {}
    for index in lost:
        counts.setdefault(index * num_places // num_frames, []).append(index)
    return [
        Tick(
            (place + 0.5) / num_places * 100,
            f"frame {each[0]}: no label" if len(each) == 1 else f"{len(each)} frames without a label from {each[0]} on",
        )
        for place, each in counts.items()
    ]


def _ticks(count: int) -> list[int]:
    """Choose about six round frame numbers."""
    step = max(1, int(round_up(count / 6)))
    return list(range(0, count, step))


def _apart(guides: list[Tick]) -> list[Tick]:
    """Join the names of lines that would lie on each other."""
    joined: list[Tick] = []
    for guide in sorted(guides, key=lambda guide: guide.at):
        if joined and guide.at - joined[-1].at < 14:
            joined[-1] = Tick(joined[-1].at, f"{joined[-1].text}, {guide.text}")
        else:
            joined.append(guide)
    return joined
