"""`lwseg replay`: a bag through the live node, or straight through the segmenter, into a report."""

from __future__ import annotations

import argparse
from pathlib import Path

from lwseg_ros.commands.arguments import milliseconds, stored_number
from lwseg_ros.commands.replay_common import (
    NUM_EXTREME,
    NUM_KEPT,
    Terms,
    add_common_arguments,
    finish,
    progress_bars,
    run_live,
)
from lwseg_ros.model.model_file import resolve_model
from lwseg_ros.replay.ground_truth import GroundTruth, read_mask
from lwseg_ros.replay.label_map import load_label_map
from lwseg_ros.replay.live.run import LiveOptions
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.results import ReplayResult
from lwseg_ros.segmenter import Segmenter

HELP = "Replay a bag through the live node (or straight through the segmenter) and write report.html and report.json."
EXAMPLE = "lwseg replay drive_bag --topic /front/image/compressed -o out/drive"


def rate(text: str) -> float | None:
    """Read a rate: a factor above 0, or `max` (None), where each image waits for the answer to the one before."""
    if text == "max":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a factor above 0, such as 0.5, nor `max`")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, help="rosbag2 folder, or one .mcap or .db3 file")
    parser.add_argument("--topic", help="image topic (default: the bag's only one)")
    parser.add_argument("--label-topic", help="ground truth, mono8 (default: the camera's .../label, if any)")
    parser.add_argument(
        "--label-tolerance", type=milliseconds, default=0.0, metavar="MS", help="pair stamps up to so many ms apart (0)"
    )
    parser.add_argument("--ignore-id", type=stored_number, metavar="N", help="number in the labels that is not judged")
    parser.add_argument(
        "--label-map",
        metavar="FILE",
        help="what ids or colours of the labels mean, YAML; or cityscapes_ids, cityscapes_train_ids, camvid_colors",
    )
    parser.add_argument(
        "--mask", type=Path, metavar="FILE", help="black and white picture: black pixels are not judged"
    )
    parser.add_argument(
        "--rate", type=rate, default="1.0", help="factor on the recorded rate, or `max`: as fast as the node answers"
    )
    parser.add_argument("--offline", action="store_true", help="straight through the segmenter, without ROS")
    add_common_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the report")


def run(args: argparse.Namespace) -> int:
    """Replay, write the report, and print the key figures."""
    terms = Terms.of(args)
    ground_truth = GroundTruth(
        args.label_topic,
        args.label_tolerance,
        load_label_map(args.label_map) if args.label_map else None,
        args.ignore_id,
        read_mask(args.mask) if args.mask else None,
    )
    if args.offline:
        result = run_offline(args, ground_truth)
    else:
        options = LiveOptions(resolve_model(args.model), args.backend, args.rate)
        result = run_live(args.bag, options, args.topic, ground_truth)
    return finish(result, args.output, terms, as_json=args.json)


def run_offline(args: argparse.Namespace, ground_truth: GroundTruth) -> ReplayResult:
    """Replay through the segmenter, with a progress bar."""
    with Segmenter.open(args.model, args.backend) as segmenter, progress_bars() as bar:
        return replay_offline(
            args.bag,
            segmenter,
            topic=args.topic,
            ground_truth=ground_truth,
            num_kept=NUM_KEPT,
            num_extreme=NUM_EXTREME,
            progress=lambda total: bar("segmenting", total),
        )
