"""`lwseg export`: from a checkpoint to a model file."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from lwseg_ros.commands.arguments import parse_size_hw
from lwseg_ros.datasets import TRAINED_ON
from lwseg_ros.errors import RecipeError
from lwseg_ros.evaluation.acceptance import accepted_in_words
from lwseg_ros.model.model_file import UNCERTAINTY_KINDS, Manifest
from lwseg_training.distributed import training_process
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.experiments.cross_fitting import cross_fit
from lwseg_training.export.acceptance import CONFIDENCE, LEVEL
from lwseg_training.export.export import export_checkpoint
from lwseg_training.networks import DEFAULT_LOW_SCALE

HELP = (
    "Calibrate a checkpoint, on its validation split or on what its held-out runs had not seen, and write it as one model file. "
    "Refuses to write a file whose output differs from PyTorch's."
)
EXAMPLE = (
    "lwseg export runs/dwrseg_b/last.pt -o dwrseg_b.onnx --data data/camvid\n"
    "  lwseg export runs/dwrseg_b/last.pt -o dwrseg_b.onnx --data data/camvid --cross-fit runs/compare/dwrseg_b/*"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="last.pt or best.pt of a run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the model file to write")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data set (default: data)")
    parser.add_argument(
        "--cross-fit",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="folders of finished runs of the same recipe without one sequence each, as `lwseg compare` leaves them: the "
        "temperature is fitted to what each had not seen, and the manifest has their figures there",
    )
    parser.add_argument(
        "--accept-level",
        type=parse_share,
        default=LEVEL,
        metavar="RATE",
        help="with --cross-fit: error rate that the accepted pixels of a class are to stay under (default: %(default)s)",
    )
    parser.add_argument(
        "--accept-confidence",
        type=parse_share,
        default=CONFIDENCE,
        metavar="SHARE",
        help="with --cross-fit: the confidence with which they do (default: %(default)s)",
    )
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
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="of PyTorch; default: a GPU if there is one"
    )
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")


def run(args: argparse.Namespace) -> int:
    """Export, then print what was measured."""
    if args.low_scale is not None and not args.synergy:
        raise RecipeError("--low-scale is for --synergy; add that, or leave --low-scale out")
    low_scale = None
    if args.synergy:
        low_scale = DEFAULT_LOW_SCALE if args.low_scale is None else args.low_scale
    checkpoint = load_checkpoint(args.checkpoint)
    options = {"uncertainty_kind": args.uncertainty, "size_hw": args.size, "low_scale": low_scale}
    with training_process(args.device) as process:
        options["device"] = process.device
        fitted = None
        if args.cross_fit:
            accept = {"level": args.accept_level, "confidence": args.accept_confidence}
            fitted = cross_fit(checkpoint, args.cross_fit, args.data, **accept, **options)
        model, calibration, parity = export_checkpoint(
            checkpoint,
            args.data,
            args.output,
            precision=args.precision,
            cross_fit=fitted,
            **options,
        )
    manifest = model.manifest
    if warning := calibration_warning(manifest):
        print(warning, file=sys.stderr)
    if args.json:
        report = {
            "model": str(model.path),
            "sha256": model.sha256,
            "precision": args.precision,
            "calibration": vars(calibration),
            "parity": vars(parity),
            "validation": manifest.validation,
            "held_out": manifest.held_out,
            "acceptance": manifest.acceptance,
        }
        print(json.dumps(report, indent=2))
        return 0
    sequences: dict[str, Any] = manifest.held_out.get("sequences", {})
    fitted_on = f"held out {', '.join(sequences)}" if sequences else manifest.validation["split"]
    print(
        f"temperature {calibration.temperature:.3f} "
        f"(NLL {calibration.nll_before:.4f} -> {calibration.nll_after:.4f} on {fitted_on})\n"
        f"same labels as PyTorch on {parity.equal_labels:.4%} of the pixels of {parity.images} images, "
        f"uncertainty at most {parity.uncertainty_difference}/255 away\n"
        f"validation on {manifest.validation['split']}: {_in_words(manifest.validation)}"
    )
    for sequence, figures in sequences.items():
        print(f"held out {sequence}, by the run that had not seen it: {_in_words(figures)}")
    if sequences:
        print(f"held out, mean: {_in_words(manifest.held_out['mean'])}")
        print(_acceptance_in_words(manifest))
    for sequence, figures in manifest.acceptance.get("crossed", {}).items():
        print(f"fitted on the other sequences, on {sequence}: {accepted_in_words({**manifest.acceptance, **figures})}")
    print(f"{model.path}: {len(model.data) / 1e6:.1f} MB, {args.precision}, SHA-256 {model.sha256[:16]}")
    return 0


def calibration_warning(manifest: Manifest) -> str:
    """Warn of a temperature that was fitted to images which the network was trained on; empty where it was not."""
    split = str(manifest.validation.get("split"))
    if manifest.held_out or not split.endswith(TRAINED_ON):
        return ""
    return (
        f"warning: the temperature was fitted on {split}, whose images the network knows, so the uncertainty will be too low on "
        "others; give finished runs without a sequence each, as `lwseg compare` leaves them, by --cross-fit"
    )


def parse_share(text: str) -> float:
    """Read a number between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1, such as 0.1")
    return value


def _acceptance_in_words(manifest: Manifest) -> str:
    """Say which pixels are accepted, and of which classes none."""
    acceptance = manifest.acceptance
    by_name = {info.name: acceptance["thresholds"][info.id] for info in manifest.classes}
    chosen = ", ".join(f"{name} {threshold}" for name, threshold in by_name.items() if threshold is not None)
    never = ", ".join(name for name, threshold in by_name.items() if threshold is None)
    return (
        f"accepted are uncertainties up to: {chosen or 'none'}; of them at most {acceptance['level']:.0%} wrong, with a "
        f"confidence of {acceptance['confidence']:.0%}, fitted on {sum(acceptance['blocks'].values())} blocks of images"
        + (f"; never accepted: {never}" if never else "")
    )


def _in_words(figures: dict[str, Any]) -> str:
    """Write the figures that there are: the expected calibration error is defined for a confidence, not for other kinds."""
    measured = (("mIoU", "miou"), ("ECE", "ece"), ("AUROC", "auroc"))
    return ", ".join(f"{name} {figures[key]:.4f}" for name, key in measured if key in figures)
