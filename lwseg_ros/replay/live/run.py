"""Replay a bag through the live node: node, player and collector, each in a process of its own, over real DDS."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from lwseg_ros.errors import BagError
from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.evaluation.percentiles import percentiles
from lwseg_ros.host.files import temporary_folder
from lwseg_ros.model.model_file import load_model
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.evaluation import evaluate_bag
from lwseg_ros.replay.ground_truth import GroundTruth
from lwseg_ros.replay.live.opened_model import opened_model
from lwseg_ros.replay.live.process_group import LiveReplayError, image_bytes, require_rclpy
from lwseg_ros.replay.live.recording import LiveRecording, check_spool, spool_bytes
from lwseg_ros.replay.live.session import LiveOptions, LiveSession
from lwseg_ros.replay.paired_truth import PairedTruth
from lwseg_ros.replay.pairing import Frame
from lwseg_ros.replay.recorders import recorder_to
from lwseg_ros.replay.results import Engine, FrameCounts, ReplayResult

IN_NODE = "{} in the node"
SUPERSEDED = IN_NODE.format("superseded")

__all__ = ["LiveOptions", "LiveReplayError", "replay_live"]


def replay_live(
    path: Path,
    options: LiveOptions,
    *,
    topic: str | None = None,
    ground_truth: GroundTruth | None = None,
    num_kept: int = 0,
    num_extreme: int = 0,
    record: Path | None = None,
    on_event: Callable[[str, int], object] = lambda kind, count: None,
    progress: Callable[[int], Callable[[], object]] = lambda total: lambda: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> ReplayResult:
    """Play a bag through the node over DDS, and evaluate what came back once all of it has.

    Args:
        topic: the image topic; None takes the only one.
        ground_truth: what to judge by; None takes the camera's own labels, if there are any.
        num_kept: how many frames, evenly spread, to keep for the report.
        num_extreme: how many more of the worst, of the most uncertain and of the most confidently wrong ones each.
        record: a file that gets the predictions, of one of the kinds in `RECORDERS`.
        on_event: called with `published` or `label` and how many there are by now.
        progress: for the evaluation; gets the number of frames and returns what to call after each.
        interrupted: asked while it plays and before each frame is evaluated; once it is true, the result is partial and of what
            was played, or evaluated, by then.

    Raises:
        BagError: the bag or a topic in it cannot be used.
        RecordError: the file to record to cannot be written.
        DatasetError: label map or mask do not fit.
        KeyboardInterrupt: interrupted before any label came.
        ModelFileError: the model file cannot be used.
        LiveReplayError: ROS is not there, a process died, or the node did not get ready.
    """
    require_rclpy(", or replay without ROS (--offline)")
    model = load_model(options.model)
    with temporary_folder("lwseg_replay_", options.spool) as folder, Bag(path) as bag, ExitStack() as stack:
        wanted = ground_truth or GroundTruth()
        image = bag.image_topic(topic, exclude=wanted.topic)
        check_spool(folder, spool_bytes(bag, image))
        truth = PairedTruth(bag, image, wanted, model.manifest)
        recording = LiveRecording(folder / "spool.bin")
        session = LiveSession(path, image, image_bytes(bag, image), options, folder, recording, on_event, interrupted)
        warnings = [*bag.warnings, *session.run()]
        recording.index()
        model = opened_model(model, recording.last_diagnostics())
        num_published, was_interrupted = len(recording.published), interrupted()
        recorder = stack.enter_context(recorder_to(record, bag, image, model.manifest)) if record else None

        def predict(frame: Frame, image: np.ndarray) -> Prediction | None:
            prediction = recording.prediction(frame.index)
            if prediction is not None and prediction.label.shape != image.shape[:2]:
                raise BagError(
                    f"the node's label of frame {frame.index} is {prediction.label.shape} pixels, its image "
                    f"{image.shape[:2]}; replay evaluates camera pixels, so set the node's output_size to camera"
                )
            return prediction

        latencies_ms, counts = recording.latencies_ms, _counts(recording)
        evaluation = evaluate_bag(
            bag,
            truth,
            model.manifest,
            predict,
            latencies_ms=latencies_ms,
            num_kept=num_kept,
            num_extreme=num_extreme,
            progress=progress(num_published),
            until=lambda index: index >= num_published or (interrupted() and not was_interrupted),
            on_prediction=recorder.add if recorder else lambda *_: None,
        )
        return ReplayResult.of_bag(
            bag,
            image,
            truth,
            evaluation,
            mode="live node, " + ("as fast as it answers" if options.rate is None else f"rate {options.rate:g}"),
            model=model,
            engine=_engine(recording),
            counts=counts,
            rate_hz=recording.rate_hz,
            inference_ms=recording.inference_ms,
            latencies_ms=latencies_ms,
            warnings=[*warnings, *superseded_in_words(counts, recording, path)],
        )


def _engine(recording: LiveRecording) -> Engine:
    said = recording.last_diagnostics()
    return Engine(
        backend=said["backend"],
        precision=said["precision"],
        device=said["device"],
        library_version=said["backend_version"],
        reason=said["backend_reason"],
        fallback_reason=said["fallback_reason"] or None,
    )


def superseded_in_words(counts: FrameCounts, recording: LiveRecording, bag: Path) -> list[str]:
    """Say why frames were superseded, as far as the figures tell, and what helps; nothing where none was."""
    superseded, published = counts.dropped_by_cause.get(SUPERSEDED, 0), recording.published
    if not superseded or not recording.inference_ms or len(published) < 2:
        return []
    rate_hz = (len(published) - 1) / (published[-1].publish_ns - published[0].publish_ns) * 1e9
    engine_ms = percentiles(recording.inference_ms, (50,))["p50"]
    return [
        f"{superseded} superseded: the engine takes {engine_ms:.1f} ms a frame, and {rate_hz:.1f} images came a second; other load "
        "on this machine? Else a faster model, or "
        f"`lwseg replay {shlex.quote(str(bag))} --offline -o DIR` for figures of all frames"
    ]


def _counts(recording: LiveRecording) -> FrameCounts:
    """Count what became of the images: the node says what it dropped and why, the rest was lost on the way."""
    published, segmented = len(recording.published), recording.num_answered
    values = recording.last_diagnostics()
    said = {key.removeprefix("dropped_"): int(count) for key, count in values.items() if key.startswith("dropped_")}
    # after an interruption the node may have counted some that came later
    bad = min(said.pop("bad"), published - segmented)
    dropped = published - segmented - bad
    by_cause = {IN_NODE.format(cause): count for cause, count in said.items() if count}
    lost = dropped - sum(by_cause.values())
    if lost > 0:
        by_cause["lost on the way"] = lost
    return FrameCounts(published, segmented, dropped, bad, by_cause if lost >= 0 else {})
