"""What two scales of a trained network give alone and combined: multi-scale synergy beside averaging, max and each scale."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm

from lwseg_ros.evaluation.evaluator import Evaluator, Prediction
from lwseg_ros.imaging.resizing import resize_label
from lwseg_training.config.recipe import InferenceSection
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.labelled_images import LabelledImages
from lwseg_training.engine.evaluation import at_inference_size
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
    """Evaluate every combination on a split, at the size of ``inference``; the trunk runs once a scale and image.

    The rows are those of COMBINATIONS with the uncertainty ``least_confidence``, then the synergy with ``low_scale``, the
    uncertain-pixel mask. Shows progress on stderr.
    """
    network = network.to(device).eval()
    pairs: list[tuple[Combine, str]] = [*((combine, "least_confidence") for combine in COMBINATIONS)]
    pairs.append(("synergy", "low_scale"))
    evaluators = {pair: Evaluator(images.split.classes, IGNORE, pair[1]) for pair in pairs}
    progress = tqdm(images, desc="comparing scales", unit="image", file=sys.stderr, mininterval=0.5)
    for image, ground_truth in progress:
        resized = at_inference_size(image, inference)
        high, low = network.scales(normalize(torch.from_numpy(resized)[None].to(device)))
        for (combine, kind), evaluator in evaluators.items():
            probabilities = combine_scales(high, low, combine).softmax(dim=1)
            label = probabilities[0].argmax(dim=0).byte()
            levels = uncertainty_levels(low if kind == "low_scale" else probabilities, kind)[0]
            at_full_size = (resize_label(output.cpu().numpy(), ground_truth.shape) for output in (label, levels))
            evaluator.add(Prediction(*at_full_size), ground_truth)
    results = []
    for (combine, kind), evaluator in evaluators.items():
        metrics = evaluator.metrics()
        metrics.update(metrics.pop("uncertainty"))
        wanted = {key: metrics[key] for key in ("miou", "pixel_accuracy", "ece", "auroc", "per_class_iou")}
        results.append(ScaleResult(combine, kind, **wanted))
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
