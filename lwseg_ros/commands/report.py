"""`lwseg report`: finished runs judged anew, or side by side."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lwseg_ros.commands.replay_common import (
    add_verdict_arguments,
    check_junit,
    comparison_in_words,
    print_verdict,
    summary,
)
from lwseg_ros.errors import LwsegError, UsageError
from lwseg_ros.host.files import write_atomically
from lwseg_ros.host.terminal import say
from lwseg_ros.replay.comparison import compare
from lwseg_ros.replay.junit import junit_xml
from lwseg_ros.replay.report.page import render_comparison
from lwseg_ros.replay.requirements import Outcome, Requirement, check, judge, parse, verdict
from lwseg_ros.replay.run_folder import Run, read_run

HELP = "Judge a finished run by other requirements, or compare runs with the first of them."
EXAMPLE = "lwseg report out/last_build out/this_build --require 'against.differences.miou.low>=-0.01' -o out/comparison"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder that `lwseg replay -o` wrote")
    add_verdict_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder for comparison.html")


def run(args: argparse.Namespace) -> int:
    """Print the figures of one run, or how the others differ from the first; judge that one, or those."""
    check_junit(args)
    runs = [read_run(folder) for folder in args.runs]
    base, others = runs[0], runs[1:]
    for run in runs:
        for warning in run.figures.get("warnings", []):
            say(f"warning: {run.name}: {warning}", file=sys.stderr)
    if args.output and not others:
        raise UsageError("-o is for a comparison; name at least two runs")
    check(args.require, base.class_names, is_compared=bool(others))
    if not others:
        return _judge_one(base, args)
    figures = [each.figures | {"against": compare(each, base)} for each in others]
    outcomes = [judge(args.require, each) for each in figures]
    if args.output:
        _write(
            args.output / "comparison.html", render_comparison(base, others, figures, outcomes).encode(errors="replace")
        )
    if args.json:
        judged = [
            {"run": run.name, **_judged(each), "against": figures["against"]}
            for run, figures, each in zip(others, figures, outcomes, strict=True)
        ]
        say(json.dumps({"base": base.name, "runs": judged}, indent=2))
    else:
        for run, each, said in zip(others, figures, outcomes, strict=True):
            say(f"{run.name} against {comparison_in_words(each['against'])}")
            if said:
                say(f"{run.name}: requirements {verdict(said)}")
        if args.output:
            say(f"comparison: {args.output / 'comparison.html'}")
    everything = [outcome for each in outcomes for outcome in each]
    return _finish(everything, args, "comparison with " + base.name, ", ".join(run.figures["model"] for run in others))


def _judge_one(run: Run, args: argparse.Namespace) -> int:
    outcomes = judge(args.require or _own_requirements(run), run.figures)
    figures = run.figures | (_judged(outcomes) if outcomes else {})
    say(json.dumps(figures, indent=2) if args.json else summary(figures))
    return _finish(outcomes, args, "replay of " + ", ".join(bag["path"] for bag in figures["bags"]), figures["model"])


def _own_requirements(run: Run) -> list[Requirement]:
    """Read what was required of the run when it was replayed, so that its verdict, which is printed, is the exit code too."""
    return [parse(each["requirement"]) for each in run.figures["requirements"]]


def _judged(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {"verdict": verdict(outcomes), "requirements": [outcome.as_json() for outcome in outcomes]}


def _finish(outcomes: Sequence[Outcome], args: argparse.Namespace, suite: str, model: str) -> int:
    if args.junit:
        _write(args.junit, junit_xml(outcomes, suite, model))
    return print_verdict(outcomes)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise LwsegError(f"cannot write {path}: {error.strerror}; choose another place") from error
