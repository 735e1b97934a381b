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
from lwseg_ros.replay.pairing import Frame, ambiguities
from lwseg_ros.replay.prediction_recorder import PredictionRecorder
from lwseg_ros.replay.results import Engine, FrameCounts, ReplayResult, interruption_warning
from lwseg_ros.segmenter import Segmenter


def replay_offline(
    path: Path,
    segmenter: Segmenter,
    *,
    topic: str | None = None,
    label_topic: str | None = None,
    num_kept: int = 0,
    record: Path | None = None,
    progress: Callable[[int], Callable[[], object]] = lambda total: lambda: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> ReplayResult:
    """Segment every frame of a bag and evaluate it.

    Args:
        topic: the image topic; None takes the only one.
        label_topic: the ground truth; None takes the only topic called `label`, if there is one.
        num_kept: how many frames to keep for the report.
        record: an MCAP file that gets the predictions beside the originals, see `PredictionRecorder`.
        progress: gets the number of frames and returns what to call after each.
        interrupted: asked before each frame; once it is true, the result is partial and of the frames before.

    Raises:
        BagError: the bag or a topic in it cannot be used.
        RecordError: the file to record to cannot be written.
    """
    with Bag(path) as bag, ExitStack() as stack:
        truth = bag.label_topic(label_topic)
        image = bag.image_topic(topic, exclude=truth.name if truth else None)
        inference_ms: list[float] = []

        def predict(_: Frame, image: np.ndarray) -> Prediction:
            segmentation = segmenter.segment([image])[0]
            inference_ms.append(segmentation.inference_ms)
            return Prediction(segmentation.label, segmentation.uncertainty)

        recorder = stack.enter_context(PredictionRecorder(record, bag, image, segmenter.manifest)) if record else None
        start_s = time.monotonic()
        evaluator, kept, num_bad = evaluate_bag(
            bag,
            image,
            truth,
            segmenter.manifest,
            predict,
            num_kept=num_kept,
            progress=progress(image.count),
            until=lambda _: interrupted(),
            on_prediction=recorder.add if recorder else lambda *_: None,
        )
        elapsed_s = time.monotonic() - start_s
        num_frames = len(inference_ms) + num_bad
        interruption = [] if num_frames == image.count else [interruption_warning(num_frames, image.count)]
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
            counts=FrameCounts(num_frames, len(inference_ms), 0, num_bad),
            rate_hz=len(inference_ms) / elapsed_s,
            latencies_ms=(),
            inference_ms=tuple(inference_ms),
            evaluator=evaluator,
            kept=tuple(kept),
            warnings=(*interruption, *bag.warnings, *ambiguities(bag, image, truth)),
            partial=bool(interruption),
        )
