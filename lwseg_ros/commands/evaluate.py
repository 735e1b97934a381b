"""`lwseg evaluate`: a model's figures on a labelled image folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lwseg_ros.backends import BACKENDS
from lwseg_ros.commands.arguments import MODEL_HELP
from lwseg_ros.datasets import DATASETS, figures_note, load_split
from lwseg_ros.evaluation.acceptance import accepted_in_words
from lwseg_ros.evaluation.split import evaluate_split
from lwseg_ros.host.terminal import say
from lwseg_ros.segmenter import Segmenter

HELP = "Evaluate a model on a labelled split: IoU, precision and recall, edges, image regions, how the uncertainty finds errors."
EXAMPLE = "lwseg evaluate lite_seg0_camvid --dataset camvid --data ~/camvid --split val"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help=MODEL_HELP)
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
    say(json.dumps(figures, indent=2) if args.json else table(figures))
    return 0


def table(figures: dict[str, Any]) -> str:
    """Put the figures into lines of text; those of a split that was trained on, or for validation, are called so."""

    def show(value: float | None) -> str:
        return "     -" if value is None else f"{value:6.4f}"

    uncertainty = figures["uncertainty"]
    precision, recall, calibration = (
        figures["per_class_precision"],
        figures["per_class_recall"],
        uncertainty["per_class_ece"],
    )
    lines = [
        f"{figures['model']} on {figures['backend']} ({figures['precision']}), "
        f"{figures['dataset']} {figures['split']}, {figures['images']} images"
        + figures_note(figures["split"], figures["trained_on"]),
        *(
            f"  IoU {name:<14} {show(iou)}  precision {show(precision[name])}  recall {show(recall[name])}  "
            f"ECE {show(calibration[name])}"
            for name, iou in figures["per_class_iou"].items()
        ),
        *(
            f"  {region['name']:<18} mIoU {show(region['miou'])}  pixel accuracy {show(region['pixel_accuracy'])}  "
            f"ECE {show(region['ece'])}"
            for region in figures["regions"]
        ),
        f"mIoU               {show(figures['miou'])}",
        f"  of true classes  {show(figures['miou_present'])}",
        f"boundary IoU       {show(figures['boundary_iou']['mean'])}",
        f"pixel accuracy     {show(figures['pixel_accuracy'])}",
        f"ECE                {show(uncertainty['ece'])}",
        f"Brier, NLL         {show(uncertainty['brier'])}  {show(uncertainty['nll'])}",
        f"AUROC of errors    {show(uncertainty['auroc'])}",
        f"AUPR of errors     {show(uncertainty['aupr_error'])}",
        f"FPR at 95 % TPR    {show(uncertainty['fpr95'])}",
        f"AURC               {show(uncertainty['aurc'])}",
    ]
    if figures["accepted"] is not None:
        lines.append(f"accepted           {accepted_in_words(figures['accepted'])}")
    return "\n".join(lines)
