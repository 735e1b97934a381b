"""`lwseg soak`: the node under load for long, with figures and a picture."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lwseg_ros.commands.arguments import node_model, positive_float
from lwseg_ros.commands.replay_common import add_common_arguments, ends_in_order
from lwseg_ros.host.terminal import say
from lwseg_ros.replay.live.soak import SoakOptions, run_soak
from lwseg_ros.replay.report.soak import write_soak
from lwseg_ros.replay.soak_results import Sample, SoakResult

HELP = "Keep the live node under load for long; write what it uses and answers to soak.json and soak.svg."
EXAMPLE = "lwseg soak --minutes 30 --rate 15 -o out/soak"
BAR = "{desc} {percentage:3.0f}% |{bar}| {n_fmt} of {total_fmt} s{postfix}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--minutes", type=positive_float, default=30.0, metavar="N", help="default: %(default)g")
    parser.add_argument(
        "--rate", type=positive_float, default=15.0, metavar="HZ", help="images a second (default: %(default)g)"
    )
    add_common_arguments(parser)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("out/soak"), metavar="DIR", help="default: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Soak, write both files, and print the figures; 1 when it was interrupted, a process died or counts do not add up."""
    path, parameters = node_model(args.model)
    options = SoakOptions(path, args.backend, args.minutes, args.rate, parameters=parameters)
    args.output.mkdir(parents=True, exist_ok=True)  # half an hour later would be late to fail
    say("starting the node and its driver ...", file=sys.stderr)
    bar: tqdm[Any] = tqdm(total=max(1, round(args.minutes * 60)), desc="soaking", file=sys.stderr, bar_format=BAR)

    def show(sample: Sample) -> None:
        bar.set_postfix_str(f"{sample.labels} labels, {sample.rss_mb:.1f} MB", refresh=False)
        bar.update(max(0, round(sample.time_s) - bar.n))

    with bar, ends_in_order() as interrupted:
        result = run_soak(options, interrupted=interrupted, on_sample=show)
    picture = write_soak(result, args.output)
    for warning in result.warnings:
        say(f"warning: {warning}", file=sys.stderr)
    say(json.dumps(result.figures(), indent=2) if args.json else summary(result))
    say(f"picture: {picture}", file=sys.stderr if args.json else sys.stdout)
    for fault in result.faults:
        say(f"lwseg soak: {fault}", file=sys.stderr)
    if result.interrupted:
        say("lwseg soak: interrupted; the figures are partial", file=sys.stderr)
    return 1 if result.faults or result.interrupted else 0


def summary(result: SoakResult) -> str:
    """Put the key figures into one line."""
    figures = result.figures()
    frames, latency, memory = figures["frames"], figures["latency_ms"], figures["memory_mb"]

    def show(value: float | None, digits: int = 1) -> str:
        return "?" if value is None else f"{value:.{digits}f}"

    def since_warm_up(name: str, digits: int = 0) -> str:
        return f"{show(figures[name]['after_warm_up'], digits)} to {show(figures[name]['end'], digits)}"

    slope = memory["slope_per_hour"]
    dropped = ", ".join(f"{count} {cause}" for cause, count in frames["dropped_by_cause"].items() if count)
    return (
        f"{'partial: ' if figures['partial'] else ''}{show(figures['minutes']['done'])} minutes, "
        f"{frames['published']} published = {frames['segmented']} segmented + {frames['dropped']} dropped"
        f"{f' ({dropped})' if dropped else ''} + {frames['lost_in_transport']} lost in transport "
        f"({frames['lost_reported']} reported); "
        f"{show(figures['rate_hz']['segmented'])} Hz; "
        f"latency p50 {show(latency['p50'])}, p99 {show(latency['p99'])}, max {show(latency['max'])} ms; "
        f"after the first {memory['warm_up_s']:.0f} s memory {since_warm_up('memory_mb', 1)} MB "
        f"({'slope not measured' if slope is None else f'{slope:+.2f} MB/hour'}), threads {since_warm_up('threads')}, "
        f"handles {since_warm_up('handles')}"
    )
