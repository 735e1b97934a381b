"""Parameters that are given and that no node has: ROS says nothing of them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

# Declared by rclpy for the publishers and subscriptions that allow it, and given for others without harm.
QOS_PREFIX = "qos_overrides."


def warn_of_unknown_parameters(nodes: Sequence[Any]) -> None:
    """Log a warning for each parameter that was given to rclpy nodes of one process and that none of them declares.

    Arguments and parameters files are for all of them, so what another one has is no mistake.
    """
    known = [name for node in nodes for name in node._parameters]
    warned: set[str] = set()
    for node in nodes:
        for name in node._parameter_overrides:  # rclpy has no public way to ask
            if name in known or name in warned or name.startswith(QOS_PREFIX):
                continue
            warned.add(name)
            similar = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean {similar[0]!r}?" if similar else "see --help"
            node.get_logger().warning(f"no parameter {name!r}; {remedy}")
