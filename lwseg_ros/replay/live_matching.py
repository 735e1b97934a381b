"""A ROS node that has found its counterparts, in a new participant if the first one does not find them."""

from __future__ import annotations

import contextlib
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TypeVar

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

# Matching takes well under a second once both ends are there.
PATIENCE_S = 10.0


class MatchingNode(Node, ABC):
    """A node that can tell whether it is matched."""

    @abstractmethod
    def matched(self) -> bool:
        """Tell whether everything that it needs is there."""


N = TypeVar("N", bound=MatchingNode)


@contextlib.contextmanager
def matched_node(
    make: Callable[[Context], N], is_over: Callable[[], bool], patience_s: float = PATIENCE_S
) -> Iterator[tuple[N, SingleThreadedExecutor] | None]:
    """Make a node and spin it until it is matched; give it and its executor, or None once it is over before.

    With Fast DDS's LARGE_DATA transports, about one start in a hundred leaves two participants that know each other but
    never tell each other their topics. Only a new participant helps, so every ``patience_s`` the node is made anew.

    Args:
        make: makes the node in a context; called once a participant.
        is_over: whether to give up.
        patience_s: how long a participant has to be matched.
    """
    while not is_over():
        with _spun(make) as (node, executor):
            deadline_s = time.monotonic() + patience_s
            while not is_over() and time.monotonic() < deadline_s:
                executor.spin_once(timeout_sec=0.02)
                if node.matched():
                    yield node, executor
                    return
        print(f"not matched within {patience_s:g} s; trying in a new participant", file=sys.stderr, flush=True)
    yield None


@contextlib.contextmanager
def _spun(make: Callable[[Context], N]) -> Iterator[tuple[N, SingleThreadedExecutor]]:
    context = Context()
    rclpy.init(args=[], context=context)
    node = make(context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        yield node, executor
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
