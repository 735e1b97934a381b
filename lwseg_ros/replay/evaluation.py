"""Evaluate the predictions of a bag's frames against the ground truth in the bag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lwseg_ros.errors import ImageError
from lwseg_ros.evaluation.evaluator import Evaluator, Prediction
from lwseg_ros.model.manifest import Manifest
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.paired_truth import PairedTruth
from lwseg_ros.replay.pairing import Frame


@dataclass(frozen=True)
class KeptFrame:
    """An evaluated frame, kept to be looked at: image uint8 BGR [H, W, 3], ground truth uint8 [H, W] or None."""

    index: int
    image: np.ndarray
    prediction: Prediction
    ground_truth: np.ndarray | None


def evaluate_bag(
    bag: Bag,
    truth: PairedTruth,
    manifest: Manifest,
    predict: Callable[[Frame, np.ndarray], Prediction | None],
    *,
    num_kept: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> tuple[Evaluator, list[KeptFrame], int]:
    """Walk through a bag, ask for the prediction of every frame, and evaluate it.

    Args:
        truth: which images there are, and what is true of them; it counts what it is asked for.
        predict: gets the frame and its image, uint8 BGR [H, W, 3]; returns None where there is no prediction.
        num_kept: how many frames, evenly spread, to keep.
        progress: called after every frame.

    Returns:
        The evaluator, the kept frames, and the number of images that cannot be decoded.

    Raises:
        BagError: the bag is damaged.
    """
    evaluator = Evaluator.of_model(replace(manifest, ignore_id=truth.ignore_id))
    kept: list[KeptFrame] = []
    num_bad = 0
    chosen = set(np.linspace(0, len(truth.frames) - 1, num_kept).round().astype(int).tolist())
    for frame in truth.frames:
        progress()
        if not frame.follows:
            evaluator.consistency.skip()
        try:
            image = bag.image(frame.image)
        except ImageError:
            num_bad += 1
            evaluator.consistency.skip()
            continue
        prediction = predict(frame, image)
        if prediction is None:
            evaluator.consistency.skip()
            continue
        ground_truth = truth.judge(frame, image.shape[:2])
        evaluator.add(prediction, ground_truth, image)
        if frame.index in chosen:
            kept.append(KeptFrame(frame.index, image, prediction, ground_truth))
    return evaluator, kept, num_bad
