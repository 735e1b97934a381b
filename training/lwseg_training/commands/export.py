"""`lwseg export`: from a checkpoint to a model file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lwseg_ros.commands.arguments import parse_size_hw
from lwseg_ros.errors import RecipeError
from lwseg_ros.model.model_file import UNCERTAINTY_KINDS
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.export.export import export_checkpoint
from lwseg_training.networks import DEFAULT_LOW_SCALE

HELP = (
    "Calibrate a checkpoint on its validation split and write it as one model file. Refuses to write a file whose output "
    "differs from PyTorch's."
)
EXAMPLE = "lwseg export runs/dwrseg_b/best.pt -o dwrseg_b.onnx --data data/camvid"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="last.pt or best.pt of a run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the model file to write")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data set (default: data)")
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp32", help="of the network (default: fp32)")
    parser.add_argument(
        "--uncertainty",
        choices=UNCERTAINTY_KINDS,
        default="least_confidence",
        help="default: least_confidence; low_scale is for synergies",
    )
    parser.add_argument(
        "--size", type=parse_size_hw, metavar="HxW", help="input size (default: that at which the recipe evaluates)"
    )
    parser.add_argument(
        "--synergy",
        action="store_true",
        help="export the multi-scale synergy of the trained network: run it on the image and on a reduced copy",
    )
    parser.add_argument(
        "--low-scale",
        type=float,
        metavar="SHARE",
        help=f"with --synergy: the reduced copy's size as a share of the image's (default: {DEFAULT_LOW_SCALE})",
    )
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")


def run(args: argparse.Namespace) -> int:
    """Export, then print what was measured."""
    if args.low_scale is not None and not args.synergy:
        raise RecipeError("--low-scale is for --synergy; add that, or leave --low-scale out")
    low_scale = DEFAULT_LOW_SCALE if args.low_scale is None else args.low_scale
    checkpoint = load_checkpoint(args.checkpoint)
    print(f"calibrating and exporting {args.checkpoint} ...", file=sys.stderr, flush=True)
    model, calibration, parity = export_checkpoint(
        checkpoint,
        args.data,
        args.output,
        precision=args.precision,
        uncertainty_kind=args.uncertainty,
        size_hw=args.size,
        low_scale=low_scale if args.synergy else None,
    )
    validation = model.manifest.validation
    if args.json:
        report = {
            "model": str(model.path),
            "sha256": model.sha256,
            "precision": args.precision,
            "calibration": vars(calibration),
            "parity": vars(parity),
            "validation": validation,
        }
        print(json.dumps(report, indent=2))
        return 0
    # The expected calibration error is defined for a confidence, not for the other kinds.
    measured = (("mIoU", "miou"), ("ECE", "ece"), ("AUROC", "auroc"))
    figures = ", ".join(f"{name} {validation[key]:.4f}" for name, key in measured if key in validation)
    print(
        f"temperature {calibration.temperature:.3f} "
        f"(NLL {calibration.nll_before:.4f} -> {calibration.nll_after:.4f} on {validation['split']})\n"
        f"same labels as PyTorch on {parity.equal_labels:.4%} of the pixels of {parity.images} images, "
        f"uncertainty at most {parity.uncertainty_difference}/255 away\n"
        f"validation: {figures}\n"
        f"{model.path}: {len(model.data) / 1e6:.1f} MB, {args.precision}, SHA-256 {model.sha256[:16]}"
    )
    return 0
