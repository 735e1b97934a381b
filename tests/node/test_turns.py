"""Who is served when several cameras wait: small enough to check by hand, and shares over many turns."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from lwseg_ros.node.mailbox import Mailbox
from lwseg_ros.node.turns import SHORT_TURNS, Turns

SIX = [f"camera_{number}" for number in range(6)]


def turns_of(priorities: Mapping[str, int]) -> Turns:
    return Turns(list(priorities), priorities.__getitem__)


def serve(turns: Turns, cameras: Sequence[str], count: int) -> list[list[str]]:
    """Give turns while all cameras always wait."""
    return [turns.next(cameras) for _ in range(count)]


def test_without_priorities_all_that_wait_have_a_turn_together() -> None:
    turns = turns_of(dict.fromkeys(SIX, 0))
    assert turns.next(SIX) == SIX
    assert turns.next(SIX[3:5]) == SIX[3:5]
    assert serve(turns, SIX, 100) == [SIX] * 100


def test_while_frames_are_superseded_turns_are_short() -> None:
    turns = turns_of(dict.fromkeys(SIX, 0))
    assert turns.next(SIX, superseded=True) == SIX[:3]
    assert turns.next(SIX) == SIX[3:]
    assert turns.next([SIX[0], SIX[1], SIX[2], SIX[4]]) == SIX[:3]
    assert turns.next([SIX[5]]) == [SIX[5]]
    assert turns.next([SIX[0], SIX[3], SIX[4], SIX[5]]) == [SIX[0], SIX[3], SIX[4]]
    lengths = [len(chosen) for chosen in serve(turns, SIX, SHORT_TURNS)]
    assert lengths == [3] * (SHORT_TURNS - 5) + [6] * 5


def test_the_highest_go_together_and_every_fourth_turn_is_a_lower_ones() -> None:
    turns = turns_of({"front": 1, "left": 0, "rear": 1, "right": 0})
    highest = ["front", "rear"]
    assert serve(turns, ["front", "left", "rear", "right"], 8) == [
        *([highest] * 3),
        ["left"],
        *([highest] * 3),
        ["right"],
    ]


def test_while_the_highest_do_not_wait_the_others_go_one_at_a_time() -> None:
    turns = turns_of({"front": 9, "left": 5, "rear": 0, "right": 5})
    others = ["left", "rear", "right"]
    assert serve(turns, others, 5) == [["left"], ["right"], ["left"], ["rear"], ["right"]]
    assert turns.next(["front", *others]) == ["front"], "the highest waits for one frame at most"
    assert turns.next(["rear"]) == ["rear"]
    assert turns.next(["front"]) == ["front"]


def test_a_priority_may_change_between_turns() -> None:
    priorities = {"front": 1, "rear": 0}
    turns = turns_of(priorities)
    assert turns.next(["front", "rear"]) == ["front"]
    priorities |= {"front": 0, "rear": 1}
    assert serve(turns, ["front", "rear"], 4) == [["rear"], ["rear"], ["front"], ["rear"]]
    priorities["front"] = 1
    assert turns.next(["front", "rear"]) == ["front", "rear"]


@pytest.mark.parametrize("priorities", [[1, 0, 0, 0, 0, 0], [2, 2, 1, 1, 0, 0], [5, 4, 3, 2, 1, 0]])
@pytest.mark.parametrize("wait_for_highest", [1.0, 0.6])
def test_nobody_waits_for_longer_than_four_turns_a_lower_camera(priorities: list[int], wait_for_highest: float) -> None:
    """Whatever the higher ones ask for, a camera that waits has its turn in time, and those of one priority have equal shares."""
    cameras = dict(zip(SIX, priorities, strict=True))
    turns = turns_of(cameras)
    highest = max(priorities)
    lower = sum(priority < highest for priority in priorities)
    waits_since = dict.fromkeys(SIX, 0)
    served: Counter[str] = Counter()
    chance = random.Random(7)
    for turn in range(1, 4001):
        waiting = [camera for camera in SIX if cameras[camera] < highest or chance.random() < wait_for_highest]
        chosen = turns.next(waiting)
        assert set(chosen) <= set(waiting)
        served.update(chosen)
        waits_since.update(dict.fromkeys(chosen, turn))
        for camera in SIX:
            if cameras[camera] < highest:
                assert turn - waits_since[camera] <= 4 * lower
    for priority in set(priorities):
        shares = [served[camera] for camera in SIX if cameras[camera] == priority]
        assert max(shares) <= 1.1 * min(shares)
    if wait_for_highest == 1.0:
        assert served[SIX[0]] == 3000


def rates_served_hz(rates_hz: Sequence[float], priorities: Sequence[int], frame_s: float, seed: int) -> list[float]:
    """Let cameras with phases and jitter fill a mailbox for a minute, from which a frame takes so long; the rate of each."""
    minute_s = 60.0
    turns = turns_of(dict(zip(SIX, priorities, strict=True)))
    mailbox: Mailbox[float] = Mailbox(SIX, turns.next)
    chance = random.Random(seed)
    arrivals = []
    for camera, rate_hz in zip(SIX, rates_hz, strict=True):
        phase = chance.random()
        jitter = (chance.uniform(-0.2, 0.2) for _ in range(int(minute_s * rate_hz)))
        arrivals += [((index + phase + late) / rate_hz, camera) for index, late in enumerate(jitter)]
    arrivals.sort(reverse=True)
    served: Counter[str] = Counter()
    now_s = 0.0
    while arrivals:
        now_s = max(now_s, arrivals[-1][0])
        while arrivals and arrivals[-1][0] <= now_s:
            arrival_s, camera = arrivals.pop()
            mailbox.put(camera, arrival_s)
        taken = mailbox.take(wait=False)
        served.update(taken.keys())
        now_s += frame_s * len(taken)
    return [served[camera] / minute_s for camera in SIX]


@pytest.mark.parametrize("seed", [4, 7, 8])  # at 15.5 Hz batches of all would miss it
@pytest.mark.parametrize("rates_hz", [[15.5] * 6, [16.2] * 6, [30, 25, 20, 17, 16, 200]])
def test_where_all_ask_for_more_than_there_is_all_get_the_same(rates_hz: list[float], seed: int) -> None:
    served_hz = rates_served_hz(rates_hz, [0] * 6, frame_s=1 / 90, seed=seed)
    assert sum(served_hz) == pytest.approx(90, rel=0.02)
    assert max(served_hz) <= 1.1 * min(served_hz)


def test_who_asks_for_less_gets_it_and_the_rest_goes_to_the_others() -> None:
    served_hz = rates_served_hz([5, 30, 30, 30, 30, 30], [0] * 6, frame_s=1 / 90, seed=1)
    assert served_hz[0] == pytest.approx(5, rel=0.02)
    assert served_hz[1:] == pytest.approx([17] * 5, rel=0.05)


def test_the_first_camera_gets_what_it_asks_for_and_the_others_equal_shares() -> None:
    served_hz = rates_served_hz([30] * 6, [1, 0, 0, 0, 0, 0], frame_s=1 / 90, seed=1)
    assert served_hz[0] == pytest.approx(30, rel=0.05)
    assert served_hz[1:] == pytest.approx([12] * 5, rel=0.05)
    greedy_hz = rates_served_hz([200, *[30] * 5], [1, 0, 0, 0, 0, 0], frame_s=1 / 90, seed=1)
    assert greedy_hz[0] == pytest.approx(0.75 * 90, rel=0.05)
    assert greedy_hz[1:] == pytest.approx([0.25 * 90 / 5] * 5, rel=0.1)
