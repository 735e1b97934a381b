"""Write `soak.json` for programs and `soak.svg`, which any browser shows, for people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from lwseg_ros.host.files import write_atomically
from lwseg_ros.replay.report.charts import round_up
from lwseg_ros.replay.soak_results import SoakResult

WIDTH, PANEL_HEIGHT, FOOT_HEIGHT = 1000, 150, 44
LEFT, RIGHT, TOP, BOTTOM = 60, 130, 28, 14
MAX_POINTS = 450
STYLE = """
text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #5c6675; }
.title { font-weight: 600; fill: #1c2430; }
.page { fill: #fff; } .warm { fill: #edf0f5; } .grid { stroke: #dfe3ea; }
path { fill: none; stroke-width: 1.5; }
path.first { stroke: #2563a8; } text.first { fill: #2563a8; }
path.second { stroke: #b26b00; } text.second { fill: #b26b00; }
path.slope { stroke: #c8372d; stroke-dasharray: 6 4; } text.slope { fill: #c8372d; }
"""


@dataclass(frozen=True)
class Panel:
    """One chart over time: its title with the unit, and one or two curves by name.

    Attributes:
        title: see above.
        curves: values at the samples' times; None where nothing was measured.
        from_zero: whether the axis begins at zero; else it shows what came after the warm-up, and cuts off the rest.
        line: a straight line and its name: two points of (minute, value).
    """

    title: str
    curves: Mapping[str, Sequence[float | None]]
    from_zero: bool = True
    line: tuple[str, Sequence[tuple[float, float]]] | None = None


def write_soak(result: SoakResult, folder: Path) -> Path:
    """Write both files into the folder, which has to exist, and return the picture's path; raises OSError."""
    figures = {**result.figures(), "samples": result.series()}
    write_atomically(folder / "soak.json", (json.dumps(figures, indent=2) + "\n").encode())
    write_atomically(folder / "soak.svg", soak_svg(result).encode())
    return folder / "soak.svg"


def soak_svg(result: SoakResult) -> str:
    """Draw memory with its slope, threads and handles, CPU, and latency over time; the warm-up is shaded."""
    series = result.series()
    panels = [
        Panel("resident memory, MB", {"memory": series["rss_mb"]}, from_zero=False, line=_slope(result)),
        Panel("threads and open file handles", {"threads": series["threads"], "handles": series["handles"]}),
        Panel("CPU, percent of one core", {"CPU": series["cpu_percent"]}),
        Panel("latency within a second, ms", {"p50": series["latency_p50_ms"], "longest": series["latency_max_ms"]}),
    ]
    minutes = [sample.time_s / 60 for sample in result.samples]
    end = max([result.duration_s / 60, *minutes]) or 1.0
    height = PANEL_HEIGHT * len(panels) + FOOT_HEIGHT

    def x(minute: float) -> float:
        return LEFT + minute / end * (WIDTH - LEFT - RIGHT)

    parts = [f'<rect class="page" width="{WIDTH}" height="{height}"/>']
    for index, panel in enumerate(panels):
        parts += _draw(panel, index * PANEL_HEIGHT, minutes, result.warm_up_s / 60, x)
    step = round_up(end / 8)
    parts += [
        _text(x(number * step), height - 32, f"{number * step:g}", "middle") for number in range(int(end / step) + 1)
    ]
    parts.append(_text(WIDTH - RIGHT + 8, height - 32, "minutes"))
    counts = result.counts
    parts.append(
        _text(
            LEFT,
            height - 8,
            f"{result.model.path.name} at {result.rate_hz:g} Hz for {result.duration_s / 60:.1f} minutes: {counts.published} "
            f"images = {counts.segmented} segmented + {sum(counts.dropped.values())} dropped + {counts.lost} lost on their "
            "way; grey is the warm-up",
        )
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="the node under load"><style>{STYLE}</style>{"".join(parts)}</svg>\n'
    )


def axis(values: Sequence[float], *, from_zero: bool) -> tuple[float, float, float]:
    """Choose an axis on which all values, which may be none, lie: its lower end, its upper end, and its round step."""
    least, most = (min(values), max(values)) if values else (0.0, 0.0)
    if from_zero:
        least = min(least, 0.0)
    step = round_up(max(most - least, 0.01 * abs(most)) / 3)
    low = math.floor(least / step) * step
    return low, max(math.ceil(most / step) * step, low + step), step


def thinned(values: Sequence[float | None], size: int) -> list[float | None]:
    """Keep the largest value of every `size` in a row: a peak must not be lost."""
    groups = (values[start : start + size] for start in range(0, len(values), size))
    return [max((value for value in group if value is not None), default=None) for group in groups]


def _draw(
    panel: Panel, offset: int, minutes: Sequence[float], warm_up: float, x: Callable[[float], float]
) -> list[str]:
    first = 0 if panel.from_zero else sum(minute < warm_up for minute in minutes)
    shown = [value for values in panel.curves.values() for value in values[first:] if value is not None]
    low, high, step = axis(shown, from_zero=panel.from_zero)
    top, bottom = offset + TOP, offset + PANEL_HEIGHT - BOTTOM

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = [
        f'<clipPath id="clip{top}"><rect x="{LEFT}" y="{top - 1}" width="{WIDTH}" height="{bottom - top + 2}"/></clipPath>',
        f'<rect class="warm" x="{LEFT}" y="{top}" width="{x(warm_up) - LEFT:.1f}" height="{bottom - top}"/>',
        _text(LEFT, top - 10, panel.title, css="title"),
    ]
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(_text(LEFT - 6, y(value) + 4, f"{value:g}", "end"))
    size = math.ceil(len(minutes) / MAX_POINTS) or 1
    curves = {
        (name, css): list(zip(minutes[::size], thinned(values, size), strict=True))
        for (name, values), css in zip(panel.curves.items(), ("first", "second"), strict=False)
    }
    if panel.line is not None:
        name, points = panel.line
        curves[name, "slope"] = [*points]
    for row, ((name, css), places) in enumerate(curves.items()):
        path, pen = "", "M"
        for minute, place in places:
            path += "" if place is None else f"{pen}{x(minute):.1f} {y(place):.1f}"
            pen = "M" if place is None else "L"
        parts.append(f'<path class="{css}" clip-path="url(#clip{top})" d="{path}"/>')
        parts.append(_text(WIDTH - RIGHT + 8, top + 12 + 16 * row, name, css=css))
    return parts


def _slope(result: SoakResult) -> tuple[str, Sequence[tuple[float, float]]] | None:
    """Return the fitted line of memory over the part that it is of."""
    slope, rest = result.memory_mb_per_hour, result.after_warm_up
    if slope is None:
        return None
    middle_s = sum(sample.time_s for sample in rest) / len(rest)
    mean_mb = sum(sample.rss_mb for sample in rest) / len(rest)
    ends = [rest[0].time_s, rest[-1].time_s]
    return f"{slope:+.2f} MB/hour", [(end / 60, mean_mb + slope * (end - middle_s) / 3600) for end in ends]


def _text(x: float, y: float, text: str, anchor: str = "start", css: str = "") -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
