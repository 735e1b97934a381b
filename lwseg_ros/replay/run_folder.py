"""A finished run in its folder, read again to be compared: `report.json`, and the counts of each frame in `rows.npz`."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lwseg_ros.errors import LwsegError

SCHEMA = 1
"""Version of `report.json` and `rows.npz`; a new key does not change it, another meaning of an old one does."""


@dataclass(frozen=True)
class JudgedFrames:
    """The frames of a run that were judged.

    Attributes:
        index: int64 [N], of the photo in the bag, ascending.
        stamp_ns: int64 [N].
        counts: int64 [N, C, 3]; of each class the pixels that are right, true and predicted.
    """

    index: np.ndarray
    stamp_ns: np.ndarray
    counts: np.ndarray

    @property
    def pixel_accuracy(self) -> np.ndarray:
        """Share of right pixels of each frame, float64 [N]."""
        right, true = self.counts[..., 0].sum(axis=1), self.counts[..., 1].sum(axis=1)
        return np.asarray(right / true)

    def take(self, rows: np.ndarray) -> JudgedFrames:
        """Return the frames of these rows."""
        return JudgedFrames(self.index[rows], self.stamp_ns[rows], self.counts[rows])

    def packed(self) -> bytes:
        """Return the content of `rows.npz`."""
        file = io.BytesIO()
        counts = self.counts.astype(np.uint32)  # an image has fewer pixels
        np.savez_compressed(file, index=self.index, stamp_ns=self.stamp_ns, counts=counts)
        return file.getvalue()


@dataclass(frozen=True)
class Run:
    """A run: the folder it lies in, the figures of its `report.json`, and its judged frames."""

    folder: Path
    figures: dict[str, Any]
    frames: JudgedFrames

    @property
    def class_names(self) -> list[str]:
        """The classes by id."""
        return list(self.figures["per_class_iou"])


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
        with np.load(folder / "rows.npz", allow_pickle=False) as rows:
            frames = JudgedFrames(rows["index"], rows["stamp_ns"], rows["counts"].astype(np.int64))
        num_classes = len(figures["per_class_iou"])
        shapes = frames.index.shape, frames.stamp_ns.shape, frames.counts.shape
        if shapes != ((n := len(frames.index),), (n,), (n, num_classes, 3)):
            raise LwsegError(f"{folder}/rows.npz does not belong to the report.json beside it: {shapes}; {remedy}")
        return Run(folder, figures, frames)
    except FileNotFoundError as error:
        raise LwsegError(f"no run at {folder}: {Path(error.filename).name} is missing; {remedy}") from error
    except LwsegError:
        raise
    except Exception as error:  # JSON, zip, zlib and numpy each have errors of their own
        raise LwsegError(f"the run at {folder} cannot be read ({type(error).__name__}: {error}); {remedy}") from error
