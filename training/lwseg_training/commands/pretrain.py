"""`lwseg pretrain`: train a backbone by classifying whole images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lwseg_training.commands.arguments import add_training_arguments
from lwseg_training.config.pretraining_recipe import PRETRAINING_RECIPE_FOLDER, load_pretraining_recipe
from lwseg_training.config.recipe import resolve_recipe
from lwseg_training.distributed import training_process
from lwseg_training.engine.classification import ClassificationTask
from lwseg_training.engine.fit import fit

HELP = (
    "Train a network's backbone to classify whole images as a recipe says. Leaves checkpoints, log.jsonl, curves.png and "
    "summary.json in the output folder; a recipe of `lwseg train` starts from a checkpoint by network.warm_start."
)
EXAMPLE = (
    "lwseg pretrain lemore_imagenet1k --data data/imagenet --out runs/lemore_imagenet1k\n"
    "  torchrun --nproc-per-node 4 -m lwseg_ros.cli pretrain lemore_imagenet1k --data data/imagenet"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_training_arguments(parser, PRETRAINING_RECIPE_FOLDER)


def run(args: argparse.Namespace) -> int:
    """Train, then print where the result lies and how good it is."""
    path = resolve_recipe(args.recipe, PRETRAINING_RECIPE_FOLDER)
    recipe = load_pretraining_recipe(path, args.overrides)
    out = args.out or Path("runs") / path.stem
    with training_process(args.device) as process:
        summary = fit(
            ClassificationTask(recipe, args.data, process), out, resume=args.resume, tensorboard=args.tensorboard
        )
        if process.is_main and args.json:
            print(json.dumps(summary, indent=2))
        elif process.is_main:
            last, best = summary["last"], summary["best"]
            print(
                f"{summary['evaluated_on']} top-1: last {last['top1']:.4f} (top-5 {last['top5']:.4f}), "
                f"best {best['top1']:.4f} at step {best['step']}; checkpoints and curves in {out}"
            )
    return 0
