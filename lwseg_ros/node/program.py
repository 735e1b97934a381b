"""The program around one or several nodes: its ROS arguments, its exit codes, and what has to be in place before the first node."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from lwseg_ros.host.terminal import stop_printing
from lwseg_ros.node.signals import queue_signals

# What ROS takes after --ros-args alone, and people give without.
_ROS_FLAGS = ("-r", "--remap", "-p", "--param", "--params-file", "-e", "--enclave", "--log-level")


def run_program(
    name: str,
    arguments: Sequence[str],
    usage: str,
    parameters: str,
    *make_nodes: Callable[[], Any],
    node_arguments: Sequence[Sequence[str]] = (),
) -> int:
    """Run nodes until SIGINT or SIGTERM and return the exit code, as docs/node.md lists them.

    parameters: their list for `--help`. make_nodes: see `spin_until_signal`. node_arguments: ROS arguments of single nodes, which
    are to be as right as those of the process.
    """
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    from lwseg_ros.node.console import never_wait_for_readers
    from lwseg_ros.node.log_folder import arguments_without_log_folder
    from lwseg_ros.node.process import spin_until_signal
    from lwseg_ros.node.shared_memory import remove_abandoned_segments, room_for_images

    def make_first_node() -> Any:
        remove_abandoned_segments()
        with room_for_images():  # the first node brings the middleware up
            return make_nodes[0]()

    try:
        own = remove_ros_args(list(arguments))[1:]
        for words in node_arguments:
            own += remove_ros_args(list(words))
        if own and own[0] in ("-h", "--help"):
            print(f"{usage}\n\nparameters:\n{parameters}", flush=True)
            return 0
        if own:
            remedy = "; ROS arguments come after --ros-args" if own[0] in _ROS_FLAGS else ""
            print(f"{name}: no argument {own[0]!r}; see --help{remedy}", file=sys.stderr)
            return 2
        never_wait_for_readers()
        exit_codes = queue_signals()
        rclpy.init(
            args=[*arguments, *arguments_without_log_folder(name)], signal_handler_options=SignalHandlerOptions.NO
        )
    except BrokenPipeError:  # who reads the help, such as `head`, has enough
        stop_printing()
        return 1
    except Exception as error:
        print(f"{name}: wrong ROS arguments: {error}; see --help", file=sys.stderr)
        return 2
    try:
        return spin_until_signal([make_first_node, *make_nodes[1:]], exit_codes, name)
    finally:
        rclpy.try_shutdown()


def require_rclpy() -> None:
    """Import rclpy; raises ModuleNotFoundError, which says where it comes from."""
    try:
        import rclpy  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "rclpy is not installed: source /opt/ros/<distribution>/setup.bash, or `pip install 'lwseg_ros[ros]'`",
            name="rclpy",
        ) from error
