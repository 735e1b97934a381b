"""The newest frame wins, nothing is lost without a trace, and nobody waits forever."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from lwseg_ros.node.mailbox import Mailbox


def test_newer_items_replace_older_ones() -> None:
    mailbox: Mailbox[int] = Mailbox(["front"])
    assert mailbox.put("front", 1) is None
    assert mailbox.put("front", 2) == 1
    assert mailbox.put("front", 3) == 2
    assert mailbox.take() == {"front": 3}


def test_all_waiting_cameras_are_taken_together_in_their_order() -> None:
    mailbox: Mailbox[int] = Mailbox(["front", "left", "right"])
    mailbox.put("right", 3)
    mailbox.put("front", 1)
    assert list(mailbox.take().items()) == [("front", 1), ("right", 3)]
    mailbox.put("left", 2)
    assert mailbox.take() == {"left": 2}


def test_who_is_not_chosen_waits_on() -> None:
    asked: list[tuple[list[str], bool]] = []

    def last(waiting: Sequence[str], replaced: bool) -> Sequence[str]:
        asked.append((list(waiting), replaced))
        return waiting[-1:]

    mailbox: Mailbox[int] = Mailbox(["front", "left", "right"], last)
    mailbox.put("right", 3)
    mailbox.put("front", 1)
    assert mailbox.take() == {"right": 3}
    assert mailbox.put("front", 2) == 1
    mailbox.put("left", 4)
    assert mailbox.take() == {"left": 4}
    assert mailbox.take() == {"front": 2}
    assert mailbox.take(wait=False) == {}
    assert asked == [(["front", "right"], False), (["front", "left"], True), (["front"], False)]


def test_take_waits_for_an_item() -> None:
    mailbox: Mailbox[int] = Mailbox(["front"])
    taken: list[dict[str, int]] = []
    thread = threading.Thread(target=lambda: taken.append(mailbox.take()))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    mailbox.put("front", 7)
    thread.join(5)
    assert taken == [{"front": 7}]


def test_closing_wakes_the_taker_and_returns_what_is_left() -> None:
    mailbox: Mailbox[int] = Mailbox(["front"])
    taken: list[dict[str, int]] = []
    thread = threading.Thread(target=lambda: taken.append(mailbox.take()))
    thread.start()
    assert mailbox.close() == {}
    thread.join(5)
    assert taken == [{}]

    mailbox = Mailbox(["front"])
    mailbox.put("front", 1)
    assert mailbox.close() == {"front": 1}
    assert mailbox.put("front", 2) == 2  # handed back, since nobody will take it
    assert mailbox.take() == {}


def test_every_item_is_taken_or_replaced_under_load() -> None:
    cameras = [f"camera_{index}" for index in range(4)]
    mailbox: Mailbox[int] = Mailbox(cameras)
    taken, replaced = [], []

    def consume() -> None:
        while batch := mailbox.take():
            taken.extend(batch.items())

    def produce(camera: str) -> None:
        for number in range(500):
            old = mailbox.put(camera, number)
            if old is not None:
                replaced.append((camera, old))

    consumer = threading.Thread(target=consume)
    producers = [threading.Thread(target=produce, args=(camera,)) for camera in cameras]
    consumer.start()
    for thread in producers:
        thread.start()
    for thread in producers:
        thread.join()
    left = mailbox.close()
    consumer.join(5)
    everything = [*taken, *replaced, *left.items()]
    assert sorted(everything) == sorted((camera, number) for camera in cameras for number in range(500))
    for camera in cameras:
        numbers = [number for name, number in taken if name == camera]
        assert numbers == sorted(numbers)
