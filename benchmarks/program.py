"""The program around a measurement: its options, its table or JSON, its file, its exit code."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.documented import check_place, write_table
from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.host.files import write_json


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """Start a parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--docs", type=Path, metavar="PAGE.md", help="put the table into a page that has a place for it, too"
    )
    return parser


def run(
    benchmark: str,
    args: argparse.Namespace,
    measure: Callable[[], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
) -> int:
    """Measure, print a table (or JSON), and write `BENCHMARK.json`; return the exit code.

    With --docs the table goes into a page as well, under the date and the machine; one that is no Markdown as it is printed.
    """
    try:
        if args.docs is not None:
            check_place(args.docs, benchmark)
        figures = measure()
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / f"{benchmark}.json", figures)
        if args.docs is not None:
            text = table(figures)
            body = text if "\n| ---" in text else f"```text\n{text}\n```"
            write_table(args.docs, benchmark, f"{conditions()}\n\n{body}")
    except LwsegError as error:
        print(f"{benchmark}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(figures, indent=2) if args.json else table(figures))
    return 0


def conditions() -> str:
    """Say when and where it was measured, in one line."""
    host = machine()
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return f"{today}, {host['processor']}, {host['cores']} cores, Python {host['python']}:"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Put rows of texts under columns; all but the first are aligned to the right."""
    dashes = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, dashes, *rows))


def comparison(name: str, value: float, wanted: str, met: bool, digits: int = 3) -> dict[str, Any]:
    """Return a row of the summary."""
    return {"name": name, "value": round(value, digits), "wanted": wanted, "met": met}


def round_ratio(slower: Sequence[Sequence[float]], faster: Sequence[Sequence[float]]) -> float:
    """Return how many times as long the first takes: the median over the rounds of the ratio of a round's medians."""
    return median(median(a) / median(b) for a, b in zip(slower, faster, strict=True))
