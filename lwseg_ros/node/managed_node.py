"""What every managed (lifecycle) node here does alike: states, parameters, warnings and the rhythm of its diagnostics."""

from __future__ import annotations

import re
import time
import traceback
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import NameValidationException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from lwseg_ros.errors import LwsegError
from lwseg_ros.node.parameters import Parameter, faults
from lwseg_ros.node.publishers import PublisherGroup
from lwseg_ros.node.services import survive_requests
from lwseg_ros.node.transitions import refuse_impossible_transitions

WARNING_PERIOD_S = 5.0


class NodeSettings(Protocol):
    """Values of a node's parameters at one moment; a frozen dataclass."""

    @property
    def autostart(self) -> bool:
        """Whether the node configures and activates itself."""
        ...

    @property
    def diagnostics_rate_hz(self) -> float:
        """Rate of /diagnostics."""
        ...

    def changed(self: SettingsT, values: Mapping[str, Any]) -> SettingsT:
        """Give the settings with some parameters' (valid) values replaced."""
        ...


SettingsT = TypeVar("SettingsT", bound=NodeSettings)


class ManagedNode(LifecycleNode, Generic[SettingsT]):
    """A lifecycle node whose parameters come from a table and whose diagnostics run in every state.

    A subclass says what its transitions do in `_configure`, `_activate`, `_stop` and `_release`, and how it is in `_statuses`.
    What these raise is logged and fails the transition.
    """

    def __init__(
        self, name: str, settings: SettingsT, parameters: Mapping[str, Parameter], arguments: Sequence[str] = ()
    ) -> None:
        """Declare the parameters; raises what rclpy raises for an override that does not fit.

        arguments: ROS arguments of this node alone, which come before those of the process.
        """
        super().__init__(name, cli_args=list(arguments))
        refuse_impossible_transitions(self)
        survive_requests(self)
        self._state = "unconfigured"
        self._settings = settings
        self._parameter_table = parameters
        self._outputs = PublisherGroup(self)
        self._warned_s: dict[tuple[str, str], float] = {}
        # A steady clock, so that a paused simulation is diagnosed too.
        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = self.create_timer(1.0, self._publish_diagnostics, clock=self._steady_clock)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        for parameter_name, parameter in parameters.items():
            default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
            self.declare_parameter(parameter_name, default, parameter.descriptor())

    # What a subclass states

    @abstractmethod
    def _configure(self) -> None:
        """Create the publishers, and what activating needs."""

    @abstractmethod
    def _activate(self) -> None:
        """Subscribe and begin to work."""

    @abstractmethod
    def _stop(self) -> None:
        """Unsubscribe and finish what is in hand; again is harmless."""

    @abstractmethod
    def _release(self) -> None:
        """Stop, and let go of everything, in whatever state."""

    def _disagreements(self, settings: SettingsT) -> list[str]:
        """Say which parameters, each valid by itself, do not go together. By default all do."""
        return []

    @abstractmethod
    def _hangs(self) -> bool:
        """Tell whether a thread of the node has not ended though it was to."""

    @abstractmethod
    def _statuses(self, name: str) -> list[DiagnosticStatus]:
        """Say how the node is; name begins the statuses' names."""

    # States

    def autostart(self) -> bool:
        """Configure and activate if the parameter says so; False when that failed."""
        if not self._settings.autostart:
            self.get_logger().info("waiting for lifecycle transitions (autostart is false)")
            return True
        steps: tuple[Callable[[], TransitionCallbackReturn], ...] = (self.trigger_configure, self.trigger_activate)
        return all(step() == TransitionCallbackReturn.SUCCESS for step in steps)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Create what the node needs."""
        return self._transition(
            "configure", "inactive", self._configure, lambda: super(ManagedNode, self).on_configure(state)
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let the publishers speak, then begin."""
        return self._transition(
            "activate", "active", lambda: super(ManagedNode, self).on_activate(state), self._activate
        )

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, then silence the publishers."""
        return self._transition(
            "deactivate", "inactive", self._stop, lambda: super(ManagedNode, self).on_deactivate(state)
        )

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything."""
        return self._transition(
            "clean up", "unconfigured", lambda: super(ManagedNode, self).on_cleanup(state), self._release
        )

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop in whatever state and let go of everything."""
        return self._transition("shut down", "finalized", self._release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after an unexpected failure."""
        return self._transition("recover", "unconfigured", self._release)

    def interrupt(self) -> None:
        """Give up what may take minutes, since the process is to end; from any thread. By default nothing takes so long."""

    def close(self) -> bool:
        """End in the finalized state, whatever the present one; False where something still hangs."""
        if self._state != "finalized":
            self.trigger_shutdown()
        return not self._hangs()

    def _transition(self, name: str, goal: str, *actions: Callable[[], Any]) -> TransitionCallbackReturn:
        """Run a transition's actions; rclpy itself would swallow their exceptions without a word."""
        try:
            for action in actions:
                action()
        except (LwsegError, NameValidationException) as error:  # the latter: a topic that becomes too long
            self.get_logger().error(f"cannot {name}: {' '.join(str(error).split())}")
            if self._state != "unconfigured":
                return TransitionCallbackReturn.ERROR
            self._release()
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f"cannot {name}:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        self._state = goal
        return TransitionCallbackReturn.SUCCESS

    # Parameters

    def _on_set_parameters(self, parameters: Sequence[Any]) -> SetParametersResult:
        values = {parameter.name: parameter.value for parameter in parameters}
        unconfigured = self._state == "unconfigured"
        found = faults(values, unconfigured=unconfigured, parameters=self._parameter_table)
        if not found and not unconfigured:
            found = self._disagreements(self._settings.changed(values))
        if found:
            return SetParametersResult(successful=False, reason="; ".join(found))
        self._settings = self._settings.changed(values)
        self._timer.timer_period_ns = int(1e9 / self._settings.diagnostics_rate_hz)
        return SetParametersResult(successful=True)

    # Log and diagnostics

    def _warn_rarely(self, text: str, camera: str = "") -> None:
        """Log what happened, but every kind of trouble (of a camera) only once in five seconds."""
        now_s = time.monotonic()
        kind = (camera, re.sub(r"\d+", "#", text))
        if now_s - self._warned_s.get(kind, -WARNING_PERIOD_S) < WARNING_PERIOD_S:
            return
        if len(self._warned_s) > 100:  # texts may hold what a broken publisher makes up
            self._warned_s.clear()
        self._warned_s[kind] = now_s
        self.get_logger().warning(text)

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray()
        message.status = self._statuses(self.get_fully_qualified_name().lstrip("/"))
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)
