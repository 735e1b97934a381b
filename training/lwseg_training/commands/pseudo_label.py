"""`lwseg pseudo-label`: a data set out of images without labels, by a finished network."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from lwseg_ros.classes import ClassInfo
from lwseg_ros.datasets import read_image, read_pair
from lwseg_ros.datasets.labels import CodedPath, IdCode
from lwseg_ros.errors import DatasetError, LwsegError, RecipeError
from lwseg_ros.host.files import write_atomically, write_json
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.labelled_images import class_ids
from lwseg_training.distributed import training_process
from lwseg_training.engine.pseudo_labels import class_thresholds, completed, open_labeller, pseudo_label

HELP = (
    "Label images by a finished network where it is sure enough, and write them as a data set that recipes take "
    "(dataset.name=folder, or an auxiliary set). Pixels that it is not sure of are ignored."
)
EXAMPLE = "lwseg pseudo-label runs/teacher/last.pt photos -o data/photos --confidence 0.9 --class-confidence pole=0.6"

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", help="last.pt of a run, a model file or a shipped model")
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the data set, made new"
    )
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.9,
        help="least probability at which a label is believed (default: %(default)s)",
    )
    parser.add_argument(
        "--class-confidence",
        nargs="+",
        default=[],
        metavar="CLASS=P",
        type=_class_value,
        help="another one for some classes",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="DIR",
        help="folder of labels that are known, NAME.png in the network's class ids, 255 = not known; only that is filled",
    )
    parser.add_argument(
        "--unlabelled",
        nargs="+",
        default=[],
        metavar="CLASS",
        help="with --labels: classes that those do not know; the network's label counts before the known one behind it",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="of a checkpoint (default: a GPU if there is one)",
    )
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")


def run(args: argparse.Namespace) -> int:
    """Label, write, and tell how much of each class there is."""
    if args.unlabelled and args.labels is None:
        raise RecipeError("--unlabelled is about known labels; add --labels, or leave --unlabelled out")
    images = find_images(args.images)
    labels = {path: args.labels / f"{path.stem}.png" for path in images} if args.labels is not None else {}
    missing = [path for path in labels.values() if not path.is_file()]
    if missing:
        raise DatasetError(
            f"no label {missing[0]}, and {len(missing) - 1} more are missing; each image needs one in --labels"
        )
    with training_process(args.device) as process, open_labeller(args.network, process.device) as labeller:
        classes = labeller.classes
        thresholds = class_thresholds(classes, args.confidence, dict(args.class_confidence))
        unlabelled = class_ids(classes, args.unlabelled, "--unlabelled")
        code = IdCode({value: value for value in (*(info.id for info in classes), IGNORE)})
        make_output(args.output)
        predicted, written = np.zeros(256, np.int64), np.zeros(256, np.int64)
        for path in tqdm(images, desc="labelling", unit="image", file=sys.stderr, mininterval=0.5):
            image, known = read_pair(path, CodedPath(labels[path], code)) if labels else (read_image(path), None)
            label, probability = labeller.predict(image)
            result = pseudo_label(label, probability, thresholds)
            if known is not None:
                result = completed(known, result, unlabelled)
            predicted += np.bincount(label.ravel(), minlength=256)
            written += np.bincount(result.ravel(), minlength=256)
            write_pair(path, result, args.output)
    report = {
        "network": Path(args.network).name,
        "images": len(images),
        "labelled": float(1 - written[IGNORE] / written.sum()),
        "classes": {
            info.name: {
                "confidence": round(float(thresholds[info.id]), 6),
                "predicted": int(predicted[info.id]),
                "labelled": int(written[info.id]),
            }
            for info in classes
        },
    }
    write_json(args.output / "pseudo_labels.json", report)
    write_description(args.output, classes)  # last: with it the data set is there
    print(json.dumps(report, indent=2) if args.json else table(report))
    return 0


def find_images(folder: Path) -> list[Path]:
    """List a folder's images by name; raises DatasetError where there are none, or two that differ in their suffix only."""
    if not folder.is_dir():
        raise DatasetError(f"no folder of images {folder}")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not images:
        raise DatasetError(f"{folder} holds no image; known are {', '.join(IMAGE_SUFFIXES)}")
    twice = [stem for stem, count in Counter(path.stem for path in images).items() if count > 1]
    if twice:
        raise DatasetError(f"{folder} holds several images {twice[0]}, which would have one label; rename all but one")
    return images


def make_output(folder: Path) -> None:
    """Make the data set's folders; raises LwsegError where the folder holds something already."""
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise LwsegError(f"{folder} is not empty; choose another --output")
        for name in ("images", "labels"):
            (folder / name).mkdir(parents=True)
    except OSError as error:
        raise LwsegError(f"cannot make the folder {folder} ({error.strerror}); choose another --output") from error


def write_pair(image: Path, label: np.ndarray, folder: Path) -> None:
    """Put a label uint8 [H, W] into the data set, and a link to its image."""
    _, data = cv2.imencode(".png", label)
    try:
        (folder / "images" / image.name).symlink_to(image.resolve())
        write_atomically(folder / "labels" / f"{image.stem}.png", data.tobytes())
    except OSError as error:
        raise LwsegError(f"{folder} cannot be written: {error.strerror or error}") from error


def write_description(folder: Path, classes: tuple[ClassInfo, ...]) -> None:
    """Write the dataset.yaml of what is there."""
    description = {
        "name": folder.resolve().name,
        "classes": [{"name": info.name, "color": list(info.color_rgb)} for info in classes],
        "ignore_id": IGNORE,
        "splits": {"train": {"images": "images/*", "labels": "labels/{name}.png"}},
    }
    write_atomically(folder / "dataset.yaml", yaml.safe_dump(description, sort_keys=False).encode())


def table(report: dict[str, Any]) -> str:
    """Lay out the counts, a line a class, and what they are of."""
    lines = [f"{'class':<24} {'confidence':>10} {'predicted':>13} {'labelled':>13}  pixels"]
    for name, row in report["classes"].items():
        lines.append(f"{name:<24} {row['confidence']:>10g} {row['predicted']:>13,} {row['labelled']:>13,}")
    lines.append(f"{report['labelled']:.1%} of the pixels of {report['images']} images are labelled")
    return "\n".join(lines)


def _class_value(text: str) -> tuple[str, float]:
    """Read CLASS=P; argparse turns the error into wrong usage."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not CLASS=PROBABILITY, such as pole=0.6") from error
