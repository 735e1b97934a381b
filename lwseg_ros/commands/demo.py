"""`lwseg demo`: the main job on the shipped sample bag."""

from __future__ import annotations

import argparse
from pathlib import Path

from lwseg_ros.commands.arguments import node_model
from lwseg_ros.commands.replay_common import (
    Terms,
    add_common_arguments,
    add_terms_arguments,
    ends_in_order,
    finish,
    run_live,
)
from lwseg_ros.replay.live.run import LiveOptions
from lwseg_ros.replay.sample import SAMPLE_BAG

HELP = "Play the shipped CamVid clip through the live node over real ROS 2, and write report.html and report.json."
EXAMPLE = "lwseg demo -o out/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common_arguments(parser)
    add_terms_arguments(parser)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("out/demo"), metavar="DIR", help="default: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Replay the sample bag at its recorded rate and write the report."""
    terms = Terms.of(args, [args.output])
    path, parameters = node_model(args.model)
    options = LiveOptions(path, args.backend, parameters=parameters)
    with ends_in_order() as interrupted:
        result = run_live(SAMPLE_BAG, options, interrupted=interrupted)
    return finish(result, args.output, terms, as_json=args.json)
