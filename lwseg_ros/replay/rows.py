"""One row a published image: what became of it and how good its label is. `frames.csv` is made of these."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

CAUSE_BAD = "bad image"  # nobody can decode it
CAUSE_NO_LABEL = "no label"  # none came back, and nothing says why
COLUMNS = (
    "index",
    "stamp_ns",
    "latency_ms",
    "cause",
    "pixel_accuracy",
    "miou",
    "mean_uncertainty",
    "accepted_share",
)


@dataclass(frozen=True)
class FrameRow:
    """What is known of one published image; what was not measured is None. A few hundred bytes.

    Attributes:
        index: number of the image in its bag; in a replay of several, numbered on from bag to bag.
        stamp_ns: of its header.
        latency_ms: from publishing it to receiving its label in another process.
        cause: why there is no label; None where there is one.
        pixel_accuracy: share of the pixels with ground truth whose label is right, in [0, 1].
        miou: mean IoU of the classes that are in this image's ground truth, in [0, 1].
        mean_uncertainty: over all pixels of the image, in [0, 1], 1 for level 255.
        accepted_share: share of the pixels that the model vouches for, in [0, 1].
        confident_error: share of the pixels with ground truth that are wrong, each counted by its certainty, 1 less its
            uncertainty.
        bag: number of the recording in a replay of several, whose stamps have nothing to do with each other.
        cells: the bytes of `confusion`; None without ground truth. Arrays of many frames, between those of images that come and
            go, would keep the heap from using its memory again.
    """

    index: int
    stamp_ns: int
    latency_ms: float | None = None
    cause: str | None = None
    pixel_accuracy: float | None = None
    miou: float | None = None
    mean_uncertainty: float | None = None
    accepted_share: float | None = None
    confident_error: float | None = None
    bag: int = 0
    cells: bytes | None = field(default=None, repr=False)

    @property
    def confusion(self) -> np.ndarray | None:
        """The counts of this image as `ConfusionMatrix.sparse` gives them, uint32 [K, 2]; None without ground truth."""
        return None if self.cells is None else np.frombuffer(self.cells, np.uint32).reshape(-1, 2)

    @property
    def is_judged(self) -> bool:
        """Whether it has a label and ground truth of which at least one pixel counts."""
        return self.pixel_accuracy is not None


def frames_csv(rows: Iterable[FrameRow]) -> str:
    """Write the rows as CSV (RFC 4180) under the names of COLUMNS; a field is empty where nothing was measured."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)
    return text.getvalue()
