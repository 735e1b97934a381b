"""The program `segment`: `ros2 run lwseg_ros segment`, `python -m lwseg_ros.node`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

try:
    import rclpy
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "rclpy is not installed: source /opt/ros/<distribution>/setup.bash, or `pip install 'lwseg_ros[ros]'`",
        name="rclpy",
    ) from error
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from lwseg_ros.node.parameters import help_text
from lwseg_ros.node.process import spin_until_signal
from lwseg_ros.node.segment_node import SegmentNode
from lwseg_ros.node.shared_memory import room_for_images

USAGE = "usage: segment [--ros-args -p NAME:=VALUE -r image:=/camera/image_raw ...]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; return 0 then, 1 when it cannot start or run, 2 for wrong usage."""
    arguments = list(sys.argv if argv is None else argv)
    try:
        own = remove_ros_args(arguments)[1:]
        if own and own[0] in ("-h", "--help"):
            print(f"{USAGE}\n\nparameters:\n{help_text()}")
            return 0
        if own:
            print(f"segment: no argument {own[0]!r}; see --help", file=sys.stderr)
            return 2
        # `spin_until_signal` has handlers of its own.
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:
        print(f"segment: wrong ROS arguments: {error}; see --help", file=sys.stderr)
        return 2
    try:
        return spin_until_signal(_make_node)
    finally:
        rclpy.try_shutdown()


def _make_node() -> SegmentNode:
    with room_for_images():  # the first node brings the middleware up
        return SegmentNode()


if __name__ == "__main__":
    sys.exit(main())
