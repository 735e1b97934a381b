"""Evaluate the predictions of a bag's frames against the ground truth in the bag."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from lwseg_ros.errors import ImageError
from lwseg_ros.evaluation.counts import Counts
from lwseg_ros.evaluation.evaluator import Evaluator, Prediction
from lwseg_ros.evaluation.metrics import finite_or_none
from lwseg_ros.model.acceptance import Acceptance
from lwseg_ros.model.manifest import NO_UNCERTAINTY, Manifest
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.kept_frames import FrameSelection, KeptFrame
from lwseg_ros.replay.lookahead import map_ahead
from lwseg_ros.replay.paired_truth import PairedTruth
from lwseg_ros.replay.pairing import Frame
from lwseg_ros.replay.rows import CAUSE_BAD, CAUSE_NO_LABEL, FrameRow


@dataclass(frozen=True)
class BagEvaluation:
    """What `evaluate_bag` finds: the metrics, the frames to look at, and a row an image that was walked through, in
    the bag's order."""

    evaluator: Evaluator
    kept: list[KeptFrame]
    rows: list[FrameRow]

    @property
    def num_bad(self) -> int:
        """Number of images that cannot be decoded."""
        return sum(row.cause == CAUSE_BAD for row in self.rows)


def evaluate_bag(
    bag: Bag,
    truth: PairedTruth,
    manifest: Manifest,
    predict: Callable[[Frame, np.ndarray], Prediction | None],
    *,
    latencies_ms: Sequence[float | None] = (),
    num_kept: int = 0,
    num_extreme: int = 0,
    progress: Callable[[], object] = lambda: None,
    until: Callable[[int], bool] = lambda index: False,
    on_prediction: Callable[[Frame, np.ndarray, Prediction], object] = lambda frame, image, prediction: None,
) -> BagEvaluation:
    """Walk through a bag, ask for the prediction of every frame, and evaluate it.

    Args:
        truth: which images there are, and what is true of them; it counts what it is asked for.
        predict: gets the frame and its image, uint8 BGR [H, W, 3]; returns None where there is no prediction. It is called in
            a thread of its own, while this one decodes the frames to come and evaluates those before.
        latencies_ms: one an image, as far as they were measured.
        num_kept: how many frames, evenly spread, to keep.
        num_extreme: how many more to keep of the worst, of the most uncertain and of the most confidently wrong ones each.
        progress: called after every frame.
        until: asked before every frame with its index; once it is true, the frames before it are all.
        on_prediction: called with every frame that has a prediction, with its image and that prediction.

    Raises:
        BagError: the bag is damaged.
    """
    evaluator = Evaluator.of_model(replace(manifest, ignore_id=truth.ignore_id), in_detail=True, regions=truth.regions)
    rows: list[FrameRow] = []
    selection = FrameSelection(len(truth.frames), num_kept, num_extreme)
    wanted = takewhile(lambda frame: not until(frame.index), truth.frames)

    def answer(item: tuple[Frame, np.ndarray | None]) -> Prediction | None:
        frame, image = item
        return None if image is None else predict(frame, image)

    with closing(map_ahead(answer, _decoded(bag, wanted))) as answered:
        for (frame, image), prediction in answered:
            progress()
            latency_ms = latencies_ms[frame.index] if frame.index < len(latencies_ms) else None
            row = FrameRow(frame.index, frame.image.stamp_ns, latency_ms)
            if not frame.follows:
                evaluator.consistency.skip()
            if image is None or prediction is None:
                rows.append(replace(row, cause=CAUSE_BAD if image is None else CAUSE_NO_LABEL))
                evaluator.consistency.skip()
                continue
            ground_truth = truth.judge(frame, image.shape[:2])
            counts = evaluator.add(prediction, ground_truth, image)
            known = None if manifest.uncertainty_kind == NO_UNCERTAINTY else prediction.uncertainty
            row = _measured(row, prediction.label, known, counts, evaluator.acceptance)
            rows.append(row)
            on_prediction(frame, image, prediction)
            selection.offer(KeptFrame(frame.index, image, prediction, ground_truth, row, "spread"))
    return BagEvaluation(evaluator, selection.frames(), rows)


def _decoded(bag: Bag, frames: Iterable[Frame]) -> Iterator[tuple[Frame, np.ndarray | None]]:
    """Yield each frame with its image, uint8 BGR [H, W, 3], None where that cannot be decoded."""
    for frame in frames:
        try:
            image = bag.image(frame.image)
        except ImageError:
            yield frame, None
        else:
            yield frame, image


def _measured(
    row: FrameRow,
    label: np.ndarray,
    uncertainty: np.ndarray | None,
    counts: Counts | None,
    acceptance: Acceptance | None,
) -> FrameRow:
    """Complete the row of a frame that has a label; uncertainty is None where it is not known, counts without ground truth."""
    if uncertainty is not None:
        row = replace(row, mean_uncertainty=float(uncertainty.mean()) / 255)
        if acceptance is not None:
            accepted = acceptance.accepted(label, uncertainty)
            row = replace(row, accepted_share=float(accepted.mean()) / 255)
    if counts is None:
        return row
    return replace(
        row,
        pixel_accuracy=finite_or_none(counts.confusion.pixel_accuracy),
        miou=finite_or_none(counts.confusion.miou_present),
        confident_error=finite_or_none(counts.uncertainty.confident_error),
        cells=counts.confusion.sparse.tobytes(),
    )
