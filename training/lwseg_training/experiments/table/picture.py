"""The picture of accuracy against latency: one circle a network, its area by the parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from lwseg_training.engine.run_log import save_figure

DPI = 150
AREA_PT2_PER_MILLION = 60.0
LARGEST_AREA_PT2 = 1500.0
LOGARITHMIC_FROM_RATIO = 4.0
COLOR = "tab:blue"
LABEL_DISTANCE_PX = 6.0  # from a circle to its label where there is room


@dataclass(frozen=True)
class Point:
    """A network in the picture: latency in ms, mIoU in [0, 1], number of parameters; hollow for a short run."""

    label: str
    latency_ms: float
    miou: float
    parameters: int
    hollow: bool = False


def write_picture(points: Sequence[Point], path: Path, title: str, accuracy: str = "Validation mIoU") -> None:
    """Draw one point or more into a PNG file, 1125 pixels wide."""
    save_figure(draw(points, title, accuracy), path)


def draw(points: Sequence[Point], title: str, accuracy: str = "Validation mIoU") -> Figure:
    """Draw the points with labels that overlap neither each other nor a circle."""
    figure, axes = pyplot.subplots(figsize=(7.5, 4.6), dpi=DPI, layout="constrained")
    per_million = min(AREA_PT2_PER_MILLION, LARGEST_AREA_PT2 / max(p.parameters / 1e6 for p in points))
    areas = [per_million * p.parameters / 1e6 for p in points]
    for point, area in sorted(zip(points, areas, strict=True), key=lambda pair: -pair[1]):  # the small ones on top
        face = "none" if point.hollow else COLOR
        axes.scatter(point.latency_ms, point.miou, s=area, facecolors=face, edgecolors=COLOR, linewidths=1.4, alpha=0.8)
    _set_axes(axes, points, title, accuracy)
    _add_legend(figure, per_million, any(p.hollow for p in points))
    _add_labels(figure, axes, points, areas)
    return figure


def _set_axes(axes: Any, points: Sequence[Point], title: str, accuracy: str) -> None:
    latencies, mious = [p.latency_ms for p in points], [p.miou for p in points]
    axes.set(xlabel="CPU latency p50 (ms)", ylabel=accuracy, title=title)
    if max(latencies) > LOGARITHMIC_FROM_RATIO * min(latencies):
        axes.set_xscale("log")
        axes.set_xlim(min(latencies) / 1.5, max(latencies) * 1.7)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        room = max(0.25 * (max(latencies) - min(latencies)), 0.1 * max(latencies))
        axes.set_xlim(max(0.0, min(latencies) - room), max(latencies) + room)
    room = max(0.2 * (max(mious) - min(mious)), 0.02)
    axes.set_ylim(max(0.0, min(mious) - room), min(1.0, max(mious) + room))
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


def _add_legend(figure: Figure, per_million: float, some_hollow: bool) -> None:
    def circle(area: float, label: str, face: str = COLOR) -> Line2D:
        size = 2 * math.sqrt(area / math.pi)
        style = {"markersize": size, "markerfacecolor": face, "markeredgecolor": COLOR, "linestyle": "none"}
        return Line2D([], [], marker="o", label=label, alpha=0.8, **style)  # type: ignore[arg-type]

    handles = [circle(per_million * millions, f"{millions} M parameters") for millions in (1, 5)]
    if some_hollow:
        handles.append(circle(40, "short run", "none"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def _add_labels(figure: Figure, axes: Any, points: Sequence[Point], areas: Sequence[float]) -> None:
    texts = [axes.text(0.5, 0.5, p.label, fontsize=9, transform=axes.transAxes, in_layout=False) for p in points]
    figure.canvas.draw()  # settles the layout
    sizes = [text.get_window_extent().size for text in texts]
    for text in texts:
        text.remove()
    centers = axes.transData.transform([(p.latency_ms, p.miou) for p in points])
    radii = [math.sqrt(area / math.pi) * DPI / 72 + 2 for area in areas]
    boxes = place_labels(centers, radii, sizes, axes.get_window_extent().padded(-4))
    for point, center, radius, box in zip(points, centers, radii, boxes, strict=True):
        arrow = {"arrowstyle": "-", "color": "gray", "linewidth": 0.7, "shrinkB": radius * 72 / DPI}
        axes.annotate(
            point.label,
            (point.latency_ms, point.miou),
            ((box.p0 + box.p1) / 2 - center) * 72 / DPI,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            arrowprops=arrow if _distance(center, box) > radius + 2 * LABEL_DISTANCE_PX else None,
        )


def place_labels(
    centers: Sequence[np.ndarray], radii: Sequence[float], sizes: Sequence[np.ndarray], bounds: Bbox
) -> list[Bbox]:
    """Find a place for the label of each circle: as near as it goes without touching a circle or another label.

    All in pixels, (x, y) from the lower left; bounds: where labels may lie. A label that fits nowhere stands to the right of
    its circle.
    """
    placed: dict[int, Bbox] = {}
    # Those with the least room first: with the most circles nearby.
    crowd = [sum(math.dist(a, b) < 120 for b in centers) for a in centers]
    for index in sorted(range(len(centers)), key=lambda i: -crowd[i]):
        candidates = _candidates(centers[index], radii[index], sizes[index])
        fitting = (
            box
            for box in candidates
            if bounds.contains(*box.p0)
            and bounds.contains(*box.p1)
            and all(_distance(center, box) >= radius for center, radius in zip(centers, radii, strict=True))
            and not any(box.overlaps(other) for other in placed.values())
        )
        placed[index] = next(fitting, candidates[0])
    return [placed[index] for index in range(len(centers))]


def _candidates(center: np.ndarray, radius: float, size: np.ndarray) -> list[Bbox]:
    """List boxes around a circle, nearest first; to the right first among equally near ones."""
    found = []
    for ring in range(40):
        for turn in (0, 4, 2, 6, 1, 7, 3, 5):
            direction = np.array([math.cos(turn * math.pi / 4), math.sin(turn * math.pi / 4)])
            corner = center + direction * (radius + LABEL_DISTANCE_PX * (1 + ring) + size / 2) - size / 2
            found.append(Bbox([corner, corner + size]))
    return found


def _distance(point: np.ndarray, box: Bbox) -> float:
    return math.dist(point, np.clip(point, box.p0, box.p1))
