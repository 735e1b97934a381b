"""`lwseg adopt`: from an ONNX file that others exported to a model file."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from lwseg_ros.commands.arguments import parse_size_hw
from lwseg_ros.datasets import DATASETS, load_split
from lwseg_ros.datasets.folder import load_classes
from lwseg_ros.errors import UsageError
from lwseg_ros.model.model_file import UNCERTAINTY_KINDS
from lwseg_training.adoption.adopt import Adopted, Wish, adopt
from lwseg_training.adoption.foreign_graph import VALUES
from lwseg_training.networks.normalization import MEAN_RGB, STD_RGB

HELP = (
    "Make a model file of a segmentation network that others exported to ONNX: images float [N, 3, H, W] in, logits, probabilities "
    "or labels out. The network is given (pixel * LARGEST / 255 - MEAN) / STD, channel by channel in its own order, and has to "
    "give the same labels in the model file as in ONNX Runtime by itself. With --data the temperature is fitted and the figures "
    "are measured; without, the manifest says that nothing is calibrated."
)
EXAMPLE = (
    "lwseg adopt ddrnet.onnx --classes dataset.yaml --size 512x1024 -o ddrnet_model.onnx\n"
    "  lwseg adopt net.onnx --classes my/dataset.yaml --data my --split val --order bgr --largest 255 "
    "--mean 103.53,116.28,123.675 --std 57.375,57.12,58.395 -o model.onnx"
)
TRIPLE = "A,B,C"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("foreign", type=Path, metavar="FOREIGN.onnx", help="the ONNX file")
    parser.add_argument("-o", dest="model", type=Path, required=True, metavar="FILE", help="the model file to write")
    parser.add_argument(
        "--classes",
        type=Path,
        required=True,
        metavar="FILE",
        help="YAML with the classes' names, and colours if you like, in the order of the network's channels, as in a dataset.yaml",
    )
    parser.add_argument(
        "--mean",
        type=parse_triple,
        metavar=TRIPLE,
        help="taken off each channel, in the network's channel order and in units of --largest (default: ImageNet's)",
    )
    parser.add_argument("--std", type=parse_triple, metavar=TRIPLE, help="divides each channel (default: ImageNet's)")
    parser.add_argument(
        "--largest",
        type=int,
        choices=(1, 255),
        default=1,
        help="what the brightest pixel is before mean and std: 1 for images scaled to 0..1, 255 for others (default: %(default)s)",
    )
    parser.add_argument(
        "--order", choices=("rgb", "bgr"), default="rgb", help="of the network's channels (default: rgb)"
    )
    parser.add_argument(
        "--size",
        type=parse_size_hw,
        metavar="HxW",
        help="input size, where the file does not fix it; images are resized to it",
    )
    parser.add_argument("--input", metavar="NAME", help="the input that takes images, where several do")
    parser.add_argument("--output", metavar="NAME", help="the output to use, where there are several")
    parser.add_argument("--values", choices=VALUES, help="what the output holds (default: told by its type and values)")
    parser.add_argument(
        "--uncertainty",
        choices=[kind for kind in UNCERTAINTY_KINDS if kind != "low_scale"],
        help="kind of the uncertainty (default: least_confidence; of labels there is none)",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="a data set of the same classes, to calibrate and evaluate on"
    )
    parser.add_argument("--dataset", choices=sorted(DATASETS), help="with --data: which (default: folder)")
    parser.add_argument("--split", help="with --data: its split (default: val)")
    parser.add_argument("--json", action="store_true", help="print what was found and measured as JSON")


def run(args: argparse.Namespace) -> int:
    """Adopt, then print what was found and measured."""
    if args.data is None and (args.dataset or args.split):
        raise UsageError("--dataset and --split are for --data; add that, or leave them out")
    wish = Wish(
        *_normalisation(args),
        channel_order=args.order,
        largest=args.largest,
        size_hw=args.size,
        input=args.input,
        output=args.output,
        values=args.values,
        uncertainty_kind=args.uncertainty,
    )
    split = None if args.data is None else load_split(args.dataset or "folder", args.data, args.split or "val")
    adopted = adopt(args.foreign, args.model, load_classes(args.classes), wish, split)
    print(json.dumps(_report(adopted), indent=2) if args.json else _in_words(adopted, wish, args))
    return 0


def parse_triple(text: str) -> tuple[float, float, float]:
    """Read three numbers such as ``0.485,0.456,0.406``; raises argparse.ArgumentTypeError that shows the form."""
    try:
        first, second, third = map(float, text.split(","))
        if not all(map(math.isfinite, (first, second, third))):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers such as 0.485,0.456,0.406") from None
    return first, second, third


def _normalisation(args: argparse.Namespace) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and std in the network's channel order; raises UsageError where their units are not those of --largest."""
    mean, std = (_imagenet(values, args) for values in (MEAN_RGB, STD_RGB))
    mean, std = args.mean or mean, args.std or std
    if min(std) <= 0:
        raise UsageError(f"--std {_listed(std)} divides, and has to be above 0")
    if args.largest == 1 and max(*map(abs, mean), *std) > 2:
        raise UsageError(
            f"--mean {_listed(mean)} and --std {_listed(std)} are not of pixels from 0 to 1; add --largest 255, or divide both "
            "by 255"
        )
    if args.largest == 255 and any(0 < value < 1 for value in (*map(abs, mean), *std)):
        raise UsageError(
            f"--mean {_listed(mean)} and --std {_listed(std)} are not of pixels from 0 to 255; leave --largest out, or "
            "multiply both by 255"
        )
    return mean, std


