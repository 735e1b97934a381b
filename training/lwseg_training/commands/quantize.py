"""`lwseg quantize`: a model file in int8 or fp16, from the file alone."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lwseg_ros.commands.arguments import natural_int, positive_int
from lwseg_ros.datasets import DATASETS, load_split
from lwseg_ros.errors import UsageError
from lwseg_ros.model.model_file import load_model, resolve_model
from lwseg_ros.model.precisions import CONVERTED, conversion_path
from lwseg_training.conversion.convert import Calibration, convert

HELP = (
    "Convert a model file to int8 or fp16, without its checkpoint. Refuses to write a file whose labels or mIoU are too far from "
    "its own in any runtime of this machine."
)
EXAMPLE = "lwseg quantize dwrseg_b.onnx --data data/camvid -o dwrseg_b.int8.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="an fp32 model file, or a shipped model")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: MODEL.int8.onnx, where the node looks for it"
    )
    parser.add_argument("--precision", choices=CONVERTED, default="int8", help="default: %(default)s")
    parser.add_argument("--dataset", choices=sorted(DATASETS), help="default: the one that the model file names")
    parser.add_argument("--split", default="val", help="the split to compare on (default: %(default)s)")
    parser.add_argument("--calibration-split", default="train", help="the split to calibrate on (default: %(default)s)")
    parser.add_argument(
        "--images", type=positive_int, default=100, metavar="N", help="images to calibrate on (default: %(default)s)"
    )
    parser.add_argument("--seed", type=natural_int, default=0, help="of the images drawn (default: %(default)s)")
    parser.add_argument(
        "--threads", type=natural_int, default=0, metavar="N", help="of the runtimes that compare; 0: they decide"
    )
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")


def run(args: argparse.Namespace) -> int:
    """Convert, then print what was measured."""
    parent = load_model(resolve_model(args.model))
    dataset = args.dataset or parent.manifest.dataset
    if dataset not in DATASETS:
        raise UsageError(
            f"the model was trained on {dataset!r}, which is no data set known here; name one with --dataset"
        )
    validation = load_split(dataset, args.data, args.split)
    validation.check_classes(parent.manifest.classes)
    calibration = None
    if args.precision == "int8":
        calibration = Calibration(load_split(dataset, args.data, args.calibration_split), args.images, args.seed)
    path = args.output or conversion_path(parent.path, args.precision)
    if not path.parent.is_dir() or path.is_dir() or path.resolve() == parent.path.resolve():
        raise UsageError(f"--output is {path}; it has to be a file in a folder that exists, and another than MODEL")
    model, comparison = convert(parent, path, validation, calibration, args.threads)
    if args.json:
        report = {
            "model": str(model.path),
            "sha256": model.sha256,
            "bytes": len(model.data),
            "precision": args.precision,
            "parent": model.manifest.parent,
            "validation": model.manifest.validation,
        }
        print(json.dumps(report, indent=2))
        return 0
    for name, entry in comparison.runtimes.items():
        print(
            f"{name} {entry.library_version} ({entry.precision}; before {entry.parent_precision}): mIoU {entry.miou:.4f} on "
            f"{validation.split}, {entry.miou_change:+.4f}; same labels on {entry.equal_labels:.4%} of the pixels"
        )
    if layers := model.manifest.parent.get("float_layers"):
        print(f"left in floating point: {', '.join(layers)}")
    print(
        f"{model.path}: {len(model.data) / 1e6:.1f} MB ({len(parent.data) / 1e6:.1f} MB before), {args.precision}, "
        f"SHA-256 {model.sha256[:16]}"
    )
    place = conversion_path(parent.path, args.precision)
    if model.path.resolve() != place.resolve():
        print(f"the node takes it in the place of {parent.path.name} where it lies beside that as {place.name}")
    return 0
