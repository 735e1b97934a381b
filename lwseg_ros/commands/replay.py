"""`lwseg replay`: bags through the live node, or straight through the segmenter, into reports."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from lwseg_ros.commands.arguments import positive_float, positive_int
from lwseg_ros.commands.replay_common import (
    NUM_KEPT,
    add_common_arguments,
    ends_in_order,
    finish,
    noted,
    progress_bars,
    run_live,
)
from lwseg_ros.errors import LwsegError
from lwseg_ros.model.model_file import resolve_model
from lwseg_ros.replay.fleet import Fleet, Outcome, replay_fleet
from lwseg_ros.replay.live.run import LiveOptions
from lwseg_ros.replay.merging import merge_results
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.report.report import write_report
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


def mcap_file(text: str) -> Path:
    """Read the path of a file that is to be an MCAP."""
    if not text.endswith(".mcap"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end with .mcap, which is what is written")
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
    parser.add_argument("--label-topic", help="ground truth, mono8 (default: the topic called .../label, if any)")
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
        type=mcap_file,
        metavar="FILE.mcap",
        help="write predictions beside the images, for RViz and Foxglove",
    )
    add_common_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the report")


def run(args: argparse.Namespace) -> int:
    """Replay, write the reports, and print the key figures."""
    fault = _misuse(args)
    if fault:
        print(f"lwseg replay: {fault}", file=sys.stderr)
        return 2
    with ends_in_order() as interrupted, ExitStack() as stack:
        if args.workers or args.scheduler:
            return _finish_series(args, _over_fleet(args, interrupted))
        replay = _offline(args, interrupted, stack) if args.offline else _live(args, interrupted)
        if len(args.bags) > 1:
            return _finish_series(args, _one_after_another(args.bags, replay, interrupted))
        return finish(replay(args.bags[0]), args.output, as_json=args.json)


def _misuse(args: argparse.Namespace) -> str | None:
    """Say which options do not go together, or return None."""
    given = [bag.resolve() for bag in args.bags]
    twice = [bag for index, bag in enumerate(args.bags) if bag.resolve() in given[:index]]
    if twice:
        return f"{twice[0]} is given twice, and would count twice; give each bag once"
    if (args.workers or args.scheduler) and not args.offline:
        return "--workers and --scheduler go with --offline: nodes that share a machine take each other's time"
    if args.record and (len(args.bags) > 1 or args.workers or args.scheduler):
        return "--record writes the predictions of one bag; give one bag, without --workers and --scheduler"
    return None


def _live(args: argparse.Namespace, interrupted: Callable[[], bool]) -> Callable[[Path], ReplayResult]:
    options = LiveOptions(
        resolve_model(args.model),
        args.backend,
        args.rate,
        pace=args.pace,
        max_gap_s=args.max_gap,
        spool=args.spool,
    )
    return partial(
        run_live,
        options=options,
        topic=args.topic,
        label_topic=args.label_topic,
        record=args.record,
        interrupted=interrupted,
    )


def _offline(
    args: argparse.Namespace, interrupted: Callable[[], bool], stack: ExitStack
) -> Callable[[Path], ReplayResult]:
    segmenter = stack.enter_context(Segmenter.open(args.model, args.backend))

    def replay(bag: Path) -> ReplayResult:
        with progress_bars() as bar:
            return replay_offline(
                bag,
                segmenter,
                **_what(args),
                record=args.record,
                progress=lambda total: bar("segmenting", total),
                interrupted=interrupted,
            )

    return replay


def _over_fleet(args: argparse.Namespace, interrupted: Callable[[], bool]) -> Iterator[Outcome]:
    fleet = Fleet(args.workers or 0, args.scheduler)
    return replay_fleet(
        args.bags, fleet, args.model, args.backend, partial(replay_offline, **_what(args)), interrupted=interrupted
    )


def _what(args: argparse.Namespace) -> dict[str, Any]:
    """Collect what every offline replay is told, wherever it runs."""
    return {"topic": args.topic, "label_topic": args.label_topic, "num_kept": NUM_KEPT}


def _one_after_another(
    bags: Sequence[Path], replay: Callable[[Path], ReplayResult], interrupted: Callable[[], bool]
) -> Iterator[Outcome]:
    for bag in bags:
        if interrupted():
            return
        try:
            yield Outcome(bag, replay(bag))
        except (LwsegError, OSError) as error:
            yield Outcome(bag, None, str(error))


def _finish_series(args: argparse.Namespace, outcomes: Iterator[Outcome]) -> int:
    """Write a report of each bag as it comes and one of all; return 1 where a bag is missing from it."""
    folders = dict(zip(args.bags, report_folders(args.bags), strict=True))
    done: dict[Path, ReplayResult] = {}
    failed: dict[Path, str] = {}
    for outcome in outcomes:
        if outcome.result is None:
            failed[outcome.bag] = outcome.error
            print(f"lwseg replay: {outcome.bag} failed: {outcome.error}", file=sys.stderr)
        else:
            done[outcome.bag] = noted(outcome.result)
            page = write_report(done[outcome.bag], args.output / folders[outcome.bag])
            print(f"{outcome.bag}: {page}", file=sys.stderr)
    missing = [
        f"{bag} failed and is not in these figures: {failed[bag]}"
        if bag in failed
        else f"interrupted: {bag} was not replayed and is not in these figures"
        for bag in args.bags
        if bag not in done
    ]
    results = [done[bag] for bag in args.bags if bag in done]
    if not results:
        print(f"lwseg replay: none of the {len(args.bags)} bags was replayed", file=sys.stderr)
        return 1
    whole = merge_results(results, NUM_KEPT)
    whole = replace(whole, warnings=(*missing, *whole.warnings), partial=whole.partial or bool(missing))
    return finish(whole, args.output, as_json=args.json)


def report_folders(bags: Sequence[Path]) -> list[str]:
    """Name a folder for each bag, after it; bags of one name get a number."""
    names: list[str] = []
    for bag in bags:
        stem = bag.resolve().name
        for suffix in (".mcap", ".db3", ".bag"):
            stem = stem.removesuffix(suffix)
        name, numbers = stem, count(2)
        while name in names:
            name = f"{stem}-{next(numbers)}"
        names.append(name)
    return names
