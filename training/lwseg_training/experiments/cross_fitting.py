"""Calibration on streets that were not trained on: the runs of a recipe that each held one sequence out stand in for the run on
all of them, whose own training images would flatter it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lwseg_ros.errors import RecipeError
from lwseg_ros.evaluation.evaluator import Evaluator
from lwseg_training.config.recipe import Recipe, differing_keys, parse_recipe
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.experiments.cross_validation import without_sequence
from lwseg_training.export.acceptance import CONFIDENCE, LEVEL, ImageCounts, count_image, fit_acceptance
from lwseg_training.export.calibration import fit_temperature, pixels_per_image, sample_logits
from lwseg_training.export.crossed_acceptance import check_on_each
from lwseg_training.export.export import CPU, CrossFit, calibrated, input_size, uncalibrated_graph
from lwseg_training.export.prediction import FIGURES, predict, progress, rounded_figures


def cross_fit(
    state: dict[str, Any],
    runs: Sequence[Path],
    data_root: Path,
    *,
    uncertainty_kind: str = "least_confidence",
    size_hw: tuple[int, int] | None = None,
    low_scale: float | None = None,
    level: float = LEVEL,
    confidence: float = CONFIDENCE,
    device: torch.device = CPU,
) -> CrossFit:
    """Fit one temperature to what held-out runs of a checkpoint's recipe had not seen, every sequence weighing alike, and
    evaluate each run with it on its sequence; then fit which pixels are accepted there, and judge each sequence by what the others
    give (`crossed`; the one temperature is of all). Shows progress on stderr.

    Args:
        state: from `load_checkpoint`, the run that the temperature is for.
        runs: folders of the held-out runs, whose last.pt is taken, or such checkpoints themselves.
        data_root: folder of the data set.
        level, confidence: of the accepted pixels, see `fit_thresholds`.
        uncertainty_kind, size_hw, low_scale, device: see `export_checkpoint`.

    Raises RecipeError where a run is not finished, is of another recipe, or holds out what another one does; CheckpointError
    where there is none.
    """
    recipe = parse_recipe(state["recipe"], source="checkpoint")
    size_hw = input_size(recipe, data_root, size_hw)
    of_sequences = {}
    for sequence, checkpoint in _by_sequence(recipe, runs).items():
        own_recipe, graph = uncalibrated_graph(checkpoint, uncertainty_kind, low_scale)
        of_sequences[sequence] = graph.to(device), load_splits(own_recipe.dataset, data_root)[1]
    pixels = pixels_per_image(sum(len(split.pairs) for _, split in of_sequences.values()), len(state["classes"]))
    # Images are decoded for each use: those of all sequences would be kept otherwise.
    calibration = fit_temperature(
        [sample_logits(graph, LabelledImages(split, size_hw), device, pixels) for graph, split in of_sequences.values()]
    )
    sequences = {}
    counts: dict[str, list[ImageCounts]] = {}
    for sequence, (graph, split) in of_sequences.items():
        evaluator = Evaluator(split.classes, IGNORE, uncertainty_kind)
        fitted = calibrated(graph, calibration.temperature, IGNORE)
        counts[sequence] = []
        for image, label in progress(LabelledImages(split, size_hw), "evaluating"):
            prediction = predict(fitted, image, device)
            evaluator.add(prediction, label)
            counts[sequence].append(count_image(image, prediction, label, len(split.classes)))
        sequences[sequence] = {"images": len(split.pairs), **rounded_figures(evaluator)}
    held_out = {"sequences": sequences, "mean": _mean(list(sequences.values()))}
    acceptance = fit_acceptance(counts, level, confidence)
    crossed = check_on_each(counts, [c["name"] for c in state["classes"]], level, confidence)
    return CrossFit(calibration, held_out, {**acceptance, "crossed": crossed})


def _by_sequence(recipe: Recipe, runs: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Load the checkpoints of a recipe's held-out runs by the sequence that each has not seen; see `cross_fit`."""
    checkpoints: dict[str, dict[str, Any]] = {}
    for run in runs:
        path = run / "last.pt" if run.is_dir() else run
        checkpoint = load_checkpoint(path)
        if checkpoint["step"] != checkpoint["total_steps"]:
            raise RecipeError(
                f"{path} stands at step {checkpoint['step']} of {checkpoint['total_steps']}; finish it first, with --resume, "
                "and give its last.pt"
            )
        held_out = parse_recipe(checkpoint["recipe"], source=str(path)).dataset.held_out
        if len(held_out) != 1:
            what = f"the sequences {', '.join(held_out)}" if held_out else "nothing"
            raise RecipeError(f"{path} holds out {what}; give runs that hold out one sequence, as `lwseg compare` does")
        sequence = held_out[0]
        differing = differing_keys(without_sequence(recipe, sequence), checkpoint["recipe"])
        if differing:
            raise RecipeError(
                f"{path} is of another recipe than the checkpoint, differing: {', '.join(differing)}; give the held-out runs of "
                "the same recipe"
            )
        if sequence in checkpoints:
            raise RecipeError(f"{path} is a second run without {sequence}; give one run a sequence")
        checkpoints[sequence] = checkpoint
    return checkpoints


def _mean(figures: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the mean over the sequences of the figures that all of them have."""
    measured = [name for name in FIGURES if all(name in entry for entry in figures)]
    return {name: round(sum(entry[name] for entry in figures) / len(figures), 5) for name in measured}