def _imagenet(values_rgb: tuple[float, float, float], args: argparse.Namespace) -> tuple[float, float, float]:
    first, second, third = (value * args.largest for value in values_rgb)
    return (first, second, third) if args.order == "rgb" else (third, second, first)


def _listed(values: tuple[float, float, float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def _report(adopted: Adopted) -> dict[str, Any]:
    manifest, output = adopted.model.manifest, adopted.output
    return {
        "model": str(adopted.model.path),
        "sha256": adopted.model.sha256,
        "precision": manifest.precision,
        "input": {"name": adopted.input.name, "shape": list(adopted.input.shape)},
        "output": {"name": output.name, "shape": list(output.shape), "values": output.values},
        "uncertainty_kind": manifest.uncertainty_kind,
        "calibration": adopted.calibration and vars(adopted.calibration),
        "parity": {"equal_labels": adopted.parity.equal_labels, "images": adopted.parity.images},
        "validation": manifest.validation,
    }


def _in_words(adopted: Adopted, wish: Wish, args: argparse.Namespace) -> str:
    manifest, given, output, fitted = adopted.model.manifest, adopted.input, adopted.output, adopted.calibration
    default = "" if args.mean and args.std else ", ImageNet's where not given"
    lines = [
        f"input {given.name!r} {list(given.shape)}: ({wish.channel_order.upper()} pixel * {wish.largest} / 255 - mean "
        f"{_listed(wish.mean)}) / std {_listed(wish.std)}{default}",
        f"output {output.name!r} {list(output.shape)}: {output.values} of {manifest.num_classes} classes"
        + ("" if output.size_hw == given.size_hw else f", brought to {given.size_hw[0]} x {given.size_hw[1]}"),
    ]
    if output.values == "labels":
        lines.append("no uncertainty: labels tell none, and 255 is published everywhere")
    elif fitted is None:
        lines.append("temperature 1, not calibrated: --data DIR fits it on labelled images of the same classes")
    else:
        lines.append(f"temperature {fitted.temperature:.3f} (NLL {fitted.nll_before:.4f} -> {fitted.nll_after:.4f})")
    if manifest.validation:
        figures = ", ".join(f"{key} {value}" for key, value in manifest.validation.items() if isinstance(value, float))
        lines.append(f"on {manifest.validation['split']}, {manifest.validation['images']} images: {figures}")
    lines += [
        f"same labels as {args.foreign.name} in ONNX Runtime on {adopted.parity.equal_labels:.4%} of the pixels of "
        f"{adopted.parity.images} images" + ("" if manifest.validation else " of noise"),
        f"{adopted.model.path}: {len(adopted.model.data) / 1e6:.1f} MB, {manifest.precision}, SHA-256 {adopted.model.sha256[:16]}",
    ]
    return "\n".join(lines)
