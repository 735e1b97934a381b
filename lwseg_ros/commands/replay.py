"""`lwseg replay`: bags through the live node, or straight through the segmenter, into reports."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from lwseg_ros.commands.arguments import milliseconds, node_model, positive_float, positive_int, stored_number
from lwseg_ros.commands.replay_common import (
    NUM_EXTREME,
    NUM_KEPT,
    Terms,
    add_common_arguments,
    add_terms_arguments,
    ends_in_order,
    finish,
    progress_bars,
    run_live,
)
from lwseg_ros.commands.replay_series import finish_series, one_after_another, report_folders
from lwseg_ros.errors import UsageError
from lwseg_ros.evaluation.distance_regions import Mounting
from lwseg_ros.imaging.calibration import read_camera_info
from lwseg_ros.replay.camera_view import CameraView
from lwseg_ros.replay.fleet import BagOutcome, Fleet, replay_fleet
from lwseg_ros.replay.ground_truth import GroundTruth, read_mask
from lwseg_ros.replay.label_map import load_label_map
from lwseg_ros.replay.live.run import LiveOptions
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.recorders import RECORDERS
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


def recording_file(text: str) -> Path:
    """Read the path of a file of a kind that predictions can be recorded to."""
    if Path(text).suffix not in RECORDERS:
        raise argparse.ArgumentTypeError(f"{text!r} ends with none of {', '.join(RECORDERS)}, which can be written")
    return Path(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bags",
        type=Path,
        nargs="+",
        metavar="BAG",
        help="rosbag2 folder, or one .mcap, .db3 or ROS 1 .bag file; several get a report each, and one together",
    )
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
    add_view_arguments(parser)
    parser.add_argument(
        "--rate", type=rate, default="1.0", help="factor on the recorded rate, or `max`: as fast as the node answers"
    )
    parser.add_argument(
        "--pace",
        choices=["log", "stamps"],
        default="log",
        help="what the rate follows: the times of the log, or the stamps",
    )
    parser.add_argument(
        "--max-gap",
        type=positive_float,
        default=10.0,
        metavar="S",
        help="cut longer gaps between images (default: %(default)g s)",
    )
    parser.add_argument(
        "--spool",
        type=Path,
        metavar="DIR",
        help="where the node's answers lie until they are evaluated (default: TMPDIR)",
    )
    parser.add_argument("--offline", action="store_true", help="straight through the segmenter, without ROS")
    fleet = parser.add_mutually_exclusive_group()
    fleet.add_argument(
        "--workers",
        type=positive_int,
        metavar="N",
        help="offline: that many bags at a time, each in a process of its own",
    )
    fleet.add_argument(
        "--scheduler", metavar="ADDRESS", help="offline: by the workers of a Dask scheduler that is there"
    )
    parser.add_argument(
        "--record",
        type=recording_file,
        metavar="FILE.mcap|FILE.rrd",
        help="write the predictions too: .mcap, beside the images, for RViz and Foxglove; .rrd for Rerun",
    )
    add_common_arguments(parser)
    add_terms_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the report")


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what regions by distance need."""
    parser.add_argument(
        "--camera-height",
        type=positive_float,
        metavar="M",
        help="of the camera above a flat road, metres: regions of the image are by distance, not by rows",
    )
    parser.add_argument(
        "--camera-pitch", type=pitch, metavar="DEG", help="how far the camera looks down, degrees (default: 0)"
    )
    parser.add_argument(
        "--camera-info",
        type=Path,
        metavar="FILE",
        help="calibration as ROS writes it, YAML (default: the bag's camera_info)",
    )
    parser.add_argument(
        "--distances",
        type=distances,
        metavar="M,M",
        help="where the near and the middle region end, metres (default: 10,30)",
    )


def pitch(text: str) -> float:
    """Read an angle between -90 and 90 degrees."""
    try:
        value = float(text)
    except ValueError:
        value = 90.0
    if not -90 < value < 90:
        raise argparse.ArgumentTypeError(f"{text!r} is no angle between -90 and 90 degrees")
    return value


def distances(text: str) -> tuple[float, float]:
    """Read two ascending distances above 0, such as `10,30`."""
    try:
        near, middle = map(positive_float, text.split(","))
    except (ValueError, argparse.ArgumentTypeError):
        near = middle = 0.0
    if not near < middle:
        raise argparse.ArgumentTypeError(f"{text!r} is not two ascending distances in metres, such as 10,30")
    return near, middle


