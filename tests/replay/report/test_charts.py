"""The report's charts as geometry."""

from __future__ import annotations

import re

import numpy as np

from lwseg_ros.replay.report.charts import MAX_POINTS, Series, line, reliability, risk_coverage, round_up, timeline


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def test_few_frames_are_drawn_one_by_one_with_gaps() -> None:
    latencies = [10.0, None, 20.0, 40.0]
    chart = timeline(Series("latency_ms", "Latency", "ms", latencies, {"p50": 20.0, "none": None}, is_share=False), [1])
    assert chart is not None
    ((css, path),) = chart.paths
    assert css == "line"
    assert path.count("M") == 2
    assert points(path) == [(12.5, 80.0), (62.5, 60.0), (87.5, 20.0)]  # of 50 ms
    assert [(tick.at, tick.text) for tick in chart.y_ticks] == [(0, "0"), (50, "25"), (100, "50")]
    assert [(guide.at, guide.text) for guide in chart.guides] == [(40.0, "p50")]
    assert [(mark.at, mark.text) for mark in chart.marks] == [(37.5, "frame 1: no label")]
    assert timeline(Series("miou", "mIoU", "%", [None, None])) is None


def test_shares_end_at_one_and_begin_where_they_do() -> None:
    chart = timeline(Series("miou", "mIoU", "%", [0.71, 0.93]))
    assert chart is not None
    assert [tick.text for tick in chart.y_ticks] == ["70", "85", "100"]


def test_30000_frames_are_an_envelope_that_loses_no_extreme() -> None:
    values = np.full(30_000, 0.5)
    values[[12_345, 20_000]] = 0.1, 0.9
    shares = [None if 5000 <= index < 6000 else value for index, value in enumerate(values.tolist())]
    chart = timeline(Series("miou", "mIoU", "%", shares), range(5000, 6000))
    assert chart is not None
    (_, band), (_, path) = chart.paths
    assert band.count("Z") == 2  # a gap between
    assert len(points(path)) < MAX_POINTS
    heights = [y for _, y in points(band)]
    assert max(heights) == 100.0
    assert min(heights) == 11.11  # 0.9 on an axis from 0.1 to 1
    assert len(chart.marks) <= 1000 * MAX_POINTS // 30_000 + 1
    assert chart.marks[0].text.startswith("frames without a label from 5000 on", chart.marks[0].text.index(" ") + 1)
    assert len(band) + len(path) < 40_000


def test_reliability_has_the_bins_of_the_ece() -> None:
    bins = [
        {"low": 0.0, "high": 0.5, "confidence": None, "accuracy": None, "pixels": 0},
        {"low": 0.5, "high": 1.0, "confidence": 0.75, "accuracy": 0.6, "pixels": 9},
    ]
    (_, bars), _, (_, expected) = reliability(bins).paths
    assert bars == "M50.40 100V40.00H99.60V100Z"
    assert expected == "M73.40 25.00h3.2"


def test_risk_coverage_shows_what_one_could_have_known() -> None:
    chart = risk_coverage([[0.5, 0.0], [1.0, 0.03]], [[0.97, 0.0], [1.0, 0.03]])
    assert chart is not None
    (oracle, ideal), (css, path) = chart.paths
    assert (oracle, css) == ("diagonal", "line")
    assert points(ideal) == [(97.0, 100.0), (100.0, 25.0)]  # of 4 %
    assert points(path) == [(50.0, 100.0), (100.0, 25.0)]
    assert risk_coverage([]) is None


def test_lines_have_gaps() -> None:
    assert line([0, 1, 2], [5, None, 6]) == "M0.00 5.00h0M2.00 6.00h0"


def test_rounding_up() -> None:
    assert [round_up(value) for value in (0, 0.03, 1, 3, 7, 4000)] == [1, 0.04, 1, 4, 10, 4000]
