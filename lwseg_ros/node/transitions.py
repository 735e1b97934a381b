"""Lifecycle requests that do not fit the node's state are refused, not fatal, whatever the version of rclpy."""

from __future__ import annotations

from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode


def refuse_impossible_transitions(node: LifecycleNode) -> None:
    """Answer a request for a transition that the present state does not have with `success: false`.

    A lifecycle manager that configures a node which has configured itself asks for one. Until ROS 2 Jazzy rclpy lets the
    error out of the service's callback, where it would end the node.
    """
    service = node._service_change_state
    change_state = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except rclpy_implementation.RCLError as error:
            node.get_logger().warning(f"transition {request.transition.id} is not possible: {error}")
            response.success = False
            return response

    service.callback = answer
