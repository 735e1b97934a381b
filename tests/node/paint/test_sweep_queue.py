"""Sweeps on their way to the painter."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lwseg_ros.node.paint import sweep_queue
from lwseg_ros.node.paint.sweep_queue import DEPTH, Sweep, SweepQueue


def sweep(number: int, num_bytes: int = 10) -> Sweep:
    return Sweep(SimpleNamespace(data=bytes(num_bytes)), float(number))


def taken(queue: SweepQueue) -> list[int]:
    found = []
    while queue.others_wait:
        one = queue.take()
        assert one is not None
        found.append(int(one.arrival_s))
    return found


def test_the_latest_are_kept_in_their_order() -> None:
    queue = SweepQueue(["front"], 0.0)
    assert [queue.put(sweep(number)) for number in range(DEPTH + 2)] == [0] * DEPTH + [1, 1]
    assert taken(queue) == list(range(2, DEPTH + 2))


def test_their_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_queue, "MAX_BYTES", 30)
    queue = SweepQueue(["front"], 0.0)
    assert [queue.put(sweep(number)) for number in range(4)] == [0, 0, 0, 1]
    assert queue.put(sweep(4, num_bytes=15)) == 2
    assert queue.put(sweep(5, num_bytes=40)) == 2  # one there is, however large
    assert taken(queue) == [5]


def test_a_closed_queue_takes_none() -> None:
    queue = SweepQueue(["front"], 0.0)
    queue.put(sweep(0))
    assert queue.close() == 1
    assert queue.put(sweep(1)) == 1
    assert not queue.others_wait
    assert queue.take() is None


def test_time_that_begins_anew_leaves_neither_sweeps_nor_images() -> None:
    queue = SweepQueue(["front"], 0.0)
    queue.put(sweep(0))
    for kind in ("label", "uncertainty"):
        queue.histories["front"].add(kind, 1, "camera", np.zeros((2, 3), np.uint8))
    assert queue.histories["front"].nearest(1, 0) is not None
    assert queue.begin_anew() == 1
    assert queue.histories["front"].nearest(1, 0) is None
    assert queue.put(sweep(1)) == 0
    assert taken(queue) == [1]
