"""The age of a frame under every kind of clock."""

from __future__ import annotations

import random

import pytest

from lwseg_ros.node.frame import Frame, StampClock, frame_age

SECOND_NS = 1_000_000_000
NOW_NS = 1_800_000_000 * SECOND_NS


@pytest.mark.parametrize(
    ("stamp_ns", "now_ns", "age_ms", "from_stamp"),
    [
        pytest.param(NOW_NS - SECOND_NS // 4, NOW_NS, 250.0, True, id="the node's clock"),
        pytest.param(NOW_NS, NOW_NS, 0.0, True, id="just now"),
        pytest.param(NOW_NS - 60 * SECOND_NS, NOW_NS, 60_000.0, True, id="a minute old"),
        pytest.param(NOW_NS + SECOND_NS // 2, NOW_NS, 0.0, True, id="slightly ahead"),
        pytest.param(NOW_NS + 2 * SECOND_NS, NOW_NS, 40.0, False, id="from the future"),
        pytest.param(NOW_NS - 61 * SECOND_NS, NOW_NS, 40.0, False, id="from an old bag"),
        pytest.param(0, NOW_NS, 40.0, False, id="no stamp"),
        pytest.param(NOW_NS, 0, 40.0, False, id="simulated time has not begun"),
        pytest.param(5 * SECOND_NS, 7 * SECOND_NS, 2000.0, True, id="simulated time"),
    ],
)
def test_frame_age(stamp_ns: int, now_ns: int, age_ms: float, from_stamp: bool) -> None:
    frame = Frame("front", None, stamp_ns, arrival_s=10.0)
    age = frame_age(frame, now_ns=now_ns, now_s=10.04)
    assert age.age_ms == pytest.approx(age_ms)
    assert age.from_stamp is from_stamp


def test_a_frame_that_came_in_with_a_foreign_stamp_ages_from_its_arrival() -> None:
    frame = Frame("front", None, NOW_NS - 5 * SECOND_NS, arrival_s=10.0, foreign_stamp=True)
    assert frame_age(frame, now_ns=NOW_NS, now_s=10.04) == pytest.approx((40.0, False))


def observe(
    clock: StampClock, offsets_s: list[float], began_s: float = 100.0, max_age_ms: float = 1000.0
) -> list[bool]:
    """Let frames come in ten times a second, each with a stamp so far behind the node's clock."""
    found = []
    for number, offset_s in enumerate(offsets_s):
        now_s = began_s + number / 10
        now_ns = NOW_NS + int(now_s * SECOND_NS)
        found.append(
            clock.observe(now_ns - int(offset_s * SECOND_NS), now_ns=now_ns, now_s=now_s, max_age_ms=max_age_ms)
        )
    return found


@pytest.mark.parametrize("offset_s", [1.5, 5.0, 59.0])
def test_a_clock_that_is_behind_from_the_beginning_is_another_after_a_second(offset_s: float) -> None:
    clock = StampClock()
    assert observe(clock, [offset_s] * 21) == [False] * 10 + [True] * 11
    assert clock.offset_ms == pytest.approx(offset_s * 1e3)
    assert not observe(clock, [0.02], began_s=103.0)[0], "it was set right"


@pytest.mark.parametrize("offset_s", [-1.5, -30.0, 61.0, 1e9])
def test_a_clock_that_is_ahead_or_far_off_is_another_at_once(offset_s: float) -> None:
    assert observe(StampClock(), [offset_s, offset_s]) == [True, True]


@pytest.mark.parametrize("offset_s", [-0.9, 0.0, 0.9])
def test_within_a_second_it_is_the_node_s(offset_s: float) -> None:
    assert not any(observe(StampClock(), [offset_s] * 300))


def test_a_burst_after_a_stall_is_late_and_not_of_another_clock() -> None:
    assert not any(observe(StampClock(), [0.02] * 20 + [3.0, 2.9, 2.8, 2.7, 2.6] + [0.02] * 20))
    assert not any(observe(StampClock(), [3.0, 2.9, 2.8, 2.7, 2.6] + [0.02] * 20))


def test_frames_that_were_in_time_may_be_late_for_longer() -> None:
    found = observe(StampClock(), [0.02] * 20 + [4.0] * 150)
    assert found.index(True) == pytest.approx(120, abs=1)


@pytest.mark.parametrize(
    ("offset_s", "jitter_s", "max_age_ms"),
    [
        (0.5, 0.0, 200),
        (0.5, 0.05, 200),
        (0.5, 0.1, 200),
        (0.2, 0.05, 200),
        (0.21, 0.0, 200),
        (1.0, 0.05, 1000),
        (1.0, 0.05, 0),
        (1.0, 0.05, 5000),
        (0.98, 0.05, 1000),
        (1.0, 0.2, 1000),
        (0.06, 0.005, 50),
    ],
)
@pytest.mark.parametrize("before_s", [[], [0.01] * 30], ids=["from the beginning", "after being in time"])
def test_a_clock_that_is_a_little_behind_is_another_and_stays_it(
    offset_s: float, jitter_s: float, max_age_ms: float, before_s: list[float]
) -> None:
    chance = random.Random(0)
    offsets_s = before_s + [offset_s + chance.uniform(-jitter_s, jitter_s) for _ in range(600)]
    clock = StampClock()
    found = observe(clock, offsets_s, max_age_ms=max_age_ms)
    assert all(found[len(before_s) + 150 :])
    assert clock.steady_offset_ms == pytest.approx(offset_s * 1e3, abs=jitter_s * 1e3)
    assert observe(clock, [0.01], began_s=900.0, max_age_ms=max_age_ms) == [False]


@pytest.mark.parametrize(
    ("least_s", "most_s", "max_age_ms"),
    [
        (0.02, 3.0, 1000),
        (0.3, 1.5, 1000),
        (0.05, 0.4, 200),
        (0.55, 2.0, 1000),
        (0.02, 1.1, 1000),
        (0.02, 0.09, 200),
        (0.22, 0.9, 200),
    ],
)
def test_a_network_whose_lateness_varies_is_not_another_clock(least_s: float, most_s: float, max_age_ms: float) -> None:
    chance = random.Random(0)
    assert not any(
        observe(StampClock(), [0.02] + [chance.uniform(least_s, most_s) for _ in range(600)], max_age_ms=max_age_ms)
    )


def test_what_is_late_follows_the_age_that_is_allowed_now() -> None:
    clock = StampClock()
    assert not any(observe(clock, [0.5] * 200))
    found = observe(clock, [0.5] * 200, began_s=120.0, max_age_ms=200)
    assert all(found[110:])
    assert not any(observe(clock, [0.5] * 10, began_s=140.0))


def test_without_a_stamp_or_the_time_there_is_nothing_to_measure() -> None:
    clock = StampClock()
    assert clock.observe(0, now_ns=NOW_NS, now_s=1.0)
    assert clock.offset_ms is None
    assert clock.observe(NOW_NS, now_ns=0, now_s=2.0)
    assert clock.offset_ms is None
