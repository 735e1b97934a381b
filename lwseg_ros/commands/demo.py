"""`lwseg demo`: the main job on the shipped sample bag."""

from __future__ import annotations

import argparse
from pathlib import Path

from lwseg_ros.commands import replay

HELP = "Play the shipped CamVid clip through the live node over real ROS 2, and write report.html and report.json."
EXAMPLE = "lwseg demo -o out/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    replay.add_common_arguments(parser)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("out/demo"), metavar="DIR", help="default: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Replay the sample bag at its recorded rate and write the report."""
    args.topic = args.label_topic = None
    args.rate = 1.0
    replay.finish(replay.run_live(replay.SAMPLE_BAG, args), args.output, as_json=args.json)
    return 0
