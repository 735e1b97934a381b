"""The evaluator's figures against torchmetrics, to 1e-6."""

from __future__ import annotations

from typing import Any

import pytest
import support.torchvision_operators  # noqa: F401
import torch
from support.clip_predictions import clip_predictions, evaluated_clip

torchmetrics = pytest.importorskip("torchmetrics", reason="pip install -e './training[test]'")


def test_figures_are_those_of_torchmetrics() -> None:
    manifest, pairs = clip_predictions()
    classes = torchmetrics.classification
    options: dict[str, Any] = {"num_classes": 11, "ignore_index": manifest.ignore_id, "average": "none"}
    per_class = {
        "per_class_iou": classes.MulticlassJaccardIndex(**options),
        "per_class_precision": classes.MulticlassPrecision(**options),
        "per_class_recall": classes.MulticlassRecall(**options),
    }
    accuracy = classes.MulticlassAccuracy(num_classes=11, ignore_index=manifest.ignore_id, average="micro")
    wrong_found = {"auroc": classes.BinaryAUROC(), "aupr_error": classes.BinaryAveragePrecision()}
    calibrated = classes.BinaryCalibrationError(n_bins=15)
    for truth, prediction in pairs:
        true, pred = torch.from_numpy(truth.astype("int64")), torch.from_numpy(prediction.label.astype("int64"))
        for metric in (*per_class.values(), accuracy):
            metric.update(pred, true)
        counted = true != manifest.ignore_id
        assert prediction.uncertainty is not None
        level = torch.from_numpy(prediction.uncertainty)[counted].double() / 255
        wrong = (true != pred)[counted].long()
        for metric in wrong_found.values():
            metric.update(level, wrong)
        # its bins are [low, high), ours (low, high]
        calibrated.update((1 - level * 10 / 11 - 1e-9).clamp(0, 1), 1 - wrong)

    figures = evaluated_clip().metrics()
    for key, metric in per_class.items():
        found = torch.tensor([0.0 if value is None else value for value in figures[key].values()])
        torch.testing.assert_close(found, metric.compute(), rtol=0, atol=1e-6)
    assert figures["pixel_accuracy"] == pytest.approx(float(accuracy.compute()), rel=0, abs=1e-6)
    for key, metric in wrong_found.items():
        assert figures["uncertainty"][key] == pytest.approx(float(metric.compute()), rel=0, abs=1e-6)
    assert figures["uncertainty"]["ece"] == pytest.approx(float(calibrated.compute()), rel=0, abs=1e-6)
