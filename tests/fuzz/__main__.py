"""`python -m fuzz [KIND ...] [--seed N] [--count N]`: try all kinds, or these; exits with 1 where one went wrong."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from fuzz.runner import KINDS, Kind, Report, run
from lwseg_ros.host.files import write_json

SHOWN = 10  # failures that are told in full
MIB = 1 << 20


def main() -> int:
    """Run the kinds one after the other, each on all cores."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--seed", type=int, help="first seed; default: by the clock")
    parser.add_argument("--count", type=int, help="inputs of each kind; default: " + _counts())
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes; default: %(default)s"
    )
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("out/fuzz"), help="folder of summary.json; default: %(default)s"
    )
    args = parser.parse_args()
    unknown = sorted(set(args.kinds) - set(KINDS))
    if unknown:
        parser.error(f"unknown kinds {unknown}; there are {', '.join(KINDS)}")
    seed = int(time.time()) * 10**6 if args.seed is None else args.seed
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    args.out.mkdir(parents=True, exist_ok=True)
    summary: dict[str, Any] = {}
    for name in args.kinds or KINDS:
        kind, began = KINDS[name], time.monotonic()
        report = run(kind, seed, args.count or kind.count, args.workers)
        summary[name] = _summary(kind, seed, args.workers, time.monotonic() - began, report)
        write_json(args.out / "summary.json", summary)
        _tell(summary[name], name)
    return int(any(figures["failures"] for figures in summary.values()))


def _summary(kind: Kind, seed: int, num_workers: int, wall_s: float, report: Report) -> dict[str, Any]:
    count = report.outcomes.total()
    return {
        "seed": seed,
        "count": count,
        "workers": num_workers,
        "wall_s": round(wall_s, 1),
        "per_second": round(count / wall_s, 1),
        "peak_mib": round(report.peak_bytes / MIB),
        "max_mib_more": kind.max_bytes // MIB,
        "slowest_cpu_s": round(report.slowest[0], 3),
        "max_cpu_s": kind.max_cpu_s,
        "slowest_seed": report.slowest[1],
        "outcomes": dict(report.outcomes.most_common()),
        "failures": {str(failed): reason for failed, reason in sorted(report.failures.items())},
    }


def _tell(figures: dict[str, Any], name: str) -> None:
    outcomes = ", ".join(f"{outcome} {number}" for outcome, number in figures["outcomes"].items())
    print(
        f"{name}: seed {figures['seed']}, {figures['count']} in {figures['wall_s']:.0f} s ({figures['per_second']:.0f}/s), "
        f"peak memory {figures['peak_mib']} MiB, slowest {figures['slowest_cpu_s']:.3f} s of CPU time "
        f"({_command(name, figures['slowest_seed'])}): {outcomes}",
        flush=True,
    )
    failures = list(figures["failures"].items())
    for failed, reason in failures[:SHOWN]:
        print(f"\n{name}: seed {failed}; repeat with {_command(name, failed)}\n{reason}", flush=True)
    if failures[SHOWN:]:
        seeds = ", ".join(failed for failed, _ in failures[SHOWN:])
        print(f"\n{name}: {len(failures) - SHOWN} more, of seeds {seeds}", flush=True)


def _command(name: str, seed: int | str) -> str:
    return f"`PYTHONPATH=tests python -m fuzz {name} --seed {seed} --count 1`"


def _counts() -> str:
    return ", ".join(f"{kind.count} {kind.name}" for kind in KINDS.values())


if __name__ == "__main__":
    sys.exit(main())
