"""The program `paint`: `ros2 run lwseg_ros paint`, `python -m lwseg_ros.node.paint`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lwseg_ros.node.signals import end_at_once_on_signals

USAGE = "usage: paint [--ros-args -p NAME:=VALUE -r points:=/lidar/points -r label:=/segment/label ...]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM and return the exit code, as docs/node.md lists them."""
    arguments = list(sys.argv if argv is None else argv)
    end_at_once_on_signals()
    # Imported here, as they take a second, in which a signal may come.
    from lwseg_ros.node.program import require_rclpy, run_program

    require_rclpy()
    from lwseg_ros.node.paint.paint_node import PaintNode
    from lwseg_ros.node.paint.parameters import PAINT_PARAMETERS
    from lwseg_ros.node.parameters import help_text

    return run_program("paint", arguments, USAGE, help_text(PAINT_PARAMETERS), PaintNode)


if __name__ == "__main__":
    sys.exit(main())
