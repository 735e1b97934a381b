"""Run every benchmark, each in a process of its own, and sum up: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lwseg_ros.evaluation.machine import library_versions, machine
from lwseg_ros.host.files import write_json
from lwseg_ros.model.model_file import DEFAULT_MODEL

TAKES_A_MODEL = (
    "inference",
    "precisions",
    "live_latency",
    "peer",
    "frame_profile",
    "cameras",
    "camera_shares",
    "threads",
    "arrival",
    "label_bandwidth",
    "painting_live",
)
BENCHMARKS = (*TAKES_A_MODEL, "large_camera", "painting", "training_loader")


def run_benchmark(name: str, model: str, out: Path) -> dict[str, Any] | None:
    """Run one benchmark, which prints its own table; return its figures, or None where it failed."""
    result = out / f"{name}.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"benchmarks.{name}", "--out", str(out)]
    if name in TAKES_A_MODEL:
        command += ["--model", model]
    if subprocess.run(command, check=False).returncode != 0 or not result.is_file():
        return None
    figures: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return figures


def table(summary: dict[str, Any]) -> str:
    """Put the summary into a Markdown table under a line that says where and when."""
    host = summary["machine"]
    lines = [
        f"{summary['date']}, {host['processor']}, {host['cores']} cores, {host['system']}, Python {host['python']}",
        ", ".join(f"{name} {version}" for name, version in summary["libraries"].items()),
        "",
        "| benchmark | figure | value | wanted | |",
        "| --- | --- | ---: | --- | --- |",
    ]
    for row in summary["comparisons"]:
        verdict = "met" if row["met"] else "missed"
        lines.append(f"| {row['benchmark']} | {row['name']} | {row['value']} | {row['wanted']} | {verdict} |")
    lines.extend(f"| {name} | failed, see above | | | |" for name in summary["failed"])
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run all, print the summary and write `summary.json`; return 1 where a benchmark could not be run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), metavar="DIR", help="default: %(default)s")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in BENCHMARKS:
        results[name] = run_benchmark(name, args.model, args.out)
        print(flush=True)
    summary = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "libraries": library_versions(),
        "comparisons": [
            {"benchmark": name, **row}
            for name, figures in results.items()
            if figures is not None
            for row in figures["comparisons"]
        ],
        "failed": [name for name, figures in results.items() if figures is None],
        "results": results,
    }
    write_json(args.out / "summary.json", summary)
    print(table(summary))
    return 1 if summary["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
