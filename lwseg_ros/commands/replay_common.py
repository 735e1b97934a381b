"""What `lwseg replay` and `lwseg demo` share: options, the live replay with progress bars, report and summary."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lwseg_ros.backends import BACKENDS
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.live.recording import spool_bytes
from lwseg_ros.replay.live.run import LiveOptions, replay_live
from lwseg_ros.replay.report.report import write_report
from lwseg_ros.replay.results import ReplayResult
from lwseg_ros.replay.sample import SAMPLE_BAG, SAMPLE_NOTE

NUM_KEPT = 6
TOLD_SPOOL_BYTES = 10**8  # what a disk has anyway needs no mention


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of both commands."""
    parser.add_argument("--model", default=DEFAULT_MODEL, help="model file or shipped model (default: %(default)s)")
    parser.add_argument("--backend", default="auto", choices=["auto", *BACKENDS], help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run_live(
    bag: Path,
    options: LiveOptions,
    topic: str | None = None,
    label_topic: str | None = None,
    *,
    record: Path | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> ReplayResult:
    """Replay through the node as `replay_live` does, with progress bars."""
    # checked here too, so that a wrong topic costs no start of the node
    with Bag(bag) as opened:
        truth = opened.label_topic(label_topic)
        image = opened.image_topic(topic, exclude=truth.name if truth else None)
        total, num_bytes = image.count, spool_bytes(opened, image)
    room = (
        f"; its answers take about {num_bytes / 1e9:.1f} GB of disk meanwhile" if num_bytes >= TOLD_SPOOL_BYTES else ""
    )
    print(f"starting the node, the player and the collector{room} ...", file=sys.stderr)
    with progress_bars() as bar:
        advance = bar("labels received", total)

        def on_event(kind: str, count: int) -> None:
            if kind == "label":
                advance()

        return replay_live(
            bag,
            options,
            topic=topic,
            label_topic=label_topic,
            num_kept=NUM_KEPT,
            record=record,
            on_event=on_event,
            progress=lambda total: bar("evaluating", total),
            interrupted=interrupted,
        )


def finish(result: ReplayResult, folder: Path, *, as_json: bool) -> int:
    """Write the report and print the figures; return the exit code, 1 for a partial result."""
    result = noted(result)
    page = write_report(result, folder)
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    figures = result.figures()
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        print(summary(figures))
        if result.note:
            print(result.note)
    print(f"report: {page}", file=sys.stderr if as_json else sys.stdout)
    return 1 if result.partial else 0


def noted(result: ReplayResult) -> ReplayResult:
    """Add what has to be known of the figures of the shipped sample bag."""
    return replace(result, note=SAMPLE_NOTE) if Path(result.source).resolve() == SAMPLE_BAG.resolve() else result


def summary(figures: dict[str, Any]) -> str:
    """Put the key figures into a few lines."""

    def show(value: float | None, digits: int = 1) -> str:
        return "not measured" if value is None else f"{value:.{digits}f}"

    counts, latency, engine = figures["frames"], figures["latency_ms"], figures["engine_ms"]
    uncertainty = figures["uncertainty"]
    rows = [
        ("model", f"{figures['model']} on {figures['backend']}, {figures['precision']}"),
        ("frames", ", ".join(f"{count} {name}" for name, count in counts.items())),
        ("rate", f"{show(figures['rate_hz'])} Hz, the engine alone {show(figures['engine_hz'])} Hz"),
        ("latency", f"p50 {show(latency['p50'])}, p95 {show(latency['p95'])}, p99 {show(latency['p99'])} ms"),
        ("engine", f"p50 {show(engine['p50'])}, p95 {show(engine['p95'])} ms"),
        ("mIoU", f"{show(figures['miou'], 4)} (pixel accuracy {show(figures['pixel_accuracy'], 4)})"),
        ("uncertainty", f"ECE {show(uncertainty['ece'], 4)}, AUROC {show(uncertainty['auroc'], 4)}"),
        ("consistency", show(figures["temporal_consistency"], 4)),
    ]
    return "\n".join(f"{name:<12} {text}" for name, text in rows)


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
