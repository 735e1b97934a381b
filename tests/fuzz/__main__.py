"""`python -m fuzz [KIND ...] [--seed N] [--count N]`: try all kinds, or these; exits with 1 where one went wrong."""

from __future__ import annotations

import argparse
import os
import sys
import time

from fuzz.runner import KINDS, run

SHOWN = 10  # failures that are told in full


def main() -> int:
    """Run the kinds one after the other, each on all cores."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--seed", type=int, help="first seed; default: by the clock")
    parser.add_argument("--count", type=int, help="inputs of each kind; default: " + _counts())
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="default: %(default)s")
    args = parser.parse_args()
    unknown = sorted(set(args.kinds) - set(KINDS))
    if unknown:
        parser.error(f"unknown kinds {unknown}; there are {', '.join(KINDS)}")
    seed = int(time.time()) * 10**6 if args.seed is None else args.seed
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    num_failures = 0
    for name in args.kinds or KINDS:
        kind, began = KINDS[name], time.monotonic()
        report = run(kind, seed, args.count or kind.count, args.workers)
        outcomes = ", ".join(f"{outcome} {number}" for outcome, number in report.outcomes.most_common())
        print(f"{name}: seed {seed}, {time.monotonic() - began:.0f} s: {outcomes}", flush=True)
        failures = sorted(report.failures.items())
        for failed, reason in failures[:SHOWN]:
            print(f"\n{name}: seed {failed}; repeat with `python -m fuzz {name} --seed {failed} --count 1`\n{reason}")
        if failures[SHOWN:]:
            print(
                f"\n{name}: {len(failures) - SHOWN} more, of seeds {', '.join(str(failed) for failed, _ in failures[SHOWN:])}"
            )
        num_failures += len(report.failures)
    return 1 if num_failures else 0


def _counts() -> str:
    return ", ".join(f"{kind.count} {kind.name}" for kind in KINDS.values())


if __name__ == "__main__":
    sys.exit(main())
