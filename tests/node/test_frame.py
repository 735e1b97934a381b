"""The age of a frame under every kind of clock."""

from __future__ import annotations

import pytest

from lwseg_ros.node.frame import Frame, frame_age

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
