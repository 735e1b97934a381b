"""`lwseg replay`: a bag through the live node, or straight through the segmenter, into a report."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lwseg_ros.backends import BACKENDS
from lwseg_ros.model_file import DEFAULT_MODEL, resolve_model
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.live.run import LiveOptions, replay_live
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.report.report import write_report
from lwseg_ros.replay.results import ReplayResult
from lwseg_ros.segmenter import Segmenter

HELP = "Replay a bag through the live node (or straight through the segmenter) and write report.html and report.json."
EXAMPLE = "lwseg replay drive_bag --topic /front/image/compressed -o out/drive"

NUM_KEPT = 6
SAMPLE_BAG = Path(__file__).parents[1] / "assets" / "camvid_val_clip"
SAMPLE_NOTE = (
    "The figures are validation figures: the bag is the clip on which CamVid models are chosen, from streets of the "
    "training split. Expect less on unseen streets."
)


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
    """Declare the command's options."""
    parser.add_argument("bag", type=Path, help="rosbag2 folder, or one .mcap or .db3 file")
    parser.add_argument("--topic", help="image topic (default: the bag's only one)")
    parser.add_argument("--label-topic", help="ground truth, mono8 (default: the topic called .../label, if any)")
    parser.add_argument(
        "--rate", type=rate, default="1.0", help="factor on the recorded rate, or `max`: as fast as the node answers"
    )
    parser.add_argument("--offline", action="store_true", help="straight through the segmenter, without ROS")
    add_common_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the report")


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that `lwseg demo` has too."""
    parser.add_argument("--model", default=DEFAULT_MODEL, help="model file or shipped model (default: %(default)s)")
    parser.add_argument("--backend", default="auto", choices=["auto", *BACKENDS], help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Replay, write the report, and print the key figures."""
    result = run_offline(args.bag, args) if args.offline else run_live(args.bag, args)
    finish(result, args.output, as_json=args.json)
    return 0


def run_offline(bag: Path, args: argparse.Namespace) -> ReplayResult:
    """Replay through the segmenter, with a progress bar."""
    with Segmenter.open(args.model, args.backend) as segmenter, _bars() as bar:
        return replay_offline(
            bag,
            segmenter,
            topic=args.topic,
            label_topic=args.label_topic,
            num_kept=NUM_KEPT,
            progress=lambda total: bar("segmenting", total),
        )


def run_live(bag: Path, args: argparse.Namespace) -> ReplayResult:
    """Replay through the node, with progress bars, leaving no process behind when interrupted."""
    options = LiveOptions(resolve_model(args.model), args.backend, args.rate)
    # checked here too, so that a wrong topic costs no start of the node
    with Bag(bag) as opened:
        truth = opened.label_topic(args.label_topic)
        total = opened.image_topic(args.topic, exclude=truth.name if truth else None).count
    print("starting the node, the player and the collector ...", file=sys.stderr)
    with _bars() as bar, _terminate_as_interrupt():
        advance = bar("labels received", total)

        def on_event(kind: str, count: int) -> None:
            if kind == "label":
                advance()

        return replay_live(
            bag,
            options,
            topic=args.topic,
            label_topic=args.label_topic,
            num_kept=NUM_KEPT,
            on_event=on_event,
            progress=lambda total: bar("evaluating", total),
        )


def finish(result: ReplayResult, folder: Path, *, as_json: bool) -> None:
    """Write the report and print the figures."""
    if Path(result.source).resolve() == SAMPLE_BAG.resolve():
        result = replace(result, note=SAMPLE_NOTE)
    page = write_report(result, folder)
    figures = result.figures()
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        print(summary(figures))
        if result.note:
            print(result.note)
    print(f"report: {page}", file=sys.stderr if as_json else sys.stdout)


def summary(figures: dict[str, Any]) -> str:
    """Put the key figures into a few lines."""

    def show(value: float | None, digits: int = 1) -> str:
        return "not measured" if value is None else f"{value:.{digits}f}"

    counts, latency, engine = figures["frames"], figures["latency_ms"], figures["engine_ms"]
    uncertainty = figures["uncertainty"]
    rows = [
        ("model", f"{figures['model']} on {figures['backend']}, {figures['precision']}"),
        ("frames", ", ".join(f"{count} {name}" for name, count in counts.items())),
        ("rate", f"{show(figures['rate_hz'])} Hz"),
        ("latency", f"p50 {show(latency['p50'])}, p95 {show(latency['p95'])}, p99 {show(latency['p99'])} ms"),
        ("engine", f"p50 {show(engine['p50'])}, p95 {show(engine['p95'])} ms"),
        ("mIoU", f"{show(figures['miou'], 4)} (pixel accuracy {show(figures['pixel_accuracy'], 4)})"),
        ("uncertainty", f"ECE {show(uncertainty['ece'], 4)}, AUROC {show(uncertainty['auroc'], 4)}"),
        ("consistency", show(figures["temporal_consistency"], 4)),
    ]
    return "\n".join(f"{name:<12} {text}" for name, text in rows)


@contextmanager
def _bars() -> Iterator[Callable[[str, int], Callable[[], object]]]:
    """Offer progress bars on standard error, all closed at the end."""
    opened: list[tqdm[Any]] = []

    def bar(title: str, total: int) -> Callable[[], object]:
        opened.append(tqdm(total=total, desc=f"{title:<16}", unit="frame", file=sys.stderr, mininterval=0.5))
        return opened[-1].update

    try:
        yield bar
    finally:
        for progress in opened:
            progress.close()


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C, so that the child processes are stopped."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
