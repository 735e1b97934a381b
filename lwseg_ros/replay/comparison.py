"""Two runs side by side: differences of their metrics, intervals of these, and the frames that changed most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.metrics import finite_or_none
from lwseg_ros.replay.run_folder import JudgedFrames, Run

LEVEL = 0.95
NUM_RESAMPLES = 1000
BLOCK_S = 1.0
NUM_CHANGED = 10  # frames that got better, and as many that got worse


@dataclass(frozen=True)
class Comparison:
    """A run against a base.

    Attributes:
        base: the run that it is compared with.
        pairing: None where frame was compared with frame, or why that could not be.
        frames: how many frames of the run, and of the base, the differences are over; the same when paired.
        blocks: how many blocks of time were resampled, of the run.
        figures: difference (run less base) with the ends of its interval, each a share or None: miou, pixel_accuracy, and
            per_class_iou by class.
        changed: index, stamp_ns, pixel accuracy before and after, of the frames whose accuracy changed most, the worst first.
    """

    base: Run
    pairing: str | None
    frames: tuple[int, int]
    blocks: int
    figures: dict[str, Any]
    changed: tuple[dict[str, Any], ...]

    def as_json(self) -> dict[str, Any]:
        """Return what `report.json` holds as `against`."""
        return {
            "run": str(self.base.folder),
            "model": self.base.figures["model"],
            "model_sha256": self.base.figures["model_sha256"],
            "paired": self.pairing is None,
            "unpaired_because": self.pairing,
            "frames": self.frames[0],
            "frames_of_run": self.frames[1],
            "level": LEVEL,
            "blocks": self.blocks,
            "differences": self.figures,
            "changed": list(self.changed),
        }


def compare(run: Run, base: Run) -> Comparison:
    """Compare a run with a base, frame by frame where both are of one bag's images, and else each as a whole.

    Differences are over the frames that both runs judged. Their intervals come from the block bootstrap (Kuensch, The Jackknife
    and the Bootstrap for General Stationary Observations, 1989) over blocks of BLOCK_S, since neighbouring frames are not
    independent: paired runs lose and repeat the same blocks, so that what is hard for both cancels out.

    Raises:
        LwsegError: the runs are of other classes, or one of them judged no frame.
    """
    if run.class_names != base.class_names:
        raise LwsegError(
            f"{run.folder} and {base.folder} are of different classes ({', '.join(run.class_names)}; "
            f"{', '.join(base.class_names)}); only runs of the same classes can be compared"
        )
    pairing = _why_unpaired(run, base)
    ours, theirs = run.frames, base.frames
    if pairing is None:
        _, rows, base_rows = np.intersect1d(ours.index, theirs.index, assume_unique=True, return_indices=True)
        ours, theirs = ours.take(rows), theirs.take(base_rows)
    for each, frames in ((run, ours), (base, theirs)):
        if not len(frames.index):
            both = "" if pairing else " that the other judged too"
            raise LwsegError(f"{each.folder} holds no frame with ground truth{both}; there is nothing to compare")
    random = np.random.default_rng(0)
    blocks = _sum_blocks(ours)
    draws = _draw(len(blocks), random)
    base_blocks = _sum_blocks(theirs, like=ours if pairing is None else None)
    base_draws = draws if pairing is None else _draw(len(base_blocks), random)
    samples = _metrics(np.tensordot(draws, blocks, 1)), _metrics(np.tensordot(base_draws, base_blocks, 1))
    exact = _metrics(blocks.sum(axis=0)), _metrics(base_blocks.sum(axis=0))
    difference = exact[0] - exact[1]
    low, high = _quantiles(samples[0] - samples[1])
    ends = [
        {"difference": finite_or_none(here), "low": finite_or_none(least), "high": finite_or_none(most)}
        for here, least, most in zip(difference, low, high, strict=True)
    ]
    return Comparison(
        base=base,
        pairing=pairing,
        frames=(len(ours.index), len(theirs.index)),
        blocks=len(blocks),
        figures={
            "miou": ends[0],
            "pixel_accuracy": ends[1],
            "per_class_iou": dict(zip(run.class_names, ends[2:], strict=True)),
        },
        changed=_changed(ours, theirs) if pairing is None else (),
    )


def _why_unpaired(run: Run, base: Run) -> str | None:
    """Say why frames of the runs do not belong together, or return None where they do."""
    ours, theirs = run.figures, base.figures
    if [bag["sha256"] for bag in ours["bags"]] != [bag["sha256"] for bag in theirs["bags"]]:
        return "the bags differ"
    if ours["topics"]["image"] != theirs["topics"]["image"]:
        return f"the image topics differ, {ours['topics']['image']} and {theirs['topics']['image']}"
    return None


def _sum_blocks(frames: JudgedFrames, like: JudgedFrames | None = None) -> np.ndarray:
    """Sum the counts of each block of time, int64 [B, C, 3]; blocks are those of `like`, whose frames are the same."""
    stamps = (like or frames).stamp_ns
    _, block = np.unique((stamps - stamps.min()) // int(BLOCK_S * 1e9), return_inverse=True)
    sums = np.zeros((block.max() + 1, *frames.counts.shape[1:]), np.int64)
    np.add.at(sums, block, frames.counts)
    return sums


def _draw(num_blocks: int, random: np.random.Generator) -> np.ndarray:
    """Draw how often each block is in each resample, int64 [R, B]."""
    return random.multinomial(num_blocks, np.full(num_blocks, 1 / num_blocks), size=NUM_RESAMPLES)


def _metrics(counts: np.ndarray) -> np.ndarray:
    """Compute miou, pixel accuracy and the IoU of each class, float64 [..., 2 + C], of counts [..., C, 3]; nan where unknown."""
    right, true, predicted = np.moveaxis(counts, -1, 0)
    union = true + predicted - right
    iou = np.divide(right, union, out=np.full(right.shape, np.nan), where=union > 0)
    known = np.isfinite(iou).sum(axis=-1)
    miou = np.divide(np.nansum(iou, axis=-1), known, out=np.full(known.shape, np.nan), where=known > 0)
    accuracy = right.sum(axis=-1) / true.sum(axis=-1)
    return np.concatenate([miou[..., None], accuracy[..., None], iou], axis=-1)


def _quantiles(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval, float64 [K] each; nan for a figure that a resample does not have."""
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def _changed(ours: JudgedFrames, theirs: JudgedFrames) -> tuple[dict[str, Any], ...]:
    """List the frames that lost and that gained most pixel accuracy, the greatest loss first."""
    after, before = ours.pixel_accuracy, theirs.pixel_accuracy
    order = np.argsort(after - before, kind="stable")
    rows = [row for row in order[:NUM_CHANGED] if after[row] < before[row]]
    rows += [row for row in order[-NUM_CHANGED:] if after[row] > before[row]]
    return tuple(
        {
            "index": int(ours.index[row]),
            "stamp_ns": int(ours.stamp_ns[row]),
            "before": float(before[row]),
            "after": float(after[row]),
        }
        for row in rows
    )
