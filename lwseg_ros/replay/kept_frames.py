"""The frames of a bag that are worth looking at, chosen while it is walked through, so that few are in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.replay.rows import FrameRow

# Neighbours look alike: of each second, by stamp, only one frame is shown for one reason.
SPACING_NS = 1_000_000_000


@dataclass(frozen=True)
class KeptFrame:
    """An evaluated frame, kept to be looked at: image uint8 BGR [H, W, 3], ground truth uint8 [H, W] or None.

    why: "worst", "most uncertain", "confidently wrong", or "spread", one of those that are evenly spread over the bag.
    """

    index: int
    image: np.ndarray
    prediction: Prediction
    ground_truth: np.ndarray | None
    row: FrameRow
    why: str


def _badness(row: FrameRow) -> tuple[float, ...] | None:
    return None if row.miou is None or row.pixel_accuracy is None else (-row.miou, -row.pixel_accuracy)


def _uncertainty(row: FrameRow) -> tuple[float, ...] | None:
    # Chosen among frames with ground truth, as without it nobody can tell whether the uncertainty is right.
    return None if row.miou is None or row.mean_uncertainty is None else (row.mean_uncertainty,)


def _confident_error(row: FrameRow) -> tuple[float, ...] | None:
    return (row.confident_error,) if row.confident_error else None


def _second(row: FrameRow) -> tuple[int, int]:
    return row.bag, row.stamp_ns // SPACING_NS


# In order of precedence: a frame is shown once, for its first reason.
SCORES: dict[str, Callable[[FrameRow], tuple[float, ...] | None]] = {
    "worst": _badness,  # by mIoU of its classes, among equals by pixel accuracy
    "most uncertain": _uncertainty,
    "confidently wrong": _confident_error,
}


class FrameSelection:
    """Keep evenly spread frames, and of each other reason the few frames with the highest scores.

    The choice is that of sorting all frames: of each second the one with the highest score, of these the highest, the earlier
    one of equals. A frame that has several reasons is kept for the first, so there may be fewer frames of the others.
    What several selections kept can be offered to a further one: that chooses as if it had seen all frames.
    """

    def __init__(self, num_frames: int, num_spread: int, num_extreme: int) -> None:
        """Start with none.

        Args:
            num_frames: how many the bag has.
            num_spread: how many to keep evenly spread.
            num_extreme: how many to keep of each other reason.
        """
        self._spread = set(np.linspace(0, num_frames - 1, num_spread).round().astype(int).tolist())
        self._num_extreme = num_extreme
        self._kept_spread: list[KeptFrame] = []
        self._best: dict[str, list[tuple[tuple[float, ...], KeptFrame]]] = {why: [] for why in SCORES}

    def offer(self, frame: KeptFrame) -> None:
        """Keep a frame if it belongs to those that are kept so far; its `why` does not matter."""
        if frame.index in self._spread:
            self._kept_spread.append(replace(frame, why="spread"))
        for why, score_of in SCORES.items():
            score = score_of(frame.row)
            if score is not None:
                self._best[why] = self._with(self._best[why], score, replace(frame, why=why))

    def frames(self) -> list[KeptFrame]:
        """Return what is kept: the worst first, reason by reason; evenly spread frames last, in the bag's order."""
        shown: dict[int, KeptFrame] = {}
        for best in self._best.values():
            for _, frame in best:
                shown.setdefault(frame.index, frame)
        return [*shown.values(), *self._kept_spread]

    def _with(
        self, best: list[tuple[tuple[float, ...], KeptFrame]], score: tuple[float, ...], frame: KeptFrame
    ) -> list[tuple[tuple[float, ...], KeptFrame]]:
        """Return the best with a further candidate among them."""
        rival = next((entry for entry in best if _second(entry[1].row) == _second(frame.row)), None)
        if rival is not None and rival[0] >= score:
            return best
        others = [entry for entry in best if entry is not rival]
        # sorted() is stable: of equal scores the one that came first stays in front
        return sorted([*others, (score, frame)], key=lambda entry: entry[0], reverse=True)[: self._num_extreme]
