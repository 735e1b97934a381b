"""Which frames a rate limit lets through."""

from __future__ import annotations

import pytest

from lwseg_ros.node.rate_limit import RateLimit


@pytest.mark.parametrize(
    ("rate_hz", "passed"), [(0.0, 300), (10.0, 100), (12.0, 120), (30.0, 300), (45.0, 300), (1.0, 10)]
)
def test_the_mean_rate_keeps_to_the_limit_though_frames_jitter(rate_hz: float, passed: int) -> None:
    limit = RateLimit()
    jitter_s = (0.0, 0.004, -0.003, 0.002, -0.001)
    times_s = [5.0 + index / 30 + jitter_s[index % 5] for index in range(300)]
    assert sum(limit.lets_through(now_s, rate_hz) for now_s in times_s) == pytest.approx(passed, abs=2)


def test_frames_that_come_much_faster_keep_to_the_limit_too() -> None:
    limit = RateLimit()
    assert sum(limit.lets_through(index / 100, 10.0) for index in range(1000)) == pytest.approx(100, abs=2)


def test_a_limit_that_is_raised_counts_at_once() -> None:
    limit = RateLimit()
    assert limit.lets_through(0.0, 0.01)
    assert [limit.lets_through(now_s, 10.0) for now_s in (1.0, 1.05, 1.13)] == [False, False, True]


def test_what_a_pause_missed_is_not_made_up_for() -> None:
    limit = RateLimit()
    assert [limit.lets_through(now_s, 1.0) for now_s in (0.0, 0.5, 7.3, 7.4, 7.9, 8.3)] == [
        *(True, False, True, False, False, True)
    ]
