"""The program `segment`: `ros2 run lwseg_ros segment`, `python -m lwseg_ros.node`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lwseg_ros.node.signals import end_at_once_on_signals, end_with_input

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
    from lwseg_ros.node.program import require_rclpy, run_program

    require_rclpy()
    from lwseg_ros.node.parameters import help_text
    from lwseg_ros.node.segment_node import SegmentNode

    return run_program("segment", arguments, USAGE, help_text(), SegmentNode)


if __name__ == "__main__":
    sys.exit(main())
