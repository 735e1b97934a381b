"""What two scales of a trained network give alone and combined: multi-scale synergy beside averaging, max and each scale."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from lwseg_ros.evaluation.metrics import ConfusionMatrix, UncertaintyMetrics, finite_or_none
from lwseg_ros.files import write_atomically
from lwseg_training.config.recipe import InferenceSection
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.samples import LabelledImages
from lwseg_training.engine.evaluation import at_inference_size, at_photo_size
from lwseg_training.export.inference_graph import uncertainty_levels
from lwseg_training.networks import Combine, TwoScaleNetwork, combine_scales
from lwseg_training.networks.normalization import Normalize

COMBINATIONS: dict[Combine, str] = {
    "high": "high scale alone",
    "low": "low scale alone",
    "mean": "mean of both",
    "max": "max of both",
    "synergy": "synergy (equation 1)",
}


@dataclass(frozen=True)
class ScaleResult:
    """How good one way to combine the scales is. All figures in [0, 1]; None where one does not exist.

    The probabilities are those of the combination, normalised, without temperature. ``uncertainty`` is a kind of the manifest;
    ECE is defined for ``least_confidence`` only.
    """

    combine: Combine
    uncertainty: str
    miou: float | None
    pixel_accuracy: float | None
    ece: float | None
    auroc: float | None
    per_class_iou: dict[str, float | None]


@torch.no_grad()
def compare_scales(
    network: TwoScaleNetwork,
    normalize: Normalize,
    images: LabelledImages,
    device: torch.device,
    inference: InferenceSection | None = None,
) -> list[ScaleResult]:
    """Judge every combination on a split, at the size of ``inference``; the trunk runs once a scale and image.

    The rows are those of COMBINATIONS with the uncertainty ``least_confidence``, then the synergy with ``low_scale``, the
    uncertain-pixel mask. Shows progress on stderr.
    """
    names = [info.name for info in images.split.classes]
    network = network.to(device).eval()
    confusions = {combine: ConfusionMatrix(len(names), IGNORE) for combine in COMBINATIONS}
    pairs: list[tuple[Combine, str]] = [*((combine, "least_confidence") for combine in COMBINATIONS)]
    pairs.append(("synergy", "low_scale"))
    uncertainties = {pair: UncertaintyMetrics(len(names), IGNORE, pair[1]) for pair in pairs}
    progress = tqdm(range(len(images)), desc="comparing scales", unit="image", file=sys.stderr, mininterval=0.5)
    for index in progress:
        image, label = images[index]
        resized = at_inference_size(image, inference)
        high, low = network.scales(normalize(torch.from_numpy(resized)[None].to(device)))
        for combine in COMBINATIONS:
            probabilities = combine_scales(high, low, combine).softmax(dim=1)
            predicted = at_photo_size(probabilities[0].argmax(dim=0).byte().cpu().numpy(), label.shape)
            confusions[combine].update(label, predicted)
            for (judged, kind), metrics in uncertainties.items():
                if judged == combine:
                    doubted = low if kind == "low_scale" else probabilities
                    levels = uncertainty_levels(doubted, kind)[0].cpu().numpy()
                    metrics.update(label, predicted, at_photo_size(levels, label.shape))
    results = []
    for (combine, uncertainty), metrics in uncertainties.items():
        confusion = confusions[combine]
        iou = {name: finite_or_none(value) for name, value in zip(names, confusion.per_class_iou, strict=True)}
        figures = (confusion.miou, confusion.pixel_accuracy, metrics.ece, metrics.auroc)
        miou, accuracy, ece, auroc = map(finite_or_none, figures)
        results.append(ScaleResult(combine, uncertainty, miou, accuracy, ece, auroc, iou))
    return results


def scale_table(results: Sequence[ScaleResult]) -> str:
    """Lay out a Markdown table, a row a combination and uncertainty."""
    lines = ["| prediction | mIoU | pixel accuracy | uncertainty | ECE | AUROC of errors |", "| --- " * 6 + "|"]
    for result in results:
        miou, accuracy, ece, auroc = (
            "" if value is None else f"{value:.4f}"
            for value in (result.miou, result.pixel_accuracy, result.ece, result.auroc)
        )
        lines.append(
            f"| {COMBINATIONS[result.combine]} | {miou} | {accuracy} | {result.uncertainty} | {ece} | {auroc} |"
        )
    return "\n".join(lines) + "\n"


def write_scale_comparison(text: str, report: Mapping[str, object], out: Path) -> None:
    """Write scales.md and scales.json into a folder."""
    write_atomically(out / "scales.md", text.encode())
    write_atomically(out / "scales.json", (json.dumps(report, indent=2) + "\n").encode())
