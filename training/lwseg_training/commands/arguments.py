"""Options that `lwseg train` and `lwseg pretrain` share."""

from __future__ import annotations

import argparse
from pathlib import Path

from lwseg_training.config.recipe import shipped_recipes


def add_training_arguments(parser: argparse.ArgumentParser, recipe_folder: Path) -> None:
    """Declare the options of a run whose shipped recipes lie in ``recipe_folder``."""
    parser.add_argument("recipe", help=f"a YAML file, or a shipped recipe: {', '.join(shipped_recipes(recipe_folder))}")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change single values of the recipe")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data set (default: data)")
    parser.add_argument("--out", type=Path, help="folder of this run (default: runs/NAME of the recipe)")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in the output folder, if there is one"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU if there is one"
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write the log for TensorBoard too, into the output folder's tensorboard/",
    )
    parser.add_argument("--json", action="store_true", help="print summary.json instead of a sentence")
