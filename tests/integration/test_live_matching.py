"""A node that is not matched joins the network anew, as a real participant each time."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

import ros_harness  # noqa: F401  a ROS domain of our own
from rclpy.context import Context

from lwseg_ros.replay.live_matching import MatchingNode, matched_node

pytestmark = pytest.mark.integration


class Seeker(MatchingNode):
    """Is matched when it is the last of so many."""

    def __init__(self, made: list[Seeker], wanted: int, context: Context) -> None:
        super().__init__("seeker", context=context)
        made.append(self)
        self._last = len(made) == wanted

    def matched(self) -> bool:
        return self._last


def test_a_node_that_is_not_matched_is_made_anew_in_a_participant_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made: list[Seeker] = []
    with matched_node(lambda context: Seeker(made, 3, context), lambda: False, patience_s=0.1) as found:
        assert found is not None
        node, executor = found
        assert node is made[2]
        assert len({id(seeker.context) for seeker in made}) == 3
        assert [seeker.context.ok() for seeker in made] == [False, False, True]
        executor.spin_once(timeout_sec=0.0)
    assert not node.context.ok()
    assert capsys.readouterr().err.count("not matched within 0.1 s; trying in a new participant\n") == 2


def test_it_gives_up_when_it_is_over() -> None:
    made: list[Seeker] = []
    end_s = time.monotonic() + 0.2
    with matched_node(lambda context: Seeker(made, 0, context), lambda: time.monotonic() > end_s) as found:
        assert found is None
    assert [seeker.context.ok() for seeker in made] == [False]
