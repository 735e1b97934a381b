"""The picture of a frame's way: a bar a camera, in which a stage is as long as it takes, and as dark as its limit is long."""

from __future__ import annotations

from html import escape
from typing import Any

from benchmarks.frame_stages import STAGES

WIDTH, LEFT, RIGHT = 1000, 150, 70
TOP, BAR_HEIGHT, ROW_HEIGHT, LEGEND_HEIGHT = 40, 34, 58, 22
LEGEND_COLUMNS = 2
COLORS = ("#7a5195", "#bc5090", "#ef5675", "#ff764a", "#2563a8", "#8fb4dc", "#2a9d8f", "#76b041", "#c9a227", "#8a94a3")
STYLE = """
text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #1c2430; }
.page { fill: #fff; } .limit { fill: #000; opacity: 0.35; }
"""


def frame_svg(figures: dict[str, Any]) -> str:
    """Draw the figures of `benchmarks.frame_profile`; the time axis is the same for all cameras."""
    cases = figures["cases"]
    per_ms = (WIDTH - LEFT - RIGHT) / max(case["all_ms"] for case in cases.values())
    colors = dict(zip(STAGES, COLORS, strict=True))
    legend_top = TOP + ROW_HEIGHT * len(cases) + 8
    height = legend_top + LEGEND_HEIGHT * -(-len(STAGES) // LEGEND_COLUMNS) + 12
    parts = [
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        _text(LEFT, 24, "from publishing an image to receiving its label; dark: the limit of this machine"),
    ]
    for number, (name, case) in enumerate(cases.items()):
        x, y = float(LEFT), TOP + ROW_HEIGHT * number
        parts.append(_text(LEFT - 8, y + 22, name, "end"))
        for stage, color in colors.items():
            row = case["stages"][stage]
            width = max(row["p50_ms"], 0.0) * per_ms
            limit = min(row["limit_ms"] * per_ms, width)
            parts.append(_bar(x, y, width, f'fill="{color}"'))
            parts.append(_bar(x, y + BAR_HEIGHT - 8, limit, 'class="limit"', 8))
            x += width
        parts.append(_text(x + 6, y + 22, f"{case['all_ms']:.1f} ms"))
    for number, (stage, color) in enumerate(colors.items()):
        row, column = divmod(number, LEGEND_COLUMNS)
        x, y = LEFT + column * (WIDTH - LEFT) / LEGEND_COLUMNS, legend_top + LEGEND_HEIGHT * row
        parts.append(_bar(x, y, 14, f'fill="{color}"', 14))
        parts.append(_text(x + 20, y + 12, f"{stage}: {STAGES[stage]}"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="where a frame\'s time goes"><style>{STYLE}</style>{"".join(parts)}</svg>\n'
    )


def _bar(x: float, y: float, width: float, look: str, height: float = BAR_HEIGHT) -> str:
    return f'<rect {look} x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:g}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
