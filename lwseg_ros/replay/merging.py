"""Several replays of one model as one: their counts added up, their frames one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lwseg_ros.errors import BagError
from lwseg_ros.evaluation.evaluator import Evaluator
from lwseg_ros.replay.results import FrameCounts, ReplayResult


def merge_results(results: Sequence[ReplayResult], num_kept: int = 0) -> ReplayResult:
    """Put the results of several bags together, in their order, as if they were one bag.

    Counts add up as integers, so that the figures do not depend on which process replayed what. Frames are numbered on from
    bag to bag. Rates are those of all frames over the time of all bags. No frame of a bag follows one of another in
    temporal consistency.

    Args:
        results: at least one; of one model and mode.
        num_kept: how many of the kept frames to keep, evenly spread.

    Raises:
        BagError: they are of several models or modes, whose counts have no common meaning.
    """
    first = results[0]
    for other in results[1:]:
        for what, one, another in (
            ("model", first.model.sha256, other.model.sha256),
            ("mode", first.mode, other.mode),
        ):
            if one != another:
                raise BagError(
                    f"{first.source} and {other.source} cannot be put together: their {what} differs ({one}, {another})"
                )
    evaluator = Evaluator.of_model(first.model.manifest)
    for result in results:
        evaluator.merge(result.evaluator)
    starts = np.cumsum([0, *(result.counts.published for result in results)])[:-1].tolist()
    kept = [
        replace(frame, index=start + frame.index)
        for start, result in zip(starts, results, strict=True)
        for frame in result.kept
    ]
    chosen = np.unique(np.linspace(0, len(kept) - 1, min(num_kept, len(kept))).round().astype(int)).tolist()
    counts = [result.counts for result in results]
    return replace(
        first,
        source=", ".join(result.source for result in results),
        image_topic=_each_once([result.image_topic for result in results]),
        label_topic=_each_once([result.label_topic for result in results if result.label_topic]) or None,
        counts=FrameCounts(
            **{name: sum(getattr(count, name) for count in counts) for name in FrameCounts.__dataclass_fields__}
        ),
        rate_hz=_common_rate(results),
        latencies_ms=tuple(latency for result in results for latency in result.latencies_ms),
        inference_ms=tuple(milliseconds for result in results for milliseconds in result.inference_ms),
        evaluator=evaluator,
        kept=tuple(kept[index] for index in chosen),
        note=" ".join(f"{result.source}: {result.note}" for result in results if result.note),
        warnings=tuple(f"{result.source}: {warning}" for result in results for warning in result.warnings),
        partial=any(result.partial for result in results),
    )


def _common_rate(results: Sequence[ReplayResult]) -> float:
    """Frames per second over the summed time of all; those without a rate are left out."""
    known = [(result.counts.segmented, result.rate_hz) for result in results if result.rate_hz > 0]
    seconds = sum(count / rate_hz for count, rate_hz in known)
    return sum(count for count, _ in known) / seconds if seconds else float("nan")


def _each_once(texts: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(texts))
