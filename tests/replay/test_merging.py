"""Several bags as one: counts add up, frames are numbered on, what does not belong together is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.bag_files import painted_messages, write_messages

from lwseg_ros.errors import BagError
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.merging import merge_results, thin_out
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.results import FrameCounts, ReplayResult
from lwseg_ros.replay.truth_counts import TruthCounts
from lwseg_ros.segmenter import Segmenter


@pytest.fixture
def results(tmp_path: Path, tiny_model: ModelFile) -> list[ReplayResult]:
    messages = painted_messages(5)
    two, three = write_messages(tmp_path / "two", messages[:6]), write_messages(tmp_path / "three", messages[6:])
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        return [replay_offline(bag, segmenter, num_kept=2, num_extreme=1) for bag in (two, three)]


def test_two_parts_of_a_bag_give_the_figures_of_the_whole(
    tmp_path: Path, tiny_model: ModelFile, results: list[ReplayResult]
) -> None:
    path = write_messages(tmp_path / "whole", painted_messages(5))
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        whole = replay_offline(path, segmenter)
    merged = merge_results(results, num_kept=3, num_extreme=1)
    assert np.array_equal(merged.evaluator.confusion.counts, whole.evaluator.confusion.counts)
    assert np.array_equal(merged.evaluator.uncertainty.counts, whole.evaluator.uncertainty.counts)
    assert merged.counts == whole.counts == FrameCounts(5, 5, 0, 0)
    assert len(merged.inference_ms) == 5
    # of the four pairs of frames, the one that the cut goes through is not compared
    followed = merged.evaluator.consistency.followed
    assert 0 < followed < whole.evaluator.consistency.followed
    assert followed == sum(result.evaluator.consistency.followed for result in results)
    assert [frame.index for frame in merged.kept if frame.why == "spread"] == [0, 2, 4]
    assert merged.truth == whole.truth
    assert [row.index for row in merged.rows] == list(range(5))
    for name in ("boundary_iou", "regions", "accepted", "confusion"):
        assert merged.figures()[name] == whole.figures()[name]
    assert results[1].evaluator.confusion.num_pixels == 3 * 48 * 64  # what is merged stays as it is


def test_what_a_merged_result_says_of_its_parts(results: list[ReplayResult]) -> None:
    one = replace(results[0], rate_hz=10.0, latencies_ms=(1.0, None), warnings=("w",), note="n")
    other = replace(results[1], rate_hz=30.0, latencies_ms=(2.0, 3.0, 4.0), label_topic=None, partial=True)
    merged = merge_results([one, other])
    assert merged.rate_hz == pytest.approx(5 / (2 / 10 + 3 / 30))
    assert merged.latencies_ms == (1.0, None, 2.0, 3.0, 4.0)
    assert merged.source == f"{one.source}, {other.source}"
    assert merged.image_topic == "/cam/image/compressed"
    assert merged.label_topic == "/cam/label"
    assert merged.warnings == (f"{one.source}: w",)
    assert merged.note == f"{one.source}: n"
    assert merged.partial
    assert merged.figures()["partial"] is True
    assert "partial" not in one.figures()


def test_different_engines_are_said(results: list[ReplayResult]) -> None:
    other = replace(results[1], engine=replace(results[1].engine, device="another machine"))
    [said] = merge_results([results[0], other]).warnings
    assert said.startswith("the bags ran on different engines, ")
    assert "another machine" in said
    assert not merge_results(results).warnings


def test_the_worst_of_all_bags_are_kept_and_numbered_on(results: list[ReplayResult]) -> None:
    merged = merge_results(results, num_kept=0, num_extreme=1)
    rows = {row.index: row for row in merged.rows}
    [worst] = [frame for frame in merged.kept if frame.why == "worst"]
    assert worst.row == rows[worst.index]
    assert worst.row.miou == min(row.miou for row in rows.values() if row.miou is not None)
    assert len({frame.index for frame in merged.kept}) == len(merged.kept) <= 3


def test_pictures_that_no_report_of_all_needs_are_dropped_as_results_come(results: list[ReplayResult]) -> None:
    several = [replace(result, source=f"{number}") for number in range(3) for result in results]

    def kept_of(order: list[int]) -> list[tuple[int, str]]:
        held: dict[int, ReplayResult] = {}
        for place in order:
            held = thin_out(held | {place: several[place]}, len(several), 2, 1)
            kept = [frame for result in held.values() for frame in result.kept]
            assert sum(frame.why != "spread" for frame in kept) <= 3
            assert sum(frame.why == "spread" for frame in kept) <= 2 * 2
        merged = merge_results([held[place] for place in sorted(held)], 2, 1)
        return [(frame.index, frame.why) for frame in merged.kept]

    order = list(range(len(several)))
    whole = [(frame.index, frame.why) for frame in merge_results(several, 2, 1).kept]
    assert kept_of(order) == kept_of(order[::-1]) == kept_of([3, 0, 5, 1, 4, 2]) == whole


def test_windows_are_apart_and_frames_that_were_not_replayed_have_numbers(results: list[ReplayResult]) -> None:
    part = replace(results[0], rows=results[0].rows[:1], partial=True)
    merged = merge_results([part, results[1]])
    assert [(row.index, row.bag) for row in merged.rows] == [(0, 0), (2, 1), (3, 1), (4, 1)]
    frames = [window["frames"] for window in merged.figures()["windows"]]
    assert frames == [1, 3]  # the bags are of one second each
    assert merged.bags == (*results[0].bags, *results[1].bags)


def test_causes_add_up_and_what_is_judged_by_other_options_is_refused(results: list[ReplayResult]) -> None:
    one = replace(results[0], counts=FrameCounts(5, 2, 3, 0, {"stale in the node": 2, "lost on the way": 1}))
    other = replace(results[1], counts=FrameCounts(4, 3, 1, 0, {"stale in the node": 1}))
    causes = {"stale in the node": 3, "lost on the way": 1}
    assert merge_results([one, other]).counts == FrameCounts(9, 5, 4, 0, causes)
    far = replace(one.truth, tolerance_ms=2.0, max_distance_ms=1.5)
    near = replace(other.truth, tolerance_ms=2.0, max_distance_ms=0.5)
    assert TruthCounts.total([far, near]) == replace(
        merge_results([one, other]).truth, tolerance_ms=2.0, max_distance_ms=1.5
    )
    with pytest.raises(ValueError, match="cannot add up what was judged by different options"):
        TruthCounts.total([far, other.truth])


def test_other_models_and_modes_are_refused(results: list[ReplayResult]) -> None:
    one, other = results
    with pytest.raises(BagError, match=r"two and .*three cannot be put together: their model differs \(.*, abc\)"):
        merge_results([one, replace(other, model=replace(other.model, sha256="abc"))])
    with pytest.raises(BagError, match=r"their mode differs \(offline, .*, live\)"):
        merge_results([one, replace(other, mode="live")])
