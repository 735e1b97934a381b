"""`report.html` and `comparison.html`: each one file that opens offline, for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from lwseg_ros.replay.report.charts import MAX_POINTS, Chart, Series, reliability, risk_coverage, timeline
from lwseg_ros.replay.report.document import Report
from lwseg_ros.replay.report.pictures import pictures
from lwseg_ros.replay.requirements import Outcome
from lwseg_ros.replay.rows import FrameRow
from lwseg_ros.replay.run_folder import Run

MAX_SHOWN_CLASSES = 24  # of the confusion matrix: the most frequent ones
MAX_SHOWN_ROWS = 30_000  # of which the page knows the figures; of more, each second, third, ...


@dataclass(frozen=True)
class ClassRow:
    """One row of the table of classes: colour as CSS, share of the true pixels, and metrics, None where not measured."""

    name: str
    color: str
    share: float | None
    iou: float | None
    interval: tuple[float, float] | None
    precision: float | None
    recall: float | None
    boundary_iou: float | None
    ece: float | None


def environment() -> jinja2.Environment:
    """Return the environment of the page's templates, which lie beside this module."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": _number, "percent": _percent, "points": _points}
    return made


def render(report: Report) -> str:
    """Render the page."""
    result, figures = report.result, report.figures
    manifest = result.model.manifest
    uncertainty = figures["uncertainty"]
    sparsification = uncertainty.get("sparsification")
    oracle = list(zip(sparsification["removed"], sparsification["oracle"], strict=True)) if sparsification else []
    return (
        environment()
        .get_template("report.html")
        .render(
            report=report,
            result=result,
            figures=figures,
            name=", ".join(Path(bag["path"]).name for bag in figures["bags"]),
            base=report.against.figures if report.against and figures["against"] else None,
            max_points=MAX_POINTS,
            manifest=manifest,
            truth=Truth.of(figures),
            classes=_class_rows(report),
            confusion=_confusion(figures),
            timelines=_timelines(report),
            reliability=reliability(uncertainty["bins"]) if uncertainty.get("bins") else None,
            risk=risk_coverage(
                uncertainty.get("risk_coverage") or [], [(1 - removed, risk) for removed, risk in oracle if removed < 1]
            ),
            pictures=pictures(list({frame.index: frame for frame in reversed(result.kept)}.values())[::-1], manifest),
            data=_data(result.rows),
            training=_flat(
                {"training": manifest.training, "validation": manifest.validation, "held_out": manifest.held_out}
            ),
        )
    )


def render_comparison(
    base: Run, others: Sequence[Run], figures: Sequence[Mapping[str, Any]], outcomes: Sequence[Sequence[Outcome]]
) -> str:
    """Render the page of runs against a base; figures are those of `report.json`, with `against`."""
    runs = list(zip(others, figures, outcomes, strict=True))
    return environment().get_template("comparison.html").render(base=base, runs=runs)


@dataclass(frozen=True)
class Truth:
    """What was judged.

    Attributes:
        steps: name and count, in the order in which frames are lost, and whether it is less than it should be.
        sentences: what is missing, for people.
    """

    steps: tuple[tuple[str, int, bool], ...]
    sentences: tuple[str, ...]

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> Truth:
        """Take the counts from `report.json`."""
        frames, truth = figures["frames"], figures["truth"]
        published, messages, judged = frames["published"], truth["messages"], truth["judged"]
        steps = (
            ("images", published, False),
            ("segmented", frames["segmented"], frames["segmented"] < published),
            ("labels in the bag", messages, messages < published),
            ("of an image", truth["matched"], truth["matched"] < messages),
            ("images judged", judged, judged < published),
        )
        said = []
        if judged < published:
            share = judged / published
            said.append(
                f"Only {judged} of {published} images were judged ({share:.1%}); the metrics are of these alone."
            )
        for count, why in (
            (truth["unmatched"], "belong to no image"),
            (truth["ambiguous"], "may belong to several images, and are not used"),
        ):
            if count:
                said.append(f"{count} of {messages} labels {why}.")
        return cls(steps, tuple(said))

    @property
    def is_complete(self) -> bool:
        """Whether every image was judged, and every label used."""
        return not any(is_short for _, _, is_short in self.steps)


