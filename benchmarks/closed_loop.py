"""Nodes in processes of their own that are given a bag's images one at a time: the next once the label of the last is there.

So nobody's queue counts, only how long an answer takes, from publishing an image in one process to receiving its label in
another. All nodes run at once and take turns, so that what else the machine does falls on all alike; one that is not asked
has nothing to do.
"""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lwseg_ros.errors import BagError, LwsegError
from lwseg_ros.evaluation.percentiles import percentiles
from lwseg_ros.host.files import temporary_folder
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.live.process_group import ProcessGroup, image_bytes, require_rclpy
from lwseg_ros.replay.live.processes import interrupts_deferred

DRIVER = "driver"
STARTUP_TIMEOUT_S = 300.0


class Contender(NamedTuple):
    """A program with a node: what Python is given to start it, and its topics. It has to end with its standard input."""

    arguments: Sequence[str]
    image_topic: str
    label_topic: str


class Answer(NamedTuple):
    """An image that was answered, in nanoseconds: its stamp, and by CLOCK_MONOTONIC when it went out and its label came in."""

    stamp_ns: int
    publish_ns: int
    receive_ns: int


def ask_in_turns(
    bag: Path, contenders: Mapping[str, Contender], *, turns: int, images: int
) -> dict[str, list[list[Answer]]]:
    """Start the contenders, give each ``images`` of the bag in every turn, and return their answers by name and turn.

    The first images of a turn warm up and are not counted. Raises LwsegError where a process ends or an image is not answered.
    """
    require_rclpy()
    answers: dict[str, list[list[Answer]]] = {name: [[] for _ in range(turns)] for name in contenders}
    with temporary_folder("lwseg_closed_loop_") as folder:
        with Bag(bag) as opened:
            topic = opened.image_topic(None)
            group = ProcessGroup("benchmark", folder, image_bytes(opened, topic))
        config = {
            "bag": str(bag),
            "image_topic": topic.name,
            "contenders": {name: [entry.image_topic, entry.label_topic] for name, entry in contenders.items()},
            "turns": turns,
            "images": images,
        }
        (folder / "driver.json").write_text(json.dumps(config), encoding="utf-8")
        with group:
            with interrupts_deferred():
                for name, contender in contenders.items():
                    group.start_program(name, contender.arguments)
                group.start_program(DRIVER, ["-m", "benchmarks.closed_loop_driver", str(folder / "driver.json")])
            _collect(group, answers)
    return answers


def _collect(group: ProcessGroup, answers: dict[str, list[list[Answer]]]) -> None:
    """Let the driver begin once all are there, and read its events to the end."""
    deadline_s: float | None = time.monotonic() + STARTUP_TIMEOUT_S

    def handle(event: dict[str, Any]) -> bool:
        nonlocal deadline_s
        if event["event"] == "ready":
            deadline_s = None
            group.children[DRIVER].send("go")
        elif event["event"] == "answer":
            answer = Answer(event["stamp_ns"], event["publish_ns"], event["receive_ns"])
            answers[event["contender"]][event["turn"]].append(answer)
        elif event["event"] == "unanswered":
            name = event["contender"]
            raise LwsegError(
                f"{name} did not answer an image within {event['timeout_s']} s; it said:\n{group.children[name].last_words()}"
            )
        elif event["event"] == "failed":
            raise BagError(event["message"])
        return event["event"] == "done"

    while True:
        try:
            if handle(group.events.get(timeout=0.5)):
                return
        except queue.Empty:
            group.check_alive(handle)
        if deadline_s is not None and time.monotonic() > deadline_s:
            missing = "\n".join(f"{name}: {child.last_words()}" for name, child in group.children.items())
            raise LwsegError(f"not all nodes were there within {STARTUP_TIMEOUT_S:g} s; they said:\n{missing}")


def latencies_s(turns: Sequence[Sequence[Answer]]) -> list[list[float]]:
    """Return for each answer the seconds from publishing the image to receiving its label, by turn."""
    return [[(answer.receive_ns - answer.publish_ns) / 1e9 for answer in turn] for turn in turns]


def latency_ms(turns: Sequence[Sequence[Answer]]) -> dict[str, float]:
    """Return p50, p95 and p99 of all latencies in milliseconds."""
    found = percentiles([1e3 * latency_s for turn in latencies_s(turns) for latency_s in turn], (50, 95, 99))
    return {rank: round(value, 3) for rank, value in found.items() if value is not None}
