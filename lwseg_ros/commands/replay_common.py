"""What `lwseg replay`, `demo`, `report` and `soak` share: options, the live replay with progress bars, report and summary."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lwseg_ros.backends import BACKENDS
from lwseg_ros.commands.arguments import MODEL_HELP
from lwseg_ros.errors import LwsegError, UsageError
from lwseg_ros.evaluation.acceptance import accepted_in_words
from lwseg_ros.host.terminal import say
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.model.precisions import find_model
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.ground_truth import GroundTruth
from lwseg_ros.replay.live.recording import spool_bytes
from lwseg_ros.replay.live.run import LiveOptions, replay_live
from lwseg_ros.replay.report.document import describe
from lwseg_ros.replay.report.report import write_report
from lwseg_ros.replay.requirements import Outcome, Requirement, RequirementError, check, parse
from lwseg_ros.replay.results import ReplayResult
from lwseg_ros.replay.run_folder import Run, read_run
from lwseg_ros.replay.sample import SAMPLE_BAG, sample_note

NUM_KEPT = 6
NUM_EXTREME = 3
TOLD_SPOOL_BYTES = 10**8  # what a disk has anyway needs no mention


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of every command that runs the node on a bag."""
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"{MODEL_HELP} (default: %(default)s)")
    parser.add_argument("--backend", default="auto", choices=["auto", *BACKENDS], help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def add_terms_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `Terms` are made of."""
    add_verdict_arguments(parser)
    parser.add_argument(
        "--against", type=Path, metavar="RUN", help="compare with the run whose report lies in this folder"
    )


def add_verdict_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verdict is made of."""
    parser.add_argument(
        "--require",
        type=requirement,
        nargs="+",
        action="extend",
        default=[],
        metavar="'FIGURE>=BOUND'",
        help="what the figures have to meet, such as 'miou>=0.6' 'iou.car>=0.5' 'dropped<=1%%' 'latency.p99<=80'; exit code 3 "
        "where they do not",
    )
    parser.add_argument(
        "--junit", type=Path, metavar="FILE", help="the verdict as JUnit XML (default: junit.xml in the report)"
    )


def check_junit(args: argparse.Namespace) -> None:
    """Raise UsageError for JUnit XML of no requirement, which continuous integration would take for a success."""
    if args.junit and not args.require:
        raise UsageError("--junit writes the verdict, and without --require there is none; require something")


def requirement(text: str) -> Requirement:
    """Read a requirement; argparse turns the error into wrong usage."""
    try:
        return parse(text)
    except RequirementError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


@dataclass(frozen=True)
class Terms:
    """What a run is judged by, read before it starts: requirements, another run or None, and a place for JUnit XML or None."""

    requirements: tuple[Requirement, ...] = ()
    against: Run | None = None
    junit: Path | None = None

    @classmethod
    def of(cls, args: argparse.Namespace, folders: Sequence[Path]) -> Terms:
        """Take the terms from the options; folders are those that reports are going to be written to.

        Raises:
            UsageError: the other run lies in one of the folders, the model has no class that is asked for, or nothing is compared
                that is required of a comparison.
            LwsegError: the other run cannot be read, or is of other classes; the model cannot be read.
        """
        check_junit(args)
        if args.against and args.against.resolve() in [folder.resolve() for folder in folders]:
            raise UsageError(
                f"--against {args.against} would be overwritten by the report; choose another folder with -o"
            )
        against = read_run(args.against) if args.against else None
        names = class_names(args.model)
        check(args.require, names, is_compared=against is not None)
        if against is not None and against.class_names != names:
            raise LwsegError(
                f"{against.name} is of {', '.join(against.class_names)}, the model of {', '.join(names)}; "
                "only runs of the same classes can be compared"
            )
        return cls(tuple(args.require), against, args.junit)


def class_names(model: str) -> list[str]:
    """Return the classes of a model file or shipped model by id; raises ModelFileError."""
    classes = find_model(model).model.manifest.classes
    return [info.name for info in sorted(classes, key=lambda info: info.id)]


def run_live(
    bag: Path,
    options: LiveOptions,
    topic: str | None = None,
    ground_truth: GroundTruth | None = None,
    *,
    record: Path | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> ReplayResult:
    """Replay through the node as `replay_live` does, with progress bars."""
    # checked here too, so that a wrong topic costs no start of the node
    with Bag(bag) as opened:
        image = opened.image_topic(topic, exclude=ground_truth.topic if ground_truth else None)
        total, num_bytes = image.count, spool_bytes(opened, image)
    room = (
        f"; its answers take about {num_bytes / 1e9:.1f} GB of disk meanwhile" if num_bytes >= TOLD_SPOOL_BYTES else ""
    )
    say(f"starting the node, the player and the collector{room} ...", file=sys.stderr)
    with progress_bars() as bar:
        advance = bar("labels received", total)

        def on_event(kind: str, count: int) -> None:
            if kind == "label":
                advance()

        return replay_live(
            bag,
            options,
            topic=topic,
            ground_truth=ground_truth,
            num_kept=NUM_KEPT,
            num_extreme=NUM_EXTREME,
            record=record,
            on_event=on_event,
            progress=lambda total: bar("evaluating", total),
            interrupted=interrupted,
        )


def finish(result: ReplayResult, folder: Path, terms: Terms, *, as_json: bool) -> int:
    """Write the report, print the figures, and return the exit code: 1 for a partial result, 3 where a requirement is not met."""
    report = describe(noted(result), terms.requirements, terms.against)
    page = write_report(report, folder, terms.junit)
    figures = report.figures
    for warning in report.result.warnings:
        say(f"warning: {warning}", file=sys.stderr)
    if as_json:
        say(json.dumps(figures, indent=2))
    else:
        say(summary(figures))
        if report.result.note:
            say(report.result.note)
    say(f"report: {page}", file=sys.stderr if as_json else sys.stdout)
    refused = print_verdict(report.outcomes)
    return 1 if result.partial else refused


def noted(result: ReplayResult) -> ReplayResult:
    """Add what has to be known of the figures of the shipped sample bag."""
    if Path(result.source).resolve() != SAMPLE_BAG.resolve():
        return result
    return replace(result, note=sample_note(result.model.manifest))


def print_verdict(outcomes: Sequence[Outcome]) -> int:
    """Say on standard error what is not met, and return the exit code."""
    missed = [outcome for outcome in outcomes if not outcome.met]
    for outcome in missed:
        say(f"not met: {outcome.requirement.text}: {outcome.said}", file=sys.stderr)
    return 3 if missed else 0


def summary(figures: dict[str, Any]) -> str:
    """Put the key figures into a few lines."""

    def show(value: float | None, digits: int = 1) -> str:
        return "not measured" if value is None else f"{value:.{digits}f}"

    def between(name: str) -> str:
        intervals = figures["intervals"]
        if intervals is None:
            return ""
        low, high = intervals[name]
        of = f"{intervals['blocks']} blocks of {intervals['block_s']:.1f} s"
        return f", {intervals['level'] * 100:g} % interval {low:.4f} to {high:.4f} by {of}"

    counts, latency, engine = figures["frames"], figures["latency_ms"], figures["engine_ms"]
    latencies = f"p50 {show(latency['p50'])}, p95 {show(latency['p95'])}, p99 {show(latency['p99'])} ms"
    if latency["p50"] is None:
        latencies = f"not measured{' (offline)' if figures['mode'].startswith('offline') else ''}"
    uncertainty, by_cause, against = figures["uncertainty"], counts["dropped_by_cause"], figures["against"]
    rows = [
        ("model", f"{figures['model']} on {figures['backend']}, {figures['precision']}"),
        ("frames", ", ".join(f"{counts[name]} {name}" for name in ("published", "segmented", "dropped", "bad"))),
        *([("dropped", ", ".join(f"{count} {cause}" for cause, count in by_cause.items()))] if by_cause else []),
        ("truth", _judged(figures["truth"])),
        ("rate", f"{show(figures['rate_hz'])} Hz, the engine alone {show(figures['engine_hz'])} Hz"),
        ("latency", latencies),
        ("engine", f"p50 {show(engine['p50'])}, p95 {show(engine['p95'])} ms"),
        *(
            [("fallback", f"to {figures['device']}: {figures['fallback_reason']}")]
            if figures["fallback_reason"]
            else []
        ),
        ("mIoU", show(figures["miou"], 4) + between("miou")),
        ("  of truth", f"{show(figures['miou_present'], 4)}, without the classes that are only predicted"),
        ("  at edges", f"{show(figures['boundary_iou']['mean'], 4)} (boundary IoU)"),
        ("accuracy", show(figures["pixel_accuracy"], 4) + between("pixel_accuracy")),
        ("uncertainty", f"ECE {show(uncertainty['ece'], 4)}, AUROC {show(uncertainty['auroc'], 4)}"),
        ("consistency", show(figures["temporal_consistency"], 4)),
        *([("against", comparison_in_words(against))] if against else []),
        *([("verdict", figures["verdict"])] if figures["verdict"] else []),
    ]
    if figures["accepted"] is not None:
        rows.append(("accepted", accepted_in_words(figures["accepted"])))
    return "\n".join(f"{name:<12} {text}" for name, text in rows)


def _judged(truth: dict[str, Any]) -> str:
    if truth["topic"] is None:
        return "none: nothing was judged"
    kinds = ", ".join(f"{truth[kind]} {kind}" for kind in ("matched", "unmatched", "ambiguous"))
    return (
        f"{truth['judged']} of {truth['images']} images judged, {truth['pixels']} pixels, by {truth['topic']} "
        f"({truth['messages']} labels: {kinds})"
    )


def comparison_in_words(against: dict[str, Any]) -> str:
    """Say how a run differs from another one."""
    parts = []
    for name, key in (("mIoU", "miou"), ("pixel accuracy", "pixel_accuracy")):
        each = against["differences"][key]
        known = each["low"] is not None
        interval = f" ({each['low']:+.4f} to {each['high']:+.4f})" if known else " (too few blocks for an interval)"
        parts.append(f"{name} {each['difference']:+.4f}{interval}")
    why = against["unpaired_because"]
    how = f"unpaired, since {why}" if why else f"over {against['frames']['run']} frames that both judged"
    if against.get("partial") and not why:  # of an older run it is not known
        how += f"; partial: {', '.join(against['partial'])}"
    return f"{against['run']}: {', '.join(parts)}, {how}"


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int], Callable[[], object]]]:
    """Offer progress bars on standard error, all closed at the end."""
    with ExitStack() as opened:

        def bar(title: str, total: int) -> Callable[[], object]:
            progress = tqdm(total=total, desc=f"{title:<16}", unit="frame", file=sys.stderr, mininterval=0.5)
            return opened.enter_context(progress).update

        yield bar


@contextmanager
def ends_in_order() -> Iterator[Callable[[], bool]]:
    """Let the first SIGINT or SIGTERM be asked for, and further ones interrupt."""
    caught: list[int] = []

    def catch(number: int, _: object) -> None:
        caught.append(number)
        os.write(2, b"\nending with what there is; once more to end at once\n")
        if len(caught) > 1:
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
