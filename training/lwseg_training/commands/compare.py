"""`lwseg compare`: which recipe generalises."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lwseg_training.config.recipe import load_recipe, resolve_recipe
from lwseg_training.distributed import training_process
from lwseg_training.experiments.cross_validation import (
    HeldOutRun,
    check_starts,
    comparison_json,
    comparison_table,
    run_held_out,
    write_comparison,
)

HELP = (
    "Compare recipes on recordings they never saw: each is trained without a sequence and evaluated on it, sequence by "
    "sequence. Finished runs in the output folder are read, begun ones are gone on with."
)
EXAMPLE = "lwseg compare pilot dwrseg_b_camvid --hold-out 0006R0 0001TP --data data/camvid --out runs/compare"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="YAML files, or names of shipped recipes")
    parser.add_argument(
        "--hold-out",
        "--leave-out",
        dest="held_out",
        nargs="+",
        required=True,
        metavar="SEQUENCE",
        help="sequences, one run each",
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="change values of all the recipes")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data set (default: data)")
    parser.add_argument("--out", type=Path, default=Path("runs/compare"), help="default: runs/compare")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU if there is one"
    )
    parser.add_argument("--json", action="store_true", help="print comparison.json instead of the table")


def run(args: argparse.Namespace) -> int:
    """Train what is not yet trained and print the table; comparison.md and comparison.json grow with every run."""
    for text in args.recipes:
        path = resolve_recipe(text)
        check_starts(path.stem, load_recipe(path, args.set), args.out, Path("runs/compare"))
    runs: list[HeldOutRun] = []
    with training_process(args.device) as process:
        for sequence in args.held_out:
            for text in args.recipes:
                path = resolve_recipe(text)
                if process.is_main:
                    print(f"{path.stem} without {sequence}", file=sys.stderr, flush=True)
                folder = args.out / path.stem / sequence
                recipe = load_recipe(path, args.set)
                runs.append(run_held_out(path.stem, recipe, sequence, args.data, folder, process))
                if process.is_main:
                    write_comparison(runs, args.out)
    if process.is_main:
        print(comparison_json(runs) if args.json else comparison_table(runs), end="")
    return 0
