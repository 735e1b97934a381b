"""The files of the table of networks: table.md, table.json, the picture, and the section of a README.

A table is a dictionary: `rows` (Row), `sequences` that were held out, `dataset` and `split` that the rows are evaluated on, the
`command` that made it, the `date` of its newest figure (None without any), and the conditions of `latency` (None without any).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lwseg_ros.host.files import write_atomically, write_json
from lwseg_training.experiments.table.marked_section import write_section
from lwseg_training.experiments.table.picture import Point, write_picture
from lwseg_training.experiments.table.rows import Row, equal_budgets, markdown_table, notes

PICTURE = "accuracy_latency.png"
README_PICTURE = Path("docs/images") / PICTURE


def write_table(table: dict[str, Any], out: Path) -> None:
    """Write table.md, table.json and, where rows have both accuracy and latency, the picture into a folder."""
    text = _with_picture(table, out, Path(PICTURE))
    if PICTURE not in text:
        (out / PICTURE).unlink(missing_ok=True)  # of another table
    write_atomically(out / "table.md", text.encode())
    write_json(out / "table.json", as_json(table))


def write_into_readme(table: dict[str, Any], readme: Path) -> None:
    """Put the table between the comments of a README, and the picture into README_PICTURE beside it."""
    write_section(readme, _with_picture(table, readme.parent, README_PICTURE))


def _with_picture(table: dict[str, Any], folder: Path, picture: Path) -> str:
    """Draw the picture in its place under a folder, if there is one; return the table as Markdown with the picture."""
    rows, split, sequences = table["rows"], table["split"], table["sequences"]
    held_out = any(row.saw(split) for row in rows) and any(row.held_out_miou(sequences) is not None for row in rows)
    points = picture_points(rows, split, sequences if held_out else ())
    if not points:
        return markdown(table)
    accuracy, split = ("Held-out mIoU", "held out " + " ".join(sequences)) if held_out else ("Validation mIoU", split)
    (folder / picture).parent.mkdir(parents=True, exist_ok=True)
    write_picture(points, folder / picture, f"{table['dataset']}, {split}", accuracy)
    return markdown(table) + f"\n![{accuracy} against CPU latency, a circle a network]({picture.as_posix()})\n"


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


def picture_points(rows: Sequence[Row], split: str, sequences: Sequence[str] = ()) -> list[Point]:
    """Return the points of the rows that have both accuracy and latency; two of one network go by their recipes' names.

    Accuracy is the mean over the held-out sequences where there are any, else that on the split, of rows that were not trained on
    it. None where there is only one: a picture is for comparing.
    """
    accuracies = [row.held_out_miou(sequences) if sequences else None if row.saw(split) else row.miou for row in rows]
    points = [
        (row, Point(row.network, row.cpu["latency_ms"]["p50"], accuracy, row.parameters, hollow=row.is_short_run))
        for row, accuracy in zip(rows, accuracies, strict=True)
        if accuracy is not None and row.cpu and row.parameters
    ]
    networks = Counter(row.network for row, _ in points)
    named = [point if networks[row.network] == 1 else replace(point, label=row.name) for row, point in points]
    return named if len(named) > 1 else []
