"""The program `segment`: `ros2 run lwseg_ros segment`, `python -m lwseg_ros.node`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lwseg_ros.node.signals import end_at_once_on_signals, end_with_input, queue_signals

USAGE = "usage: segment [--ros-args -p NAME:=VALUE -r image:=/camera/image_raw ...]"
# For programs that start the node and keep a pipe to it open; nobody else's node looks at its standard input.
END_WITH_INPUT = "--end-with-input"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM and return the exit code, as docs/node.md lists them."""
    arguments = list(sys.argv if argv is None else argv)
    end_at_once_on_signals()
    if END_WITH_INPUT in arguments:
        arguments.remove(END_WITH_INPUT)
        end_with_input()
    # Imported here, as they take a second, in which a signal may come.
    try:
        import rclpy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "rclpy is not installed: source /opt/ros/<distribution>/setup.bash, or `pip install 'lwseg_ros[ros]'`",
            name="rclpy",
        ) from error
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    from lwseg_ros.node.console import never_wait_for_readers
    from lwseg_ros.node.log_folder import arguments_without_log_folder
    from lwseg_ros.node.parameters import help_text
    from lwseg_ros.node.process import spin_until_signal
    from lwseg_ros.node.segment_node import SegmentNode
    from lwseg_ros.node.shared_memory import remove_abandoned_segments, room_for_images

    def make_node() -> SegmentNode:
        remove_abandoned_segments()
        with room_for_images():  # the first node brings the middleware up
            return SegmentNode()

    try:
        own = remove_ros_args(arguments)[1:]
        if own and own[0] in ("-h", "--help"):
            print(f"{USAGE}\n\nparameters:\n{help_text()}")
            return 0
        if own:
            print(f"segment: no argument {own[0]!r}; see --help", file=sys.stderr)
            return 2
        never_wait_for_readers()
        exit_codes = queue_signals()
        rclpy.init(args=arguments + arguments_without_log_folder(), signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:
        print(f"segment: wrong ROS arguments: {error}; see --help", file=sys.stderr)
        return 2
    try:
        return spin_until_signal(make_node, exit_codes)
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
