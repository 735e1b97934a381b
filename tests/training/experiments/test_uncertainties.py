"""The kinds of uncertainty of one run, against its graph's own outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from lwseg_training.config.recipe import parse_recipe
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.experiments.uncertainties import ErrorDetection, compare_uncertainties, uncertainty_table
from lwseg_training.export.calibration import fit_temperature, sample_logits
from lwseg_training.export.export import CPU, calibrated, uncalibrated_graph
from lwseg_training.export.prediction import predict

from lwseg_ros.evaluation.metrics import UncertaintyMetrics


def test_figures_are_those_of_the_exported_graphs(miniature: Path, run_folder: Path) -> None:
    found = compare_uncertainties([run_folder], miniature, low_scale=0.5)
    assert [(entry.labels, entry.kind) for entry in found] == [
        ("the network", "least_confidence"),
        ("the network", "margin"),
        ("the network", "entropy"),
        ("its synergy", "least_confidence"),
        ("its synergy", "low_scale"),
    ]
    state = load_checkpoint(run_folder / "last.pt")
    images = LabelledImages(load_splits(parse_recipe(state["recipe"], source="run").dataset, miniature)[1])
    for entry in found:
        _, graph = uncalibrated_graph(state, entry.kind, 0.5 if entry.labels == "its synergy" else None)
        graph = calibrated(graph, fit_temperature([sample_logits(graph, images, CPU)]).temperature, 255)
        metrics = UncertaintyMetrics(11, 255)
        for image, label in images:
            prediction = predict(graph, image, CPU)
            assert prediction.uncertainty is not None
            metrics.update(label, prediction.label, prediction.uncertainty)
        assert (entry.auroc, entry.aurc) == pytest.approx((metrics.auroc, metrics.aurc), abs=1e-4)
        assert entry.sequence == "val"


def test_the_table() -> None:
    rows = [
        ErrorDetection("the network", kind, sequence, auroc, aurc)
        for kind, sequence, auroc, aurc in [
            ("margin", "0001TP", 0.9, 0.02),
            ("entropy", "0001TP", 0.88, 0.03),
            ("margin", "0006R0", 0.8, 0.04),
            ("entropy", "0006R0", 0.84, 0.01),
        ]
    ]
    assert uncertainty_table(rows).splitlines() == [
        "| labels of | uncertainty | 0001TP: AUROC, AURC | 0006R0: AUROC, AURC | mean: AUROC, AURC |",
        "| --- | --- | --- | --- | --- |",
        "| the network | `margin` | 0.9000, 0.0200 | 0.8000, 0.0400 | 0.8500, 0.0300 |",
        "| the network | `entropy` | 0.8800, 0.0300 | 0.8400, 0.0100 | 0.8600, 0.0200 |",
    ]
