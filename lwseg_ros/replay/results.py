"""What a replay measured, and its figures as `report.json` holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lwseg_ros.evaluation.evaluator import Evaluator
from lwseg_ros.evaluation.metrics import finite_or_none
from lwseg_ros.evaluation.percentiles import percentiles
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.bag import Bag, Topic
from lwseg_ros.replay.evaluation import BagEvaluation
from lwseg_ros.replay.kept_frames import KeptFrame
from lwseg_ros.replay.paired_truth import PairedTruth
from lwseg_ros.replay.provenance import BagIdentity, identify_bag
from lwseg_ros.replay.rows import FrameRow
from lwseg_ros.replay.time_blocks import intervals, windows
from lwseg_ros.replay.truth_counts import TruthCounts


@dataclass(frozen=True)
class Engine:
    """What ran the network: backend, precision, device and library version, why this one, and why not a better one."""

    backend: str
    precision: str
    device: str
    library_version: str
    reason: str
    fallback_reason: str | None = None


@dataclass(frozen=True)
class FrameCounts:
    """What became of the frames: published = segmented + dropped + bad; dropped_by_cause adds up to dropped where it is known."""

    published: int
    segmented: int
    dropped: int
    bad: int
    dropped_by_cause: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReplayResult:
    """Everything that a report tells.

    Attributes:
        source: the bag's path, as given.
        image_topic: the topic that was replayed.
        label_topic: the ground truth, or None.
        mode: what was done, in words, such as `live node, recorded rate`.
        model: the model file.
        engine: what ran it.
        counts: what became of the frames.
        rate_hz: labels per second; nan when unknown.
        latencies_ms: publishing to receiving the label in another process, per published frame; None where no label
            came; empty when not measured.
        inference_ms: the runtime's own time per inference.
        evaluator: the metrics.
        kept: some frames to look at.
        rows: one a published image, in the order of the bag; of a partial result as far as they were evaluated.
        truth: how much of the ground truth was judged.
        note: what a reader of the figures has to know, or empty.
        warnings: what of the bag was left out or changed, as sentences.
        partial: whether it ended before all that was asked for was replayed; the first warning says where.
        bags: what was replayed, one or, where they were put together, several.
    """

    source: str
    image_topic: str
    label_topic: str | None
    mode: str
    model: ModelFile
    engine: Engine
    counts: FrameCounts
    rate_hz: float
    latencies_ms: tuple[float | None, ...]
    inference_ms: tuple[float, ...]
    evaluator: Evaluator
    kept: tuple[KeptFrame, ...]
    bags: tuple[BagIdentity, ...]
    rows: tuple[FrameRow, ...] = ()
    truth: TruthCounts = field(default_factory=TruthCounts)
    note: str = ""
    warnings: tuple[str, ...] = ()
    partial: bool = False

    @classmethod
    def of_bag(
        cls,
        bag: Bag,
        image_topic: Topic,
        truth: PairedTruth,
        evaluation: BagEvaluation,
        *,
        mode: str,
        model: ModelFile,
        engine: Engine,
        counts: FrameCounts,
        rate_hz: float,
        inference_ms: Sequence[float],
        latencies_ms: Sequence[float | None] = (),
        warnings: Sequence[str] = (),
    ) -> ReplayResult:
        """Put together what was evaluated of an open bag, which is read once more for its digest.

        Args:
            warnings: of the bag and of how it was played; those of the ground truth, and of an interruption, are added.

        Raises:
            BagError: the bag is not there any more.
            OSError: a file of it cannot be read.
        """
        confusion, evaluated = evaluation.evaluator.confusion, len(evaluation.rows)
        interruption = f"interrupted: this is of the first {evaluated} of {image_topic.count} images only"
        is_partial = evaluated < image_topic.count
        return cls(
            source=str(bag.path),
            image_topic=image_topic.name,
            label_topic=truth.topic.name if truth.topic else None,
            mode=mode,
            model=model,
            engine=engine,
            counts=counts,
            rate_hz=rate_hz,
            latencies_ms=tuple(latencies_ms),
            inference_ms=tuple(inference_ms),
            evaluator=evaluation.evaluator,
            kept=tuple(evaluation.kept),
            bags=(identify_bag(bag.path),),
            rows=tuple(evaluation.rows),
            truth=truth.counts(confusion),
            warnings=(
                *([interruption] if is_partial else []),
                *warnings,
                *truth.warnings,
                *truth.review(confusion, evaluated),
            ),
            partial=is_partial,
        )

    def figures(self) -> dict[str, Any]:
        """Collect the figures for `report.json`; one not measured is None; `partial` and `warnings` are there where needed."""
        return {
            "model": self.model.path.name,
            "backend": self.engine.backend,
            "precision": self.engine.precision,
            "frames": vars(self.counts).copy(),
            "truth": {"topic": self.label_topic, **asdict(self.truth)},
            "rate_hz": finite_or_none(self.rate_hz),
            "latency_ms": {
                **percentiles(self.answered_latencies_ms, (50, 95, 99)),
                "max": max(self.answered_latencies_ms, default=None),
            },
            "engine_ms": percentiles(self.inference_ms, (50, 95)),
            "engine_hz": self.engine_hz,
            **self.evaluator.metrics(),
            "windows": windows(self.rows, self.evaluator),
            "intervals": intervals(self.rows, self.evaluator),
            **({"partial": True} if self.partial else {}),
            **({"warnings": list(self.warnings)} if self.warnings else {}),
        }

    @property
    def answered_latencies_ms(self) -> list[float]:
        """The latencies of the frames whose label came."""
        return [latency for latency in self.latencies_ms if latency is not None]

    @property
    def engine_hz(self) -> float | None:
        """Inferences per second of the runtime's own time, whatever else takes time around it; None without any."""
        return 1e3 * len(self.inference_ms) / sum(self.inference_ms) if self.inference_ms else None
