"""Which kind of uncertainty finds errors best on streets that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lwseg_ros.evaluation.metrics import UncertaintyMetrics
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.export.calibration import fit_temperature, sample_logits
from lwseg_training.export.export import CPU, input_size, uncalibrated_graph
from lwseg_training.export.inference_graph import InferenceGraph, uncertainty_levels
from lwseg_training.export.prediction import progress

NETWORK, SYNERGY = "the network", "its synergy"


@dataclass(frozen=True)
class ErrorDetection:
    """How well a kind of uncertainty of `labels`, the network's own or those of its synergy, finds errors on a sequence."""

    labels: str
    kind: str
    sequence: str
    auroc: float
    aurc: float


def compare_uncertainties(
    runs: Sequence[Path], data_root: Path, low_scale: float | None = None, device: torch.device = CPU
) -> list[ErrorDetection]:
    """Evaluate the kinds of uncertainty of finished held-out runs on what each had not seen. Shows progress on stderr.

    Args:
        runs: folders whose last.pt is taken, or checkpoints.
        data_root: folder of the data set.
        low_scale: also compare, on the labels of the synergy with a low scale of this share, `low_scale` with
            `least_confidence`; None leaves the synergy out.
        device: where PyTorch runs.

    The temperature is fitted to each run's own sequence, for each kind to the logits that it is made of.
    """
    found = []
    for run in runs:
        state = load_checkpoint(run / "last.pt" if run.is_dir() else run)
        recipe, graph = uncalibrated_graph(state)
        split = load_splits(recipe.dataset, data_root)[1]
        images = LabelledImages(split, input_size(recipe, data_root))
        name = ", ".join(recipe.dataset.held_out) or split.split
        kinds = {kind: graph for kind in ("least_confidence", "margin", "entropy")}
        found += _detection(NETWORK, kinds, images, name, device)
        if low_scale is not None:
            kinds = {kind: _synergy(state, kind, low_scale) for kind in ("least_confidence", "low_scale")}
            found += _detection(SYNERGY, kinds, images, name, device)
    return found


def _synergy(state: dict[str, Any], kind: str, low_scale: float) -> InferenceGraph:
    return uncalibrated_graph(state, kind, low_scale)[1]


def _detection(
    labels: str, kinds: dict[str, InferenceGraph], images: LabelledImages, sequence: str, device: torch.device
) -> list[ErrorDetection]:
    """Evaluate kinds, least_confidence among them, on the labels that all their graphs give."""
    graphs = {id(graph): graph.to(device) for graph in kinds.values()}
    temperatures = {
        key: fit_temperature([sample_logits(graph, images, device)]).temperature for key, graph in graphs.items()
    }
    metrics = {kind: UncertaintyMetrics(len(images.split.classes), IGNORE, kind) for kind in kinds}
    with torch.no_grad():
        for image, truth in progress(images, f"comparing {labels}"):
            batch = torch.from_numpy(image)[None].to(device)
            logits = {key: graph.uncertainty_logits(batch) for key, graph in graphs.items()}
            label = logits[id(kinds["least_confidence"])].argmax(dim=1)[0].cpu().numpy()
            for kind, graph in kinds.items():
                probabilities = (logits[id(graph)] / temperatures[id(graph)]).softmax(dim=1)
                metrics[kind].update(truth, label, uncertainty_levels(probabilities, kind)[0].cpu().numpy())
    return [ErrorDetection(labels, kind, sequence, own.auroc, own.aurc) for kind, own in metrics.items()]


def uncertainty_table(found: Sequence[ErrorDetection]) -> str:
    """Lay out a Markdown table: a row a kind, AUROC and AURC of each sequence and their means."""
    sequences = list(dict.fromkeys(entry.sequence for entry in found))
    lines = [
        "| labels of | uncertainty | " + " | ".join(f"{name}: AUROC, AURC" for name in [*sequences, "mean"]) + " |",
        "| --- " * (len(sequences) + 3) + "|",
    ]
    for labels, kind in dict.fromkeys((entry.labels, entry.kind) for entry in found):
        own = {entry.sequence: entry for entry in found if (entry.labels, entry.kind) == (labels, kind)}
        cells = [f"{own[name].auroc:.4f}, {own[name].aurc:.4f}" for name in sequences]
        mean = [sum(getattr(entry, name) for entry in own.values()) / len(own) for name in ("auroc", "aurc")]
        lines.append(f"| {labels} | `{kind}` | " + " | ".join(cells) + f" | {mean[0]:.4f}, {mean[1]:.4f} |")
    return "\n".join(lines) + "\n"
