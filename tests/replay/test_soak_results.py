"""The arithmetic of a soak: slope, counts, and what its figures say when it was cut short."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.soak_results import Sample, SoakCounts, SoakResult, slope_per_hour

COUNTS = SoakCounts(
    published=100,
    labels=90,
    uncertainties=90,
    unexpected=0,
    received=97,
    segmented=90,
    dropped={"superseded": 5, "bad": 2},
    lost_reported=1,
)


def samples(seconds: int, rss_mb: Any = lambda s: 300.0) -> tuple[Sample, ...]:
    return tuple(
        Sample(s, rss_mb(s), 20 + s % 2, 15, 50.0 if s else None, 15 * s, 14 * s, 10.0, 20.0) for s in range(seconds)
    )


@pytest.fixture
def result(tiny_model: ModelFile) -> SoakResult:
    return SoakResult(
        source="bag",
        model=tiny_model,
        minutes=2.0,
        rate_hz=15.0,
        duration_s=120.0,
        samples=samples(120),
        latencies_ms=[1.0, 2.0, 3.0],
        counts=COUNTS,
        diagnostics={"backend": "openvino"},
        levels={"ok": 119, "warning": 1},
        complaints=("2 frames were bad",),
    )


def test_the_slope_of_a_line_is_its_slope() -> None:
    times_s = [0, 1, 2, 5, 9]
    assert slope_per_hour(times_s, [300 + 2 * time_s / 3600 for time_s in times_s]) == pytest.approx(2.0)
    assert slope_per_hour(times_s, [300.0] * 5) == pytest.approx(0.0, abs=1e-9)
    assert slope_per_hour([0, 1800, 3600], [10, 30, 20]) == pytest.approx(10.0)  # by hand
    # a process that has run for a year
    assert slope_per_hour([3e7, 3e7 + 1, 3e7 + 2], [1, 2, 3]) == pytest.approx(3600)
    assert slope_per_hour([], []) is None
    assert slope_per_hour([5.0], [300.0]) is None
    assert slope_per_hour([5.0, 5.0], [300.0, 301.0]) is None


def test_the_slope_is_that_of_numpy() -> None:
    generator = np.random.default_rng(0)
    times_s, values = np.cumsum(generator.uniform(0.5, 1.5, 500)), generator.normal(300, 2, 500)
    assert slope_per_hour(times_s.tolist(), values.tolist()) == pytest.approx(np.polyfit(times_s, values, 1)[0] * 3600)


@pytest.mark.parametrize(
    ("duration_s", "warm_up_s"), [(100.0, 20.0), (1500.0, 300.0), (1800.0, 300.0), (86400.0, 300.0)]
)
def test_the_warm_up_is_a_fifth_and_at_most_five_minutes(
    result: SoakResult, duration_s: float, warm_up_s: float
) -> None:
    assert replace(result, duration_s=duration_s).warm_up_s == warm_up_s


def test_what_grows_while_warming_up_is_no_leak(result: SoakResult) -> None:
    grown = replace(result, samples=samples(120, lambda s: 200.0 + min(s, 23) * 4))
    assert grown.memory_mb_per_hour == pytest.approx(0.0, abs=20)  # its last second is within
    leak = replace(result, samples=samples(120, lambda s: 200.0 + min(s, 24) * 4 + s * 0.01))
    assert leak.memory_mb_per_hour == pytest.approx(36.0)
    assert leak.figures()["memory_mb"]["slope_per_hour"] == leak.memory_mb_per_hour


def test_of_less_than_a_minute_no_slope_is_told(result: SoakResult) -> None:
    for seconds in (0, 1, 60):
        short = replace(result, duration_s=float(seconds), samples=samples(seconds))
        assert short.memory_mb_per_hour is None
        assert short.figures()["memory_mb"]["slope_per_hour"] is None


def test_counts_that_add_up() -> None:
    assert COUNTS.faults() == []
    assert COUNTS.lost == 3
    # the middleware may know of all losses, or of none
    assert replace(COUNTS, lost_reported=3).faults() == []
    assert replace(COUNTS, lost_reported=0).faults() == []
    assert SoakCounts(0, 0, 0, 0, 0, 0, {}, 0).faults() == []


def test_a_node_that_segments_nothing_fails_though_all_adds_up() -> None:
    (fault,) = SoakCounts(50, 0, 0, 0, 40, 0, {"error": 40}, 2).faults()
    assert fault == "none of 50 images was segmented"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"received": 98}, "the node received 98 images and accounts for 90 segmented and 7 dropped ones"),
        ({"dropped": {"superseded": 4, "bad": 2}}, "accounts for 90 segmented and 6 dropped"),
        ({"published": 96, "lost_reported": 0}, "96 images were published; the node received 97 and reports 0 as lost"),
        ({"lost_reported": 4}, "100 images were published; the node received 97 and reports 4 as lost"),
        ({"labels": 89}, "the node segmented 90 images and 89 labels came"),
        ({"labels": 91}, "the node segmented 90 images and 91 labels came"),
        ({"uncertainties": 0}, "the node segmented 90 images and 0 uncertainties came"),
        ({"unexpected": 1}, "1 labels or uncertainties belong to no image, or came twice"),
    ],
)
def test_counts_that_do_not_add_up_are_told(changes: dict[str, Any], said: str) -> None:
    (fault,) = replace(COUNTS, **changes).faults()
    assert said in fault


def test_figures(result: SoakResult) -> None:
    figures = result.figures()
    assert figures == json.loads(json.dumps(figures))
    assert (figures["partial"], figures["faults"]) == (False, [])
    frames = figures["frames"]
    assert frames["published"] == frames["segmented"] + frames["dropped"] + frames["lost_in_transport"]
    assert frames["dropped_by_cause"] == {"superseded": 5, "bad": 2}
    assert figures["rate_hz"] == {"asked": 15.0, "published": 100 / 120, "segmented": 90 / 120}
    assert figures["latency_ms"] == {"p50": 2.0, "p99": pytest.approx(2.98), "max": 3.0}
    assert figures["memory_mb"].pop("slope_per_hour") == pytest.approx(0.0, abs=1e-9)
    assert figures["memory_mb"] == {"start": 300, "after_warm_up": 300, "end": 300, "max": 300, "warm_up_s": 24.0}
    assert figures["threads"] == {"start": 20, "after_warm_up": 20, "end": 21, "max": 21}
    assert figures["cpu_percent"] == {"mean": 50.0, "max": 50.0}
    assert figures["diagnostics"] == {"reports": {"ok": 119, "warning": 1}, "complaints": ["2 frames were bad"]}
    assert result.series()["time_s"] == list(range(120))
    assert result.series()["cpu_percent"][:2] == [None, 50.0]


def test_a_soak_that_was_cut_short_says_so(result: SoakResult) -> None:
    interrupted = replace(result, interrupted=True)
    assert (interrupted.figures()["partial"], interrupted.faults) == (True, [])
    # counts of a node that died were on their way; only the death is told
    died = replace(result, failure="the node process ended", counts=replace(COUNTS, labels=7))
    assert (died.figures()["partial"], died.faults) == (True, ["the node process ended"])


def test_nothing_measured_is_null(result: SoakResult) -> None:
    nothing = SoakCounts(0, 0, 0, 0, 0, 0, {}, 0)
    empty = replace(result, duration_s=0.0, samples=(), latencies_ms=(), counts=nothing, diagnostics={}, levels={})
    figures = empty.figures()
    assert figures["rate_hz"] == {"asked": 15.0, "published": None, "segmented": None}
    assert figures["latency_ms"] == {"p50": None, "p99": None, "max": None}
    assert figures["threads"] == dict.fromkeys(("start", "after_warm_up", "end", "max"))
    assert figures["cpu_percent"] == {"mean": None, "max": None}
    assert figures["backend"] is None
    json.dumps(figures, allow_nan=False)
