"""Write `report.json` and `frames.csv` for programs and `report.html`, one file that opens offline, for people."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.machine import library_versions, machine
from lwseg_ros.files import write_atomically
from lwseg_ros.replay.report import charts as draw
from lwseg_ros.replay.results import ReplayResult
from lwseg_ros.replay.rows import frames_csv


@dataclass(frozen=True)
class ClassRow:
    """One row of the table of classes: colour as CSS, IoU, and the class's share of the true pixels."""

    name: str
    color: str
    iou: float | None
    share: float | None


def write_report(result: ReplayResult, folder: Path) -> Path:
    """Write the three files into the folder, which is made where it is missing, and return the path of the HTML.

    Raises:
        LwsegError: the folder cannot be written.
    """
    pages = {
        "frames.csv": frames_csv(result.rows),
        "report.json": json.dumps(result.figures(), indent=2) + "\n",
        "report.html": render(result),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            write_atomically(folder / name, text.encode())
    except OSError as error:
        raise LwsegError(f"cannot write the report to {folder}: {error.strerror}; choose another with -o") from error
    return folder / "report.html"


def render(result: ReplayResult) -> str:
    """Render the HTML report."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = lambda value: "not measured" if value is None else f"{value * 100:.1f} %"
    figures = result.figures()
    manifest = result.model.manifest
    return environment.get_template("report.html").render(
        result=result,
        figures=figures,
        manifest=manifest,
        classes=_class_rows(result, figures),
        latency_svg=jinja2.utils.markupsafe.Markup(draw.latency_svg(result.latencies_ms, figures["engine_ms"]["p50"])),
        reliability_svg=jinja2.utils.markupsafe.Markup(draw.reliability_svg(result.evaluator.uncertainty)),
        strip=draw.strip(result.kept, manifest),
        provenance=_flat(
            {"training": manifest.training, "validation": manifest.validation, "held_out": manifest.held_out}
        ),
        machine={
            **machine(),
            "ROS": os.environ.get("ROS_DISTRO", "from the Python wheels"),
            **library_versions(),
        },
    )


def _class_rows(result: ReplayResult, figures: dict[str, Any]) -> list[ClassRow]:
    confusion = result.evaluator.confusion
    pixels = confusion.counts.sum(axis=1) + confusion.unlabelled
    shares = pixels / pixels.sum() if pixels.sum() else [None] * len(pixels)
    return [
        ClassRow(
            name=info.name,
            color="#{:02x}{:02x}{:02x}".format(*info.color_rgb),
            iou=figures["per_class_iou"][info.name],
            share=None if share is None else float(share),
        )
        for info, share in zip(sorted(result.model.manifest.classes, key=lambda c: c.id), shares, strict=True)
    ]


def _number(value: float | None, digits: int = 1, unit: str = "") -> str:
    return "not measured" if value is None else f"{value:.{digits}f}{unit}"


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
