"""Replay a bag straight through the segmenter: no ROS, no clock, every frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.evaluation import evaluate_bag
from lwseg_ros.replay.ground_truth import GroundTruth
from lwseg_ros.replay.paired_truth import PairedTruth
from lwseg_ros.replay.pairing import Frame
from lwseg_ros.replay.recorders import recorder_to
from lwseg_ros.replay.results import Engine, FrameCounts, ReplayResult
from lwseg_ros.segmenter import Segmenter


def replay_offline(
    path: Path,
    segmenter: Segmenter,
    *,
    topic: str | None = None,
    ground_truth: GroundTruth | None = None,
    num_kept: int = 0,
    num_extreme: int = 0,
    record: Path | None = None,
    progress: Callable[[int], Callable[[], object]] = lambda total: lambda: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> ReplayResult:
    """Segment every frame of a bag and evaluate it.

    Args:
        topic: the image topic; None takes the only one.
        ground_truth: what to judge by; None takes the camera's own labels, if there are any.
        num_kept: how many frames, evenly spread, to keep for the report.
        num_extreme: how many more of the worst, of the most uncertain and of the most confidently wrong ones each.
        record: a file that gets the predictions, of one of the kinds in `RECORDERS`.
        progress: gets the number of frames and returns what to call after each.
        interrupted: asked before each frame; once it is true, the result is partial and of the frames before.

    Raises:
        BagError: the bag or a topic in it cannot be used.
        RecordError: the file to record to cannot be written.
        DatasetError: label map or mask do not fit.
    """
    with Bag(path) as bag, ExitStack() as stack:
        wanted = ground_truth or GroundTruth()
        image = bag.image_topic(topic, exclude=wanted.topic)
        truth = PairedTruth(bag, image, wanted, segmenter.manifest)
        inference_ms: list[float] = []

        def predict(_: Frame, image: np.ndarray) -> Prediction:
            segmentation = segmenter.segment([image])[0]
            inference_ms.append(segmentation.inference_ms)
            return Prediction(segmentation.label, segmentation.uncertainty)

        recorder = stack.enter_context(recorder_to(record, bag, image, segmenter.manifest)) if record else None
        start_s = time.monotonic()
        evaluation = evaluate_bag(
            bag,
            truth,
            segmenter.manifest,
            predict,
            num_kept=num_kept,
            num_extreme=num_extreme,
            progress=progress(image.count),
            until=lambda _: interrupted(),
            on_prediction=recorder.add if recorder else lambda *_: None,
        )
        elapsed_s = time.monotonic() - start_s
        backend, choice = segmenter.backend, segmenter.choice
        return ReplayResult.of_bag(
            bag,
            image,
            truth,
            evaluation,
            mode="offline, straight through the segmenter",
            model=segmenter.model,
            engine=Engine(
                backend.name,
                backend.precision,
                backend.device,
                backend.library_version,
                choice.reason,
                choice.fallback_reason,
            ),
            counts=FrameCounts(len(evaluation.rows), len(inference_ms), 0, evaluation.num_bad),
            rate_hz=len(inference_ms) / elapsed_s,
            inference_ms=inference_ms,
            warnings=bag.warnings,
        )