def _class_rows(report: Report) -> list[ClassRow]:
    figures = report.figures
    confusion = report.result.evaluator.confusion
    pixels = confusion.true_pixels
    boundary = (figures["boundary_iou"] or {}).get("per_class", {})
    intervals = (figures["intervals"] or {}).get("per_class_iou", {})
    ece = figures["uncertainty"].get("per_class_ece") or {}
    return [
        ClassRow(
            name=info.name,
            color="#{:02x}{:02x}{:02x}".format(*info.color_rgb),
            share=float(count / pixels.sum()) if pixels.sum() else None,
            iou=figures["per_class_iou"][info.name],
            interval=intervals.get(info.name),
            precision=figures["per_class_precision"][info.name],
            recall=figures["per_class_recall"][info.name],
            boundary_iou=boundary.get(info.name),
            ece=ece.get(info.name),
        )
        for info, count in zip(sorted(report.result.model.manifest.classes, key=lambda c: c.id), pixels, strict=True)
    ]


def _confusion(figures: dict[str, Any]) -> dict[str, Any] | None:
    """Return names and, row by row, the share of each class's true pixels that is predicted as each class."""
    if figures["confusion"] is None:
        return None
    counts, names = np.array(figures["confusion"]["counts"]), figures["confusion"]["classes"]
    pixels = counts.sum(axis=1) + np.array(figures["confusion"]["unlabelled"])
    shown = sorted(np.argsort(-pixels, kind="stable")[:MAX_SHOWN_CLASSES].tolist())
    shown = [index for index in shown if pixels[index] or counts[:, index].any()]
    if not shown:
        return None
    return {
        "names": [names[index] for index in shown],
        "left_out": len(names) - len(shown),
        "rows": [[float(counts[i, j] / pixels[i]) if pixels[i] else None for j in shown] for i in shown],
    }


def _timelines(report: Report) -> list[Chart]:
    rows, figures = report.result.rows, report.figures
    lost = [place for place, row in enumerate(rows) if row.cause is not None]
    latency, engine = figures["latency_ms"], figures["engine_ms"]
    guides = {"p50": latency["p50"], "p99": latency["p99"], "engine p50": engine["p50"]}
    columns = [
        Series("pixel_accuracy", "Pixel accuracy", "%", [row.pixel_accuracy for row in rows]),
        Series("miou", "mIoU by frame", "%", [row.miou for row in rows]),
        Series("mean_uncertainty", "Mean uncertainty", "%", [row.mean_uncertainty for row in rows], is_share=False),
        Series("accepted_share", "Accepted pixels", "%", [row.accepted_share for row in rows]),
        Series("latency_ms", "Latency", "ms", [row.latency_ms for row in rows], guides, is_share=False),
    ]
    return [chart for series in columns if (chart := timeline(series, lost)) is not None]


def _data(rows: Sequence[FrameRow]) -> str:
    """Return what the page's script knows of the frames, as JSON; columns, since names in every row would be most of it."""
    step = math.ceil(len(rows) / MAX_SHOWN_ROWS) or 1
    first_ns: dict[int, int] = {}
    for row in rows:
        first_ns.setdefault(row.bag, row.stamp_ns)

    def rounded(value: float | None, digits: int) -> float | None:
        return None if value is None else round(value, digits)

    shown = rows[::step]
    columns: dict[str, Any] = {
        "count": len(rows),
        "step": step,
        "time_s": [rounded((row.stamp_ns - first_ns[row.bag]) / 1e9, 2) for row in shown],
        "cause": {index: row.cause for index, row in enumerate(shown) if row.cause is not None},
    }
    for name, digits in (
        ("pixel_accuracy", 4),
        ("miou", 4),
        ("mean_uncertainty", 4),
        ("accepted_share", 4),
        ("latency_ms", 1),
    ):
        values = [rounded(getattr(row, name), digits) for row in shown]
        if any(value is not None for value in values):
            columns[name] = values
    return json.dumps(columns, separators=(",", ":")).replace(
        "<", "\\u003c"
    )  # nothing in it ends the element that holds it


def _number(value: float | None, digits: int = 1, unit: str = "") -> str:
    return "not measured" if value is None else f"{value:.{digits}f}{unit}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "not measured" if value is None else f"{value * 100:.{digits}f} %"


def _points(value: float | None, digits: int = 2) -> str:
    """Show a difference of shares in percentage points, with its sign."""
    return "not measured" if value is None else f"{value * 100:+.{digits}f}"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested values into `a.b: text`, to be shown in a table."""
    rows: dict[str, str] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            rows.update(_flat(value, f"{key}."))
        else:
            rows[key] = f"{value:.4g}" if isinstance(value, float) else str(value)
    return rows
