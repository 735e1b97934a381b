"""`lwseg evaluate`: a model's figures on a labelled image folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lwseg_ros.backends import BACKENDS
from lwseg_ros.datasets import DATASETS, figures_note, load_split
from lwseg_ros.evaluation.acceptance import accepted_in_words
from lwseg_ros.evaluation.split import evaluate_split
from lwseg_ros.segmenter import Segmenter

HELP = "Evaluate a model on a labelled split: mIoU, per-class IoU, pixel accuracy, ECE, error-detection AUROC, AURC."
EXAMPLE = "lwseg evaluate dwrseg_b_camvid --dataset camvid --data ~/camvid --split val"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="model file or shipped model")
    parser.add_argument("--dataset", required=True, choices=sorted(DATASETS))
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data set's folder")
    parser.add_argument("--split", required=True, help="such as val")
    parser.add_argument("--backend", default="auto", choices=["auto", *BACKENDS], help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    split = load_split(args.dataset, args.data, args.split)
    with Segmenter.open(args.model, args.backend) as segmenter:
        split.check_classes(segmenter.manifest.classes)
        figures = {
            "model": segmenter.model.path.name,
            "backend": segmenter.backend.name,
            "precision": segmenter.backend.precision,
            "dataset": split.dataset,
            "split": split.split,
            "images": len(split.pairs),
            "trained_on": segmenter.manifest.trained_on(split.dataset, split.split),
            **evaluate_split(segmenter, split),
        }
    print(json.dumps(figures, indent=2) if args.json else table(figures))
    return 0


def table(figures: dict[str, Any]) -> str:
    """Put the figures into lines of text; those of a split that was trained on, or for validation, are called so."""

    def show(value: float | None) -> str:
        return "     -" if value is None else f"{value:6.4f}"

    uncertainty = figures["uncertainty"]
    lines = [
        f"{figures['model']} on {figures['backend']} ({figures['precision']}), "
        f"{figures['dataset']} {figures['split']}, {figures['images']} images"
        + figures_note(figures["split"], figures["trained_on"]),
        *(f"  IoU {name:<14} {show(iou)}" for name, iou in figures["per_class_iou"].items()),
        f"mIoU               {show(figures['miou'])}",
        f"pixel accuracy     {show(figures['pixel_accuracy'])}",
        f"ECE                {show(uncertainty['ece'])}",
        f"AUROC of errors    {show(uncertainty['auroc'])}",
        f"AURC               {show(uncertainty['aurc'])}",
    ]
    if figures["accepted"] is not None:
        lines.append(f"accepted           {accepted_in_words(figures['accepted'])}")
    return "\n".join(lines)
