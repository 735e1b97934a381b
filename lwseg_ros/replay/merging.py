"""Several replays of one model as one: their counts added up, their frames one after another."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain

import numpy as np

from lwseg_ros.errors import BagError
from lwseg_ros.replay.kept_frames import FrameSelection, KeptFrame
from lwseg_ros.replay.results import FrameCounts, ReplayResult
from lwseg_ros.replay.rows import FrameRow
from lwseg_ros.replay.truth_counts import TruthCounts


def merge_results(results: Sequence[ReplayResult], num_kept: int = 0, num_extreme: int = 0) -> ReplayResult:
    """Put the results of several bags together, in their order, as if they were one bag.

    Counts add up as integers, so that the figures do not depend on which process replayed what. Frames are numbered on from
    bag to bag, by all images of each. Rates are those of all frames over the time of all bags. No frame of a bag follows one of
    another in temporal consistency, and no window or block of time is of two.

    Args:
        results: at least one; of one model and mode, judged by the same options.
        num_kept: how many of the evenly spread frames to keep, evenly spread.
        num_extreme: how many of the kept frames to keep of each other reason, see `FrameSelection`.

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
    evaluator = copy.deepcopy(first.evaluator)
    for result in results[1:]:
        evaluator.merge(result.evaluator)
    return replace(
        first,
        source=", ".join(result.source for result in results),
        image_topic=_each_once([result.image_topic for result in results]),
        label_topic=_each_once([result.label_topic for result in results if result.label_topic]) or None,
        counts=_sum_counts([result.counts for result in results]),
        rate_hz=_common_rate(results),
        latencies_ms=tuple(latency for result in results for latency in result.latencies_ms),
        inference_ms=tuple(milliseconds for result in results for milliseconds in result.inference_ms),
        evaluator=evaluator,
        kept=_choose(list(chain.from_iterable(_numbered_kept(results))), num_kept, num_extreme),
        rows=tuple(
            _numbered_on(row, start, bag)
            for bag, (start, result) in enumerate(zip(_starts(results), results, strict=True))
            for row in result.rows
        ),
        truth=TruthCounts.total([result.truth for result in results]),
        note=" ".join(f"{result.source}: {result.note}" for result in results if result.note),
        warnings=(
            *_different_engines(results),
            *(f"{result.source}: {warning}" for result in results for warning in result.warnings),
        ),
        partial=any(result.partial for result in results),
        bags=tuple(bag for result in results for bag in result.bags),
    )


def _different_engines(results: Sequence[ReplayResult]) -> list[str]:
    """Say so where several engines took part, since the report has room for the first one's name alone."""
    engines = {
        f"{engine.backend} {engine.precision} on {engine.device}" for engine in (each.engine for each in results)
    }
    named = ", ".join(sorted(engines))
    return [f"the bags ran on different engines, {named}: their times are mixed here"] if len(engines) > 1 else []


def _starts(results: Sequence[ReplayResult]) -> list[int]:
    """Return the number of each bag's first frame, counted on from all images of the bags before, replayed or not."""
    return [0, *accumulate(result.truth.images for result in results[:-1])]


def _numbered_kept(results: Sequence[ReplayResult]) -> list[list[KeptFrame]]:
    """Return the kept frames of each result, numbered on."""
    return [
        [replace(frame, index=start + frame.index, row=_numbered_on(frame.row, start, bag)) for frame in result.kept]
        for bag, (start, result) in enumerate(zip(_starts(results), results, strict=True))
    ]


def _numbered_on(row: FrameRow, start: int, bag: int) -> FrameRow:
    return replace(row, index=start + row.index, bag=bag)


def _choose(kept: Sequence[KeptFrame], num_kept: int, num_extreme: int) -> tuple[KeptFrame, ...]:
    """Choose again among the frames that were kept of each bag; a bag's worst ones may be none of all bags' worst."""
    selection = FrameSelection(0, 0, num_extreme)
    for frame in kept:
        selection.offer(frame)
    spread = [frame for frame in kept if frame.why == "spread"]
    chosen = np.unique(np.linspace(0, len(spread) - 1, min(num_kept, len(spread))).round().astype(int)).tolist()
    return (*selection.frames(), *(spread[place] for place in chosen))


def _sum_counts(counts: Sequence[FrameCounts]) -> FrameCounts:
    by_cause: Counter[str] = sum((Counter(count.dropped_by_cause) for count in counts), Counter())
    published, segmented, dropped, bad = (
        sum(getattr(count, name) for count in counts) for name in ("published", "segmented", "dropped", "bad")
    )
    return FrameCounts(published, segmented, dropped, bad, dict(by_cause))


def thin_out(
    results: Mapping[int, ReplayResult], num_results: int, num_kept: int, num_extreme: int
) -> dict[int, ReplayResult]:
    """Drop kept frames that need not be among those of all, so that what is held does not grow with the number of bags.

    Whatever the order in which the results come, what `merge_results` keeps of them in the end is the same.

    Args:
        results: those that are there so far, by their place among all `num_results`.
        num_kept: of evenly spread frames of all; of more bags than these, only those of as many evenly spread bags are left.
        num_extreme: as for `merge_results`.
    """
    spread_bags = set(np.linspace(0, num_results - 1, min(num_kept, num_results)).round().astype(int).tolist())
    places = sorted(results)
    numbered = _numbered_kept([results[place] for place in places])
    shown = {frame.index for frame in _choose(list(chain.from_iterable(numbered)), 0, num_extreme)}

    def thinned(place: int, renamed: Sequence[KeptFrame]) -> ReplayResult:
        pairs = zip(results[place].kept, renamed, strict=True)
        needed = [
            frame for frame, other in pairs if (place in spread_bags if frame.why == "spread" else other.index in shown)
        ]
        return replace(results[place], kept=tuple(needed))

    return {place: thinned(place, renamed) for place, renamed in zip(places, numbered, strict=True)}


def _common_rate(results: Sequence[ReplayResult]) -> float:
    """Frames per second over the summed time of all; those without a rate are left out."""
    known = [(result.counts.segmented, result.rate_hz) for result in results if result.rate_hz > 0]
    seconds = sum(count / rate_hz for count, rate_hz in known)
    return sum(count for count, _ in known) / seconds if seconds else float("nan")


def _each_once(texts: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(texts))
