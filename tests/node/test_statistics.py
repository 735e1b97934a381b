"""Counts and rates, small enough to check by hand."""

from __future__ import annotations

import pytest

from lwseg_ros.node.statistics import DROP_CAUSES, FrameStatistics


def test_every_frame_is_accounted_for() -> None:
    statistics = FrameStatistics(0.0)
    for number in range(9):
        statistics.add_arrival(number * 0.1)
    for cause in DROP_CAUSES:
        statistics.add_drop(cause)
    statistics.add_output(0.5, 12.0)
    statistics.add_output(0.6, 14.0)
    for count in (2, 3):
        statistics.add_lost(count)
    snapshot = statistics.snapshot(0.9)
    assert snapshot.lost == 5
    assert snapshot.dropped == dict.fromkeys(DROP_CAUSES, 1)
    assert snapshot.received == 9
    assert snapshot.answered + sum(snapshot.dropped.values()) == 8  # one is still on its way


def test_only_awaited_frames_are_unanswered() -> None:
    statistics = FrameStatistics(0.0)
    statistics.add_arrival(1.0, awaited=False)
    assert statistics.snapshot(9.0).unanswered_s == 0.0
    assert statistics.snapshot(9.0).received == 1
    statistics.add_arrival(9.0)
    statistics.add_arrival(9.5, awaited=False)
    assert statistics.snapshot(10.0).unanswered_s == 1.0


def test_unknown_causes_are_refused() -> None:
    with pytest.raises(KeyError):
        FrameStatistics(0.0).add_drop("bored")


def test_rates_cover_the_last_ten_seconds() -> None:
    statistics = FrameStatistics(0.0)
    for number in range(200):  # ten a second for twenty seconds, every other one segmented
        statistics.add_arrival(number * 0.1)
        if number % 2:
            statistics.add_output(number * 0.1, float(number))
    snapshot = statistics.snapshot(20.0)
    assert snapshot.rate_in_hz == pytest.approx(10.0, abs=0.15)
    assert snapshot.rate_out_hz == pytest.approx(5.0, abs=0.15)
    assert snapshot.latency_p50_ms == pytest.approx(150.0, abs=2)
    assert snapshot.silence_s == pytest.approx(0.1)
    silent = statistics.snapshot(60.0)
    assert (silent.rate_in_hz, silent.rate_out_hz, silent.latency_p50_ms) == (0.0, 0.0, None)
    assert silent.silence_s == pytest.approx(40.1)
    assert silent.received == 200


def test_the_first_seconds_are_not_diluted() -> None:
    statistics = FrameStatistics(100.0)
    for number in range(20):
        statistics.add_arrival(100.0 + number * 0.1)
    assert statistics.snapshot(102.0).rate_in_hz == pytest.approx(10.0)


def test_restart_keeps_the_counts_and_forgets_the_windows() -> None:
    statistics = FrameStatistics(0.0)
    statistics.add_arrival(1.0)
    statistics.add_output(1.0, 5.0)
    statistics.restart(50.0)
    snapshot = statistics.snapshot(51.0)
    assert (snapshot.received, snapshot.answered) == (1, 1)
    assert (snapshot.rate_in_hz, snapshot.latency_p50_ms, snapshot.silence_s) == (0.0, None, 1.0)


def test_frames_without_a_label_are_unanswered_from_the_first_on() -> None:
    statistics = FrameStatistics(0.0)
    assert statistics.snapshot(5.0).unanswered_s == 0.0  # nothing came
    statistics.add_arrival(10.0)
    statistics.add_output(10.1, 100.0)
    assert statistics.snapshot(15.0).unanswered_s == 0.0
    for now_s in (20.0, 21.0, 22.0):
        statistics.add_arrival(now_s)
        statistics.add_drop("error")
    assert statistics.snapshot(22.5).unanswered_s == pytest.approx(2.5)
    statistics.add_output(23.0, 100.0)
    assert statistics.snapshot(24.0).unanswered_s == 0.0
    statistics.add_arrival(25.0)
    statistics.restart(30.0)
    assert statistics.snapshot(31.0).unanswered_s == 0.0
