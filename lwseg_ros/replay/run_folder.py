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
from lwseg_ros.host.files import open_regular
from lwseg_ros.replay.rows import FrameRow

SCHEMA = 1
"""Version of `report.json` and `rows.npz`; a new key does not change it, another meaning of an old one does."""


MAX_BYTES = 1 << 30  # of each file, `rows.npz` unpacked; 100,000 frames of 20 classes take a tenth of that
# What is read of `report.json` without asking whether it is there: objects and what they hold, and those that may be null.
_OBJECTS = {
    "topics": ("image", "truth"),
    "frames": ("dropped_by_cause",),
    "truth": ("topic", "images", "messages", "matched", "judged", "unmatched", "ambiguous", "pixels"),
    "latency_ms": ("p50", "p95", "p99"),
    "engine_ms": ("p50", "p95"),
    "per_class_iou": (),
    "boundary_iou": ("mean",),
    "uncertainty": ("ece", "auroc", "aurc"),
    "confusion": ("classes", "counts", "unlabelled"),
}
_OPTIONAL_OBJECTS = {
    "accepted": ("share", "error_rate", "level", "confidence", "not_met", "per_class"),
    "intervals": ("level", "blocks", "block_s", "miou", "pixel_accuracy"),
    "against": ("run", "differences", "unpaired_because", "frames"),
}
_NUMBERS = ("rate_hz", "engine_hz", "miou", "miou_present", "pixel_accuracy", "temporal_consistency")
_COUNTS = ("published", "segmented", "dropped", "bad")


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
        LwsegError: it is no report, of another version, cannot be read, or holds the files of two runs.
    """
    remedy = "name the folder that `lwseg replay -o` wrote, or replay again"
    try:
        figures = _read_figures(folder / "report.json")
        if figures.get("schema") != SCHEMA:
            raise LwsegError(f"{folder}/report.json is of schema {figures.get('schema')!r}, read is {SCHEMA}; {remedy}")
        _check_figures(figures)
        return Run(str(folder), figures, _read_rows(folder / "rows.npz", figures))
    except FileNotFoundError as error:
        raise LwsegError(f"no run at {folder}: {Path(error.filename).name} is missing; {remedy}") from error
    except LwsegError:
        raise
    except Exception as error:  # JSON, zip, zlib and numpy each have errors of their own
        raise LwsegError(f"the run at {folder} cannot be read ({type(error).__name__}: {error}); {remedy}") from error


def _read_figures(path: Path) -> dict[str, Any]:
    """Read JSON as it is written here: without NaN and Infinity, which no figure is."""

    def refuse(text: str) -> None:
        raise ValueError(f"{path.name} holds {text}, which is no figure")

    with open_regular(path) as file:
        data = file.read(MAX_BYTES + 1)
    _demand(len(data) <= MAX_BYTES, f"{path.name} has more than {MAX_BYTES} bytes")
    figures = json.loads(data, parse_constant=refuse)
    _demand(isinstance(figures, dict), f"{path.name} is no object")
    return dict(figures)


def _check_figures(figures: dict[str, Any]) -> None:
    """Check what is used of the figures without a further look; raises ValueError or KeyError."""
    for name, keys in (_OBJECTS | _OPTIONAL_OBJECTS).items():
        value = figures[name]
        if value is None and name in _OPTIONAL_OBJECTS:
            continue
        _demand(isinstance(value, dict) and {*keys} <= value.keys(), f"{name!r} is no object with {', '.join(keys)}")
    for name in ("fallback_reason", "verdict"):
        _demand(figures[name] is None or isinstance(figures[name], str), f"{name!r} is no text")
    for name in _NUMBERS:
        _demand(figures[name] is None or isinstance(figures[name], (int, float)), f"{name!r} is no number")
    for name in ("model", "model_sha256", "backend", "precision"):
        _demand(isinstance(figures[name], str), f"{name!r} is no text")
    bags = figures["bags"]
    _demand(isinstance(bags, list) and len(bags) > 0, "'bags' is no list of bags")
    _demand(all(isinstance(bag[name], str) for bag in bags for name in ("path", "sha256")), "'bags' names none")
    for name in _COUNTS:
        _demand(isinstance(figures["frames"][name], int), f"'frames' has no count {name!r}")
    texts = [*(each["requirement"] for each in figures["requirements"]), *figures.get("warnings", [])]
    _demand(all(isinstance(text, str) for text in texts), "'requirements' or 'warnings' holds no text")
    names = list(figures["per_class_iou"])
    _demand(figures["confusion"]["classes"] == names, "'confusion' and 'per_class_iou' are of different classes")


def _read_rows(path: Path, figures: dict[str, Any]) -> tuple[FrameRow, ...]:
    """Read `rows.npz`; raises ValueError where it is not what `pack_rows` writes, or not of this `report.json`."""
    num_classes = len(figures["per_class_iou"])
    with open_regular(path) as opened, np.load(opened, allow_pickle=False) as file:
        _demand(sum(entry.file_size for entry in file.zip.infolist()) <= MAX_BYTES, f"unpacked over {MAX_BYTES} bytes")
        columns = [file[name] for name in ("index", "stamp_ns", "bag", "ends")]
        cells = file["cells"]
    index, _, _, ends = columns
    _demand(all(each.dtype == np.int64 and each.shape == ends.shape == (len(ends),) for each in columns), "odd columns")
    _demand(cells.dtype == np.uint32 and cells.ndim == 2 and cells.shape[1] == 2, "'cells' is no uint32 [K, 2]")
    _demand(not len(cells) or int(cells[:, 0].max()) < num_classes * (num_classes + 1), "a cell is of no class")
    _demand(bool((np.diff(ends, prepend=0, append=len(cells)) >= 0).all()), "'ends' does not ascend to the last cell")
    _demand((int(ends[-1]) if len(ends) else 0) == len(cells), "'cells' and 'ends' are of different frames")
    _demand(len(np.unique(index)) == len(index), "a frame is there twice")
    total = ConfusionMatrix(num_classes)
    total.add_sparse(cells)
    counted = figures["confusion"]["counts"], figures["confusion"]["unlabelled"]
    _demand(
        (total.counts.tolist(), total.unlabelled.tolist()) == counted,
        "rows.npz and report.json are of different runs: their counts of pixels differ",
    )
    split = np.split(cells, ends[:-1]) if len(ends) else []
    indices, stamps_ns, bags = (column.tolist() for column in columns[:3])
    return tuple(
        _row(number, stamp_ns, bag, part, num_classes)
        for number, stamp_ns, bag, part in zip(indices, stamps_ns, bags, split, strict=True)
    )


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _row(index: int, stamp_ns: int, bag: int, cells: np.ndarray, num_classes: int) -> FrameRow:
    confusion = ConfusionMatrix(num_classes)
    confusion.add_sparse(cells)
    accuracy = finite_or_none(confusion.pixel_accuracy)
    return FrameRow(index, stamp_ns, pixel_accuracy=accuracy, bag=bag, cells=cells.astype(np.uint32).tobytes())
