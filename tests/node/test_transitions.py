"""A lifecycle request that does not fit the state, as versions of rclpy until Jazzy treat it."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from support import ros_harness  # noqa: F401  sets the domain

from lwseg_ros.node.transitions import refuse_impossible_transitions

pytestmark = pytest.mark.integration


def test_a_transition_that_the_state_does_not_have_is_refused() -> None:
    context = Context()
    context.init()
    node = LifecycleNode("trial", context=context)
    try:
        service, machine = node._service_change_state, node._state_machine

        def until_jazzy(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            machine.trigger_transition_by_id(request.transition.id, True)
            response.success = True
            return response

        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVATE))
        with pytest.raises(rclpy_implementation.RCLError):
            until_jazzy(request, ChangeState.Response())
        service.callback = until_jazzy
        refuse_impossible_transitions(node)
        assert not service.callback(request, ChangeState.Response(success=True)).success
        assert machine.current_state[1] == "unconfigured"
        request.transition.id = Transition.TRANSITION_CONFIGURE
        assert service.callback(request, ChangeState.Response()).success
        assert machine.current_state[1] == "configuring"
    finally:
        node.destroy_node()
        context.try_shutdown()
