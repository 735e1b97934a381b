"""`lwseg scales`: what two scales of a trained network give, alone and combined."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lwseg_ros.datasets import figures_note, load_split
from lwseg_ros.errors import RecipeError
from lwseg_ros.host.files import write_atomically, write_json
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.distributed import training_process
from lwseg_training.engine.checkpoint import load_checkpoint, network_of
from lwseg_training.experiments.scales import compare_scales, scale_table
from lwseg_training.networks import DEFAULT_LOW_SCALE, on_two_scales
from lwseg_training.networks.normalization import Normalize

HELP = (
    "Run a trained network on the image and on a reduced copy, and compare each scale alone, their mean, their max and their "
    "multi-scale synergy: mIoU, pixel accuracy, and how well the uncertainty tells errors. Temperature is left at 1."
)
EXAMPLE = "lwseg scales runs/dwrseg_b/last.pt --data data/camvid"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=Path, help="last.pt or best.pt of a run, of a synergy or of any other network"
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data set (default: data)")
    parser.add_argument("--split", help="split to evaluate on (default: what the recipe evaluates on)")
    parser.add_argument(
        "--low-scale",
        type=float,
        metavar="SHARE",
        help=f"the reduced copy's size as a share of the image's (default: a synergy's own, else {DEFAULT_LOW_SCALE})",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="also write scales.md and scales.json there")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU if there is one"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with the IoU of each class")


def run(args: argparse.Namespace) -> int:
    """Compare, print and, where asked, write."""
    state = load_checkpoint(args.checkpoint)
    recipe, trained = network_of(state)
    if recipe.inference.window_hw is not None:
        raise RecipeError(
            "scales are those of whole images, and the recipe's inference.window_hw makes the network run on windows; "
            "resume the run with inference.window_hw=null"
        )
    if recipe.inference.label_step > 1:
        raise RecipeError(
            f"scales are compared pixel by pixel, and the recipe's inference.label_step={recipe.inference.label_step} makes labels "
            "of blocks; resume the run with inference.label_step=1"
        )
    network = on_two_scales(trained, args.low_scale)
    if args.split is None:
        _, split = load_splits(recipe.dataset, args.data)
    else:
        split = load_split(recipe.dataset.name, args.data, args.split)
    note = figures_note(split.split, split.split in recipe.dataset.train_splits)
    if args.output is not None:
        try:
            args.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecipeError(
                f"cannot make the folder {args.output} ({error.strerror}); choose another --output"
            ) from error
    with training_process(args.device) as process:
        normalize, images = Normalize(recipe.normalization, recipe.exposure), LabelledImages(split)
        results = compare_scales(network, normalize, images, process.device, recipe.inference)
    report: dict[str, Any] = {
        "checkpoint": args.checkpoint.name,
        "network": recipe.network.name,
        "steps": state["step"],
        "low_scale": network.low_scale,
        "dataset": split.dataset,
        "split": split.split,
        "images": len(split.pairs),
        "rows": [asdict(result) for result in results],
    }
    text = (
        f"{recipe.network.name}, {state['step']} steps, low scale {network.low_scale:g}; {split.dataset} {split.split}, "
        f"{len(split.pairs)} images{note}\n\n" + scale_table(results)
    )
    if args.output is not None:
        write_atomically(args.output / "scales.md", text.encode())
        write_json(args.output / "scales.json", report)
    print(json.dumps(report, indent=2) if args.json else text, end="\n" if args.json else "")
    return 0
