"""How long a camera that takes no part is waited for."""

from __future__ import annotations

from lwseg_ros.node.paint.patience import Patience


def test_it_lasts_until_sweeps_have_missed_a_camera_for_a_while_and_then_for_one_in_a_while() -> None:
    patience, awaited_s = Patience(), []
    for now_s in range(100):
        lasts = patience.lasts(now_s, 20)
        if lasts:
            awaited_s.append(now_s)
        patience.tell(now_s, was_awaited=lasts, took_part=False)
    assert awaited_s == [*range(21), 41, 62, 83]


def test_a_camera_that_takes_part_is_waited_for_again() -> None:
    patience = Patience()
    patience.tell(0.0, was_awaited=True, took_part=False)
    patience.tell(9.0, was_awaited=True, took_part=False)
    assert not patience.lasts(9.5, 2.0)
    patience.tell(9.6, was_awaited=False, took_part=True)
    assert patience.lasts(9.7, 2.0)
    patience.tell(9.8, was_awaited=True, took_part=False)
    assert patience.lasts(11.7, 2.0)
    patience.tell(11.7, was_awaited=True, took_part=False)
    assert not patience.lasts(11.9, 2.0)
