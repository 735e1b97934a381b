"""A node in this process with an executor of its own: what is tested runs in it, and hears publishers of the probe's node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from support.ros_harness import TIMEOUT_S


class Subject:
    """A node that is on the network while it is spun."""

    def __init__(self, node: Node, executor: SingleThreadedExecutor) -> None:
        self.node = node
        self._executor = executor

    def spin_for(self, duration_s: float) -> None:
        """Run its callbacks for a while."""
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=0.01)

    def spin_until(self, condition: Callable[[], Any], what: str) -> None:
        """Run its callbacks until the condition holds; fail with `what` after a while."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"{what} did not happen within {TIMEOUT_S:g} s"
            self._executor.spin_once(timeout_sec=0.01)


@contextmanager
def ros_subject(name: str) -> Iterator[Subject]:
    """Put a node on the network."""
    context = Context()
    rclpy.init(context=context)
    node = Node(name, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        yield Subject(node, executor)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