def run(args: argparse.Namespace) -> int:
    """Replay, write the reports, and print the key figures."""
    _check_usage(args)
    own = [args.output / name for name in report_folders(args.bags)] if len(args.bags) > 1 else []
    terms = Terms.of(args, [args.output, *own])
    ground_truth = GroundTruth(
        args.label_topic,
        args.label_tolerance,
        load_label_map(args.label_map) if args.label_map else None,
        args.ignore_id,
        read_mask(args.mask) if args.mask else None,
        _view(args),
    )
    with ends_in_order() as interrupted, ExitStack() as stack:
        if args.workers or args.scheduler:
            outcomes = _over_fleet(args, ground_truth, interrupted)
            return finish_series(outcomes, args.bags, args.output, terms, as_json=args.json)
        one = partial(_offline, stack=stack) if args.offline else _live
        replay = one(args, ground_truth, interrupted)
        if len(args.bags) == 1:
            return finish(replay(args.bags[0]), args.output, terms, as_json=args.json)
        outcomes = one_after_another(args.bags, replay, interrupted)
        return finish_series(outcomes, args.bags, args.output, terms, as_json=args.json)


def _check_usage(args: argparse.Namespace) -> None:
    """Raise UsageError for options that do not go together."""
    given = [bag.resolve() for bag in args.bags]
    twice = [bag for index, bag in enumerate(args.bags) if bag.resolve() in given[:index]]
    if twice:
        raise UsageError(f"{twice[0]} is given twice, and would count twice; give each bag once")
    if (args.workers or args.scheduler) and not args.offline:
        raise UsageError(
            "--workers and --scheduler go with --offline: nodes that share a machine take each other's time"
        )
    if args.record and (len(args.bags) > 1 or args.workers or args.scheduler):
        raise UsageError("--record writes the predictions of one bag; give one bag, without --workers and --scheduler")


def _view(args: argparse.Namespace) -> CameraView | None:
    """Take what regions by distance need; raises UsageError where the height is missing, CalibrationError for the file."""
    if args.camera_height is None:
        given = {"--camera-pitch": args.camera_pitch, "--camera-info": args.camera_info, "--distances": args.distances}
        alone = [name for name, value in given.items() if value is not None]
        if alone:
            raise UsageError(f"{' and '.join(alone)} need --camera-height M, without which regions are by rows")
        return None
    mounting = Mounting(args.camera_height, args.camera_pitch or 0.0, args.distances or Mounting.bounds_m)
    if args.camera_info is None:
        return CameraView(mounting)
    return CameraView(mounting, read_camera_info(args.camera_info), str(args.camera_info))


def _live(
    args: argparse.Namespace, ground_truth: GroundTruth, interrupted: Callable[[], bool]
) -> Callable[[Path], ReplayResult]:
    path, parameters = node_model(args.model)
    options = LiveOptions(
        path,
        args.backend,
        args.rate,
        pace=args.pace,
        max_gap_s=args.max_gap,
        spool=args.spool,
        parameters=parameters,
    )
    return partial(
        run_live,
        options=options,
        topic=args.topic,
        ground_truth=ground_truth,
        record=args.record,
        interrupted=interrupted,
    )


def _offline(
    args: argparse.Namespace, ground_truth: GroundTruth, interrupted: Callable[[], bool], stack: ExitStack
) -> Callable[[Path], ReplayResult]:
    segmenter = stack.enter_context(Segmenter.open(args.model, args.backend))

    def replay(bag: Path) -> ReplayResult:
        with progress_bars() as bar:
            return replay_offline(
                bag,
                segmenter,
                **_what(args, ground_truth),
                record=args.record,
                progress=lambda total: bar("segmenting", total),
                interrupted=interrupted,
            )

    return replay


def _over_fleet(
    args: argparse.Namespace, ground_truth: GroundTruth, interrupted: Callable[[], bool]
) -> Iterator[BagOutcome]:
    fleet = Fleet(args.workers or 0, args.scheduler)
    replay = partial(replay_offline, **_what(args, ground_truth))
    return replay_fleet(args.bags, fleet, args.model, args.backend, replay, interrupted=interrupted)


def _what(args: argparse.Namespace, ground_truth: GroundTruth) -> dict[str, Any]:
    """Collect what every offline replay is told, wherever it runs."""
    return {"topic": args.topic, "ground_truth": ground_truth, "num_kept": NUM_KEPT, "num_extreme": NUM_EXTREME}
