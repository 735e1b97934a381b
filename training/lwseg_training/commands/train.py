"""`lwseg train`: run a recipe."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lwseg_training.commands.arguments import add_training_arguments
from lwseg_training.config.recipe import RECIPE_FOLDER, load_recipe, resolve_recipe
from lwseg_training.distributed import training_process
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.export.export import check_writable, export_checkpoint

HELP = (
    "Train a network as a recipe says. Leaves checkpoints, log.jsonl, curves.png and summary.json in the output folder."
)
EXAMPLE = (
    "lwseg train dwrseg_b_camvid --data data/camvid --out runs/dwrseg_b optimizer.lr=0.001\n"
    "  lwseg train lite_seg0_photos --data my_photos --out runs/mine --export mine.onnx\n"
    "  torchrun --nproc-per-node 4 -m lwseg_ros.cli train dwrseg_b_camvid --data data/camvid --out runs/dwrseg_b"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_training_arguments(parser, RECIPE_FOLDER)
    parser.add_argument(
        "--export",
        type=Path,
        metavar="MODEL.onnx",
        help="write the model file of last.pt too, as `lwseg export` does without options",
    )


def run(args: argparse.Namespace) -> int:
    """Train, then print where the result lies and how good it is."""
    path = resolve_recipe(args.recipe)
    recipe = load_recipe(path, args.overrides)
    out = args.out or Path("runs") / path.stem
    if args.export is not None:
        check_writable(args.export)  # before hours of training
    with training_process(args.device) as process:
        summary = fit(
            SegmentationTask(recipe, args.data, process), out, resume=args.resume, tensorboard=args.tensorboard
        )
        if process.is_main and args.json:
            print(json.dumps(summary, indent=2))
        elif process.is_main:
            last, best = summary["last"], summary["best"]
            print(
                f"{summary['evaluated_on']} mIoU: last {last['miou']:.4f}, best {best['miou']:.4f} at step {best['step']}; "
                f"checkpoints and curves in {out}"
            )
        if process.is_main and args.export is not None:
            model, calibration, parity = export_checkpoint(
                load_checkpoint(out / "last.pt"), args.data, args.export, device=process.device
            )
            print(
                f"{model.path}: {len(model.data) / 1e6:.1f} MB, temperature {calibration.temperature:.3f}, same labels as PyTorch "
                f"on {parity.equal_labels:.4%} of the pixels of {parity.images} images",
                file=sys.stderr if args.json else sys.stdout,
            )
    return 0
