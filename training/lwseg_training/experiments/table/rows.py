"""The table of networks: its rows, which of them had equal budgets, and the table as Markdown."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SHORT_RUN = "short run"
"""What the note of a recipe says that trains for less than its network needs."""


@dataclass
class Row:
    """One network of the table, filled in as it is trained and measured. What is not known is None or empty."""

    name: str  # of the recipe, or of a model file that was there already
    network: str = ""  # as registered
    note: str = ""  # of the recipe, such as `short run`
    train_splits: tuple[str, ...] = ()  # what it was trained on
    steps: int | None = None
    epochs: float | None = None
    images_seen: int | None = None  # in training, each image as often as it was seen: the budget
    training_seconds: float | None = None
    hardware: str = ""  # what it was trained on, in words
    parameters: int | None = None  # trainable ones, heads that only train included
    multiply_adds: int | None = None  # of one inference at input_size_hw
    input_size_hw: tuple[int, int] | None = None
    miou: float | None = None  # on the validation split, as ece; both in [0, 1]
    ece: float | None = None
    images: int | None = None  # of the validation split
    held_out: dict[str, float] = field(default_factory=dict)  # mIoU by the sequence that was held out of training
    held_out_ece: dict[str, float] = field(default_factory=dict)  # where the model's temperature was cross-fitted
    held_out_auroc: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, Any] | None = None  # latency on the CPU: a device of `latencies`
    gpu: dict[str, Any] | None = None
    fault: str = ""  # why figures are missing

    def fail(self, reason: str) -> None:
        """Note why figures are missing, beside what was noted before."""
        self.fault = f"{self.fault}; {reason}" if self.fault else reason

    @property
    def is_short_run(self) -> bool:
        """Whether more training would raise the figures."""
        return SHORT_RUN in self.note

    def saw(self, split: str) -> bool:
        """Whether it was trained on a split, so that figures there say nothing about unseen images."""
        return split in self.train_splits

    def held_out_miou(self, sequences: Sequence[str]) -> float | None:
        """Return the mean mIoU over the sequences, None unless all of them were measured."""
        return _mean(self.held_out, sequences)


def _mean(by_sequence: Mapping[str, float], sequences: Sequence[str]) -> float | None:
    """Return the mean over the sequences, None unless all of them were measured."""
    if not sequences or any(sequence not in by_sequence for sequence in sequences):
        return None
    return sum(by_sequence[sequence] for sequence in sequences) / len(sequences)


def equal_budgets(rows: Sequence[Row]) -> dict[int, str]:
    """Return a letter for each number of training images seen that two rows or more have, in the order of the rows."""
    counts = Counter(row.images_seen for row in rows if row.images_seen is not None)
    return dict(zip((seen for seen, count in counts.items() if count > 1), string.ascii_uppercase, strict=False))


def markdown_table(rows: Sequence[Row], sequences: Sequence[str] = ()) -> str:
    """Lay out the rows; the columns of equal budgets, held-out sequences and latencies are there only where there are any."""
    letters = equal_budgets(rows)
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("network", lambda row: f"`{row.network}`" if row.network else ""),
        ("recipe", lambda row: f"`{row.name}`"),
        ("training", training_cell),
    ]
    if letters:
        columns.append(("equal budget", lambda row: letters.get(row.images_seen or 0, "")))
    columns += [
        ("parameters", lambda row: _scaled(row.parameters, 1e6, "M")),
        ("multiply-adds", lambda row: _scaled(row.multiply_adds, 1e9, "G")),
        ("validation mIoU", lambda row: _fixed(row.miou)),
        ("ECE", lambda row: _fixed(row.ece)),
    ]
    if sequences:
        columns.append(("held-out mIoU", lambda row: _fixed(row.held_out_miou(sequences))))
    if any(_mean(row.held_out_ece, sequences) is not None for row in rows):
        columns.append(("held-out ECE", lambda row: _fixed(_mean(row.held_out_ece, sequences))))
        columns.append(("held-out AUROC", lambda row: _fixed(_mean(row.held_out_auroc, sequences))))
    if any(row.cpu for row in rows):
        columns.append(("CPU latency p50", lambda row: _milliseconds(row.cpu)))
    if any(row.gpu for row in rows):
        columns.append(("GPU latency p50", lambda row: _milliseconds(row.gpu)))
    lines = [" | ".join(title for title, _ in columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(cell(row) for _, cell in columns) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def training_cell(row: Row) -> str:
    """Say how long a network was trained and on what, and what the recipe notes."""
    if row.steps is None:
        return "failed" if row.fault else row.note
    parts = [row.note] if row.note else []
    if len(row.train_splits) > 1:
        parts.append(" + ".join(row.train_splits))
    parts.append(f"{row.steps} steps")
    if row.epochs is not None:
        parts.append(f"{row.epochs:.3g} epochs")
    if row.training_seconds is not None:
        parts.append(duration(row.training_seconds))
    return ", ".join(parts) + (f" on {row.hardware}" if row.hardware else "")


def duration(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def notes(rows: Sequence[Row], dataset: str, split: str, sequences: Sequence[str] = ()) -> list[str]:
    """Say what the table's figures are and what they were measured on, a sentence or two a line."""
    images = sorted({row.images for row in rows if row.images is not None})
    sizes = sorted({row.input_size_hw for row in rows if row.input_size_hw is not None})
    lines = []
    if images:
        lines.append(f"Validation figures are those on `{split}` of `{dataset}` ({_listed(images)} images).")
    seen = [f"`{row.name}`" for row in rows if row.miou is not None and row.saw(split)]
    if seen:
        lines.append(
            f"Trained on `{split}` too, so that validation figures say nothing about unseen images: {_listed(seen)}."
        )
    if sizes:
        at = _listed(f"{height} x {width}" for height, width in sizes)
        lines.append(
            f"Parameters count heads that only train, multiply-adds one inference at {at} pixels (height x width)."
        )
    letters = equal_budgets(rows)
    if letters:
        budgets = _listed(f"{letter} {seen:,}" for seen, letter in letters.items())
        lines.append(f"Rows with the same letter saw equally many training images: {budgets}.")
    if sequences and any(row.held_out for row in rows):
        mean = "mean over " if len(sequences) > 1 else ""
        lines.append(
            f"Held-out mIoU: the recipe trained without a sequence and evaluated on it, {mean}{_listed(sequences)}."
        )
    if any(row.held_out_ece for row in rows):
        lines.append(
            "Held-out ECE and AUROC: of the same runs, with the model's temperature, which was fitted to all those sequences."
        )
    for kind, figures in (("CPU", [row.cpu for row in rows]), ("GPU", [row.gpu for row in rows])):
        measured = [figure for figure in figures if figure]
        if measured:
            on = _listed(dict.fromkeys(figure["device"] for figure in measured))
            library = _listed(
                dict.fromkeys(f"{f['runtime']} {f['library_version']}, {f['precision']}" for f in measured)
            )
            lines.append(f"{kind} latency: median of the calls, one image a call, on {on} ({library}).")
    lines += [f"`{row.name}` failed: {row.fault}" for row in rows if row.fault]
    return lines


def _listed(values: Any) -> str:
    return ", ".join(map(str, values))


def _fixed(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _scaled(value: int | None, unit: float, letter: str) -> str:
    return "" if value is None else f"{value / unit:.2f} {letter}"


def _milliseconds(figures: dict[str, Any] | None) -> str:
    return "" if figures is None else f"{figures['latency_ms']['p50']:.1f} ms"
