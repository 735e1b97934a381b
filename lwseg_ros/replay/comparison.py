"""Two runs side by side: differences of their metrics, intervals of these, and the frames that changed most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation import bootstrap
from lwseg_ros.evaluation.metrics import ConfusionMatrix, finite_or_none
from lwseg_ros.replay.rows import FrameRow
from lwseg_ros.replay.run_folder import Run
from lwseg_ros.replay.time_blocks import MIN_BLOCKS, block_length_s, cut, sum_counts

NUM_CHANGED = 10  # frames that lost, and as many that gained


def compare(run: Run, base: Run) -> dict[str, Any]:
    """Compare a run with a base, frame by frame where both are of one bag's images, and else each as a whole.

    Paired differences are over the frames that both runs judged. Their intervals come from one bootstrap over blocks of time in
    which both runs lose and repeat the same blocks, so that what is hard for both cancels out.

    Returns:
        What `report.json` holds as `against`, ready for JSON: `differences` are run less base; without enough blocks, and where
        a class is not there, low and high are None; `partial` names the runs that are.

    Raises:
        LwsegError: the runs are of other classes, have no judged frame to compare, or judged other pixels of a frame: by another
            mask, label map or topic of ground truth. A difference would then be of these, and not of the models.
    """
    if run.class_names != base.class_names:
        raise LwsegError(
            f"{run.name} and {base.name} are of different classes ({', '.join(run.class_names)}; "
            f"{', '.join(base.class_names)}); only runs of the same classes can be compared"
        )
    unpaired = _why_unpaired(run, base)
    ours, theirs = run.judged, base.judged
    if unpaired is None:
        both = {row.index for row in ours} & {row.index for row in theirs}
        ours, theirs = ([row for row in rows if row.index in both] for rows in (ours, theirs))
    if not ours or not theirs:
        raise LwsegError(
            f"{run.name} and {base.name} have no judged frame in common; there is nothing to compare"
            if unpaired is None
            else f"{base.name if ours else run.name} holds no frame with ground truth; there is nothing to compare"
        )
    num_classes = len(run.class_names)
    block_s = block_length_s(ours)
    blocks = cut(ours, block_s)
    if unpaired is None:
        base_rows = {row.index: row for row in theirs}
        _check_same_truth(run, base, ours, base_rows)
        base_blocks = [[base_rows[row.index] for row in block] for block in blocks.values()]
    else:
        base_blocks = list(cut(theirs, block_length_s(theirs)).values())
    return {
        "run": base.name,
        "model": base.figures["model"],
        "model_sha256": base.figures["model_sha256"],
        "unpaired_because": unpaired,
        "partial": _partial(run, base),
        "frames": {"run": len(ours), "base": len(theirs)},
        "level": bootstrap.LEVEL,
        "blocks": len(blocks),
        "block_s": block_s,
        "differences": _differences(
            [sum_counts(block, num_classes) for block in blocks.values()],
            [sum_counts(block, num_classes) for block in base_blocks],
            run.class_names,
            paired=unpaired is None,
        ),
        "changed": _changed(ours, theirs) if unpaired is None else [],
    }


def _why_unpaired(run: Run, base: Run) -> str | None:
    """Say why frames of the runs do not belong together, or return None where they do."""
    ours, theirs = run.figures, base.figures
    if [bag["sha256"] for bag in ours["bags"]] != [bag["sha256"] for bag in theirs["bags"]]:
        why = "the bags differ"
    elif ours["topics"]["image"] != theirs["topics"]["image"]:
        why = f"the image topics differ, {ours['topics']['image']} and {theirs['topics']['image']}"
    else:
        return None
    options = _other_options(run, base)
    partial = [f"{name} is partial" for name in _partial(run, base)]
    return ", ".join([why, *([f"judged by other options ({options})"] if options else []), *partial])


def _partial(*runs: Run) -> list[str]:
    """Name the runs that were interrupted, or lack a bag."""
    return [run.name for run in runs if run.figures.get("partial")]


def _check_same_truth(run: Run, base: Run, ours: Sequence[FrameRow], base_rows: Mapping[int, FrameRow]) -> None:
    """Raise LwsegError unless in every frame both runs judged as many pixels of each true class."""
    num_classes = len(run.class_names)
    for row in ours:
        counts, base_counts = (sum_counts([each], num_classes).true_pixels for each in (row, base_rows[row.index]))
        if (counts != base_counts).any():
            options = _other_options(run, base)
            raise LwsegError(
                f"{run.name} and {base.name} judged other pixels, in frame {row.index} {counts.sum()} and {base_counts.sum()}"
                + (f" ({options})" if options else "")
                + "; replay one of them again with the other's --label-topic, --label-map, --label-tolerance, --ignore-id and "
                "--mask"
            )


def _other_options(run: Run, base: Run) -> str:
    """Name the options of the ground truth in which runs differ, with both values; empty where they do not."""

    def options(each: Run) -> dict[str, Any]:
        truth = each.figures["truth"]
        named = {option: truth.get(option) for option in ("tolerance_ms", "label_map", "ignore_id")}
        mask = str(truth.get("mask_sha256") or "")[:12] or bool(truth.get("pixels_masked"))
        return {"topic": each.figures["topics"]["truth"], **named, "mask": mask}

    theirs = options(base)
    return ", ".join(
        f"{name}: {ours} and {theirs[name]}" for name, ours in options(run).items() if ours != theirs[name]
    )


def _differences(
    blocks: Sequence[ConfusionMatrix], base_blocks: Sequence[ConfusionMatrix], names: Sequence[str], *, paired: bool
) -> dict[str, Any]:
    """Return the differences of miou, pixel_accuracy and per_class_iou with the ends of their intervals."""
    exact, base_exact = (_total(each) for each in (blocks, base_blocks))
    ends: list[list[float] | None] = [None] * (2 + len(names))
    if min(len(blocks), len(base_blocks)) >= MIN_BLOCKS:
        base_seed = bootstrap.SEED if paired else bootstrap.SEED + 1
        samples, base_samples = (
            np.column_stack([drawn.miou, drawn.pixel_accuracy, drawn.per_class_iou])
            for drawn in (bootstrap.resample(blocks), bootstrap.resample(base_blocks, base_seed))
        )
        ends = [bootstrap.interval(column) for column in (samples - base_samples).T]
    difference = [
        {"difference": finite_or_none(value), "low": bounds and bounds[0], "high": bounds and bounds[1]}
        for value, bounds in zip(exact - base_exact, ends, strict=True)
    ]
    per_class = dict(zip(names, difference[2:], strict=True))
    return {"miou": difference[0], "pixel_accuracy": difference[1], "per_class_iou": per_class}


def _total(blocks: Sequence[ConfusionMatrix]) -> np.ndarray:
    """Return miou, pixel accuracy and the IoU of each class of all blocks together, float64 [2 + C], nan where unknown."""
    total = ConfusionMatrix(blocks[0].num_classes)
    for block in blocks:
        total.merge(block)
    return np.array([total.miou, total.pixel_accuracy, *total.per_class_iou])


def _changed(ours: Sequence[FrameRow], theirs: Sequence[FrameRow]) -> list[dict[str, Any]]:
    """List the frames that lost and that gained most pixel accuracy, the greatest loss first."""
    before = {row.index: row.pixel_accuracy or 0.0 for row in theirs}
    rows = [
        {
            "index": row.index,
            "stamp_ns": row.stamp_ns,
            "before": before[row.index],
            "after": row.pixel_accuracy or 0.0,
        }
        for row in ours
    ]
    rows = sorted((row for row in rows if row["after"] != row["before"]), key=lambda row: row["after"] - row["before"])
    return rows if len(rows) <= 2 * NUM_CHANGED else rows[:NUM_CHANGED] + rows[-NUM_CHANGED:]
