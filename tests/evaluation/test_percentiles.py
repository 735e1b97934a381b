"""Percentiles, small enough to check by hand."""

from __future__ import annotations

from lwseg_ros.evaluation.percentiles import percentiles


def test_percentiles() -> None:
    assert percentiles([1.0, 2.0, 3.0], (50, 100)) == {"p50": 2.0, "p100": 3.0}
    assert percentiles(range(101), (50, 99)) == {"p50": 50.0, "p99": 99.0}
    assert percentiles([3.0], (50, 99)) == {"p50": 3.0, "p99": 3.0}
    assert percentiles([], (50, 99)) == {"p50": None, "p99": None}
