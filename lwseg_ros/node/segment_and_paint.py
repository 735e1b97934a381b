"""The program `segment_and_paint`: both nodes in one process, `ros2 run lwseg_ros segment_and_paint`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lwseg_ros.node.signals import end_at_once_on_signals

NAME = "segment_and_paint"
USAGE = """\
usage: segment_and_paint [--segment -r image:=/camera/image_raw ...] [--paint -r points:=/lidar/points ...] [--ros-args ...]

ROS arguments of one node come after --segment or --paint, those of both after --ros-args. Labels need no remapping."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run both nodes until SIGINT or SIGTERM and return the exit code, as docs/node.md lists them."""
    arguments = list(sys.argv if argv is None else argv)
    end_at_once_on_signals()
    # Imported here, as they take a second, in which a signal may come.
    from lwseg_ros.node.program import require_rclpy, run_program

    require_rclpy()
    from lwseg_ros.node.label_relay import LabelRelay
    from lwseg_ros.node.paint.paint_node import PaintNode
    from lwseg_ros.node.paint.parameters import PAINT_PARAMETERS
    from lwseg_ros.node.parameters import help_text
    from lwseg_ros.node.segment_node import SegmentNode

    both, segment, paint = split_arguments(arguments)
    relay = LabelRelay()
    parameters = f"{help_text()}\n\nparameters of paint:\n{help_text(PAINT_PARAMETERS)}"
    return run_program(
        NAME,
        both,
        USAGE,
        parameters,
        lambda: SegmentNode(segment, relay),
        lambda: PaintNode(paint, relay),
        node_arguments=(segment, paint),
    )


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Give the arguments of both nodes, of `segment` and of `paint`, the latter two beginning with --ros-args."""
    both: list[str] = []
    segment, paint = ["--ros-args"], ["--ros-args"]
    into = both
    for word in arguments:
        if word in ("--segment", "--paint"):
            into = segment if word == "--segment" else paint
            continue
        if word == "--ros-args":
            into = both
        into.append(word)
    return both, segment, paint


if __name__ == "__main__":
    sys.exit(main())
