"""What the diagnostics of the node `paint` say of its points and cameras."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from diagnostic_msgs.msg import DiagnosticStatus
from support.ros_harness import values

from lwseg_ros.node.paint.diagnostics import camera_status, points_status
from lwseg_ros.node.paint.worker import SWEEP_CAUSES, CameraCounts
from lwseg_ros.node.statistics import FrameStatistics

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def status(
    *drops: str, painted: int = 0, age_s: float = 0.0, lost: int = 0, state: str = "active", num_publishers: int = 1
) -> DiagnosticStatus:
    """That of a node which received as many sweeps as it painted and dropped, the last of them some seconds ago."""
    statistics = FrameStatistics(100.0, SWEEP_CAUSES)
    before = statistics.snapshot(100.0)
    for _ in range(painted + len(drops)):
        statistics.add_arrival(101.0)
    for cause in drops:
        statistics.add_drop(cause)
    for latency_ms in range(painted):
        statistics.add_output(101.0, float(latency_ms))
    statistics.add_lost(lost)
    return points_status(
        "paint",
        state,
        statistics.snapshot(101.0 + age_s),
        before,
        topic="/lidar",
        num_publishers=num_publishers,
        input_timeout_s=2.0,
        last_drop="why",
    )


@pytest.mark.parametrize(
    ("arguments", "level", "message"),
    [
        ({"painted": 3}, OK, "painting"),
        ({"painted": 3, "state": "inactive", "age_s": 9.0}, OK, "inactive"),
        ({"drops": ("bad", "bad", "no_labels")}, WARN, "dropped since the last report: 2 bad, 1 no_labels; last: why"),
        ({"drops": ("inactive",), "painted": 1}, OK, "painting"),
        ({"drops": ("error",), "painted": 1}, ERROR, "dropped since the last report: 1 error; last: why"),
        ({"age_s": 3.0, "num_publishers": 0}, ERROR, "no points on /lidar for 4.0 s: nobody publishes it; check its remapping"),
        ({"painted": 1, "age_s": 3.0}, ERROR, "no points on /lidar for 3.0 s: though it has a publisher"),
        ({"painted": 1, "lost": 2}, WARN, "2 sweeps lost on their way; docs/middleware.md tells more"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_points_is_said(arguments: dict[str, Any], level: bytes, message: str) -> None:
    found = status(*arguments.pop("drops", ()), **arguments)
    assert (found.name, found.level, found.message) == ("paint: points", level, message)


def test_counts_and_latencies_are_values() -> None:
    found = values(status("no_transform", painted=101))
    assert (found["received"], found["painted"], found["dropped_no_transform"]) == ("102", "101", "1")
    assert (found["latency_ms_p50"], found["latency_ms_p99"]) == ("50.00", "99.00")
    assert {f"dropped_{cause}" for cause in SWEEP_CAUSES} <= found.keys()


class Growing(Counter[str]):
    """Counts that another thread adds to whenever Python looks through them."""

    def items(self) -> Any:
        for item in super().items():
            self[f"cause {len(self)}"] = 1
            yield item


def test_causes_that_are_new_while_they_are_looked_at_end_nothing() -> None:
    counts = CameraCounts(5, Growing(no_labels=3, no_transform=1), "too far")
    found = camera_status("paint", "front", counts, Counter(no_labels=1), 0)
    assert "2 no_labels, 1 no_transform; last: too far" in found.message


def test_a_camera_that_takes_no_part_is_a_warning_while_that_lasts() -> None:
    counts = CameraCounts(5, Counter(no_labels=3), "too far")
    found = camera_status("paint", "front", counts, Counter(no_labels=1), 7)
    assert (found.name, found.level) == ("paint: camera front", WARN)
    assert found.message == "took no part in sweeps since the last report: 2 no_labels; last: too far"
    assert values(found) == {"used": "5", "missing_no_labels": "3", "bad_images": "7"}
    assert camera_status("paint", "", counts, Counter(no_labels=3), 0).message == "in order"


def test_a_camera_that_never_took_part_is_not_in_order() -> None:
    found = camera_status("paint", "", CameraCounts(), Counter(), 0)
    assert (found.level, found.message) == (OK, "has taken part in no sweep so far")
    found = camera_status("paint", "", CameraCounts(0, Counter(no_labels=3), "too far"), Counter(no_labels=3), 0)
    assert (found.level, found.message) == (WARN, "has taken part in no sweep so far; last: too far")


def test_why_nothing_is_painted_is_said_in_a_report_without_a_new_drop_too() -> None:
    statistics = FrameStatistics(100.0, SWEEP_CAUSES)
    for arrival_s in (101.0, 103.5):
        statistics.add_arrival(arrival_s)
    now = statistics.snapshot(104.0)
    found = points_status(
        "paint", "active", now, now, topic="/lidar", num_publishers=1, input_timeout_s=2.0, last_drop="why"
    )
    assert (found.level, found.message) == (ERROR, "points come, but none is painted for 3.0 s; last: why")
