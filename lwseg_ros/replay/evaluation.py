"""Evaluate the predictions of a bag's frames against the ground truth in the bag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lwseg_ros.errors import BagError, ImageError
from lwseg_ros.evaluation.counts import Counts
from lwseg_ros.evaluation.evaluator import Evaluator, Prediction
from lwseg_ros.evaluation.metrics import finite_or_none
from lwseg_ros.model.manifest import Manifest
from lwseg_ros.replay.bag import Bag, Topic
from lwseg_ros.replay.kept_frames import FrameSelection, KeptFrame
from lwseg_ros.replay.pairing import Frame, frames
from lwseg_ros.replay.rows import CAUSE_BAD, CAUSE_NO_LABEL, FrameRow


@dataclass(frozen=True)
class BagEvaluation:
    """What `evaluate_bag` finds: the metrics, the frames to look at, and a row an image of the bag, in its order."""

    evaluator: Evaluator
    kept: list[KeptFrame]
    rows: list[FrameRow]

    @property
    def num_bad(self) -> int:
        """Number of images that cannot be decoded."""
        return sum(row.cause == CAUSE_BAD for row in self.rows)


def evaluate_bag(
    bag: Bag,
    image_topic: Topic,
    label_topic: Topic | None,
    manifest: Manifest,
    predict: Callable[[Frame, np.ndarray], Prediction | None],
    *,
    latencies_ms: Sequence[float | None] = (),
    num_kept: int = 0,
    num_extreme: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> BagEvaluation:
    """Walk through a bag, ask for the prediction of every frame, and evaluate it.

    Args:
        predict: gets the frame and its image, uint8 BGR [H, W, 3]; returns None where there is no prediction.
        latencies_ms: one an image, as far as they were measured.
        num_kept: how many frames, evenly spread, to keep.
        num_extreme: how many more to keep of the worst, of the most uncertain and of the most confidently wrong ones each.
        progress: called after every frame.

    Raises:
        BagError: the bag is damaged, a label does not fit its image, or no label fits any image.
    """
    evaluator, rows, num_labels = Evaluator.of_model(manifest, in_detail=True), [], 0
    selection = FrameSelection(image_topic.count, num_kept, num_extreme)
    for frame in frames(bag, image_topic, label_topic):
        progress()
        num_labels += frame.ground_truth is not None
        latency_ms = latencies_ms[frame.index] if frame.index < len(latencies_ms) else None
        row = FrameRow(frame.index, frame.image.stamp_ns, latency_ms)
        try:
            image = bag.image(frame.image)
        except ImageError:
            rows.append(replace(row, cause=CAUSE_BAD))
            evaluator.consistency.skip()
            continue
        ground_truth = bag.label(frame.ground_truth) if frame.ground_truth is not None else None
        if ground_truth is not None:
            _check_size(bag, frame, image, ground_truth)
        prediction = predict(frame, image)
        if prediction is None:
            rows.append(replace(row, cause=CAUSE_NO_LABEL))
            evaluator.consistency.skip()
            continue
        row = _measured(row, prediction, evaluator.add(prediction, ground_truth, image))
        rows.append(row)
        selection.offer(KeptFrame(frame.index, image, prediction, ground_truth, row, "spread"))
    if label_topic is not None and not num_labels:
        raise BagError(
            f"no stamp on {label_topic.name} equals one on {image_topic.name} in {bag.path}; "
            "a label has to carry the stamp of its image"
        )
    return BagEvaluation(evaluator, selection.frames(), rows)


def _measured(row: FrameRow, prediction: Prediction, counts: Counts | None) -> FrameRow:
    """Complete the row of a frame that has a label; counts are None without ground truth."""
    if prediction.uncertainty is not None:
        row = replace(row, mean_uncertainty=float(prediction.uncertainty.mean()) / 255)
    if counts is None:
        return row
    return replace(
        row,
        pixel_accuracy=finite_or_none(counts.confusion.pixel_accuracy),
        miou=finite_or_none(counts.confusion.miou_present),
        confident_error=finite_or_none(counts.uncertainty.confident_error),
        confusion=counts.confusion.sparse,
    )


def _check_size(bag: Bag, frame: Frame, image: np.ndarray, ground_truth: np.ndarray) -> None:
    if ground_truth.shape != image.shape[:2]:
        assert frame.ground_truth is not None
        raise BagError(
            f"the label on {frame.ground_truth.topic} at {frame.ground_truth.stamp_ns} ns in {bag.path} is "
            f"{ground_truth.shape[0]} x {ground_truth.shape[1]} pixels (height x width), its image {image.shape[0]} x "
            f"{image.shape[1]}; both have to be the same size"
        )
