"""Replay a bag straight through the segmenter: no ROS, no clock, every frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.evaluation import evaluate_bag
from lwseg_ros.replay.pairing import Frame, ambiguities
from lwseg_ros.replay.results import Engine, FrameCounts, ReplayResult
from lwseg_ros.segmenter import Segmenter


def replay_offline(
    path: Path,
    segmenter: Segmenter,
    *,
    topic: str | None = None,
    label_topic: str | None = None,
    num_kept: int = 0,
    num_extreme: int = 0,
    progress: Callable[[int], Callable[[], object]] = lambda total: lambda: None,
) -> ReplayResult:
    """Segment every frame of a bag and evaluate it.

    Args:
        topic: the image topic; None takes the only one.
        label_topic: the ground truth; None takes the only topic called `label`, if there is one.
        num_kept: how many frames, evenly spread, to keep for the report.
        num_extreme: how many more of the worst, of the most uncertain and of the most confidently wrong ones each.
        progress: gets the number of frames and returns what to call after each.

    Raises:
        BagError: the bag or a topic in it cannot be used.
    """
    with Bag(path) as bag:
        truth = bag.label_topic(label_topic)
        image = bag.image_topic(topic, exclude=truth.name if truth else None)
        inference_ms: list[float] = []

        def predict(_: Frame, image: np.ndarray) -> Prediction:
            segmentation = segmenter.segment([image])[0]
            inference_ms.append(segmentation.inference_ms)
            return Prediction(segmentation.label, segmentation.uncertainty)

        start_s = time.monotonic()
        evaluation = evaluate_bag(
            bag,
            image,
            truth,
            segmenter.manifest,
            predict,
            num_kept=num_kept,
            num_extreme=num_extreme,
            progress=progress(image.count),
        )
        elapsed_s = time.monotonic() - start_s
        backend, choice = segmenter.backend, segmenter.choice
        return ReplayResult(
            source=str(path),
            image_topic=image.name,
            label_topic=truth.name if truth else None,
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
            counts=FrameCounts(image.count, len(inference_ms), 0, evaluation.num_bad),
            rate_hz=len(inference_ms) / elapsed_s,
            latencies_ms=(),
            inference_ms=tuple(inference_ms),
            evaluator=evaluation.evaluator,
            kept=tuple(evaluation.kept),
            rows=tuple(evaluation.rows),
            warnings=(*bag.warnings, *ambiguities(bag, image, truth)),
        )
