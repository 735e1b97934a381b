"""A finished run in its folder, read again to be compared: `report.json`, and the counts of each frame in `rows.npz`."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.metrics import ConfusionMatrix, finite_or_none
from lwseg_ros.replay.rows import FrameRow

SCHEMA = 1
"""Version of `report.json` and `rows.npz`; a new key does not change it, another meaning of an old one does."""


@dataclass(frozen=True)
class Run:
    """A run: where it lies, or what it is called, the figures of its `report.json`, and the rows of its frames.

    Of frames read from a folder there are only those with ground truth, with index, stamp_ns, bag, pixel_accuracy and confusion.
    """

    name: str
    figures: dict[str, Any]
    rows: tuple[FrameRow, ...]

    @property
    def class_names(self) -> list[str]:
        """The classes by id."""
        return list(self.figures["per_class_iou"])

    @property
    def judged(self) -> list[FrameRow]:
        """The rows of the frames that were judged."""
        return [row for row in self.rows if row.is_judged]


def pack_rows(rows: Sequence[FrameRow]) -> bytes:
    """Return the content of `rows.npz`.

    index, stamp_ns, bag: int64 [N], of the frames with ground truth. cells: uint32 [K, 2], the counts of one after another as
    `ConfusionMatrix.sparse` gives them. ends: int64 [N], where in `cells` each frame's end.
    """
    judged = [(row, row.confusion) for row in rows if row.confusion is not None]
    file = io.BytesIO()
    np.savez_compressed(
        file,
        index=np.array([row.index for row, _ in judged], np.int64),
        stamp_ns=np.array([row.stamp_ns for row, _ in judged], np.int64),
        bag=np.array([row.bag for row, _ in judged], np.int64),
        cells=np.concatenate([np.zeros((0, 2), np.uint32), *(cells for _, cells in judged)]),
        ends=np.cumsum([len(cells) for _, cells in judged], dtype=np.int64),
    )
    return file.getvalue()


def read_run(folder: Path) -> Run:
    """Read the folder of a report.

    Raises:
        LwsegError: it is no report, of another version, or cannot be read.
    """
    remedy = "name the folder that `lwseg replay -o` wrote, or replay again"
    try:
        figures = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        version = figures.get("schema") if isinstance(figures, dict) else None
        if version != SCHEMA:
            raise LwsegError(f"{folder}/report.json is of schema {version}, read is {SCHEMA}; {remedy}")
        with np.load(folder / "rows.npz", allow_pickle=False) as file:
            index, stamp_ns, bag, ends = (file[name].tolist() for name in ("index", "stamp_ns", "bag", "ends"))
            cells = np.split(file["cells"], ends[:-1]) if ends else []
        num_classes = len(figures["per_class_iou"])
        rows = tuple(_row(*row, num_classes) for row in zip(index, stamp_ns, bag, cells, strict=True))
        return Run(str(folder), figures, rows)
    except FileNotFoundError as error:
        raise LwsegError(f"no run at {folder}: {Path(error.filename).name} is missing; {remedy}") from error
    except LwsegError:
        raise
    except Exception as error:  # JSON, zip, zlib and numpy each have errors of their own
        raise LwsegError(f"the run at {folder} cannot be read ({type(error).__name__}: {error}); {remedy}") from error


def _row(index: int, stamp_ns: int, bag: int, cells: np.ndarray, num_classes: int) -> FrameRow:
    confusion = ConfusionMatrix(num_classes)
    confusion.add_sparse(cells)
    accuracy = finite_or_none(confusion.pixel_accuracy)
    return FrameRow(index, stamp_ns, pixel_accuracy=accuracy, bag=bag, confusion=cells)
