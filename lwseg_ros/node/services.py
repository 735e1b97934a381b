"""Requests that rclpy cannot read are refused, not fatal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode


def survive_requests(node: LifecycleNode) -> None:
    """Answer a request that rclpy's own services fail at, such as a parameter of no type that there is, with an empty response.

    The error would otherwise leave the service's callback and end the node. Call it before the node has services of its own.
    """

    def guarded(answer: Callable[[Any, Any], Any], name: str) -> Callable[[Any, Any], Any]:
        def answer_or_refuse(request: Any, response: Any) -> Any:
            try:
                return answer(request, response)
            except Exception as error:  # rclpy documents none
                node.get_logger().warning(f"a request of {name} is refused: {type(error).__name__}: {error}")
                return response

        return answer_or_refuse

    for service in node.services:
        service.callback = guarded(service.callback, service.srv_name)
