"""The files of the table of networks: table.md, table.json, the picture, and the section of a README.

A table is a dictionary: `rows` (Row), `sequences` that were left out, `dataset` and `split` that the rows are judged on, the
`command` that made it, the `date` of its newest figure (None without any), and the conditions of `latency` (None without any).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lwseg_ros.files import write_atomically
from lwseg_training.experiments.table.marked_section import write_section
from lwseg_training.experiments.table.measurements import write_json
from lwseg_training.experiments.table.picture import Point, write_picture
from lwseg_training.experiments.table.rows import Row, equal_budgets, markdown_table, notes

PICTURE = "accuracy_latency.png"
README_PICTURE = Path("docs/images") / PICTURE


def write_table(table: dict[str, Any], out: Path) -> None:
    """Write table.md, table.json and, where a row has both accuracy and latency, the picture into a folder."""
    points = picture_points(table["rows"])
    write_atomically(out / "table.md", (markdown(table) + (_picture_line(PICTURE) if points else "")).encode())
    write_json(out / "table.json", as_json(table))
    if points:
        write_picture(points, out / PICTURE, _title(table))
    else:
        (out / PICTURE).unlink(missing_ok=True)  # of another table


def write_into_readme(table: dict[str, Any], readme: Path) -> None:
    """Put the table between the comments of a README, and the picture into README_PICTURE beside it."""
    points = picture_points(table["rows"])
    body = markdown(table)
    if points:
        picture = readme.parent / README_PICTURE
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_picture(points, picture, _title(table))
        body += _picture_line(README_PICTURE.as_posix())
    write_section(readme, body)


def markdown(table: dict[str, Any]) -> str:
    """Lay out the table, and under it what its figures are and how they were made."""
    rows, sequences = table["rows"], table["sequences"]
    lines = notes(rows, table["dataset"], table["split"], sequences)
    made = f"Made by `{table['command']}`" + (f" on {table['date']}" if table["date"] else "")
    if table["latency"]:
        host = table["latency"]["machine"]
        made += f", latency on {host['cores']} cores of {host['processor']}"
    return markdown_table(rows, sequences) + "\n" + "\n".join([*lines, f"{made}."]) + "\n"


def as_json(table: dict[str, Any]) -> dict[str, Any]:
    """Return the table with its rows as JSON has them."""
    letters = equal_budgets(table["rows"])
    rows = [
        {**asdict(row), "equal_budget": letters.get(row.images_seen or 0), "short_run": row.is_short_run}
        for row in table["rows"]
    ]
    return {**table, "rows": rows}


def picture_points(rows: Sequence[Row]) -> list[Point]:
    """Return the points of the rows that have both accuracy and latency; two of one network go by their recipes' names.

    None where there is only one: a picture is for comparing.
    """
    networks = [row.network for row in rows if row.miou is not None and row.cpu and row.parameters]
    if len(networks) < 2:
        return []
    return [
        Point(
            row.network if networks.count(row.network) == 1 else row.name,
            row.cpu["latency_ms"]["p50"],
            row.miou,
            row.parameters,
            hollow=row.is_short_run,
        )
        for row in rows
        if row.miou is not None and row.cpu and row.parameters
    ]


def _title(table: dict[str, Any]) -> str:
    return f"{table['dataset']}, {table['split']}"


def _picture_line(path: str) -> str:
    return f"\n![Validation mIoU against CPU latency, a circle a network]({path})\n"
