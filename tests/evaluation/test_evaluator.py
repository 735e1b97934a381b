"""From predictions and ground truth to metrics: what counts, and what is None because it cannot be measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.tiny_model import CLASSES, tiny_manifest

from lwseg_ros.classes import ClassInfo
from lwseg_ros.errors import ModelFileError
from lwseg_ros.evaluation.evaluator import Evaluator, Prediction, evaluate

TRUTH = np.array([[0, 0, 0, 1]], np.uint8)
ALL_ROAD = Prediction(np.zeros((1, 4), np.uint8), np.full((1, 4), 51, np.uint8))


def test_metrics_by_hand() -> None:
    samples = [(np.zeros((1, 4, 3), np.uint8), TRUTH)] * 2
    metrics = evaluate(Evaluator.of_model(tiny_manifest()), samples, lambda image: ALL_ROAD).metrics()
    assert metrics["pixel_accuracy"] == 0.75
    names = [info.name for info in CLASSES]
    assert metrics["per_class_iou"] == dict(zip(names, [0.75, 0.0, None, None, None], strict=True))
    assert metrics["miou"] == 0.375
    # one level of uncertainty, 51 / 255: confidence 1 - 0.2 * 4 / 5
    assert metrics["uncertainty"] == {
        "ece": pytest.approx(0.84 - 0.75),
        "auroc": pytest.approx(0.5),
        "aurc": pytest.approx(0.25),
    }
    assert metrics["accepted"] is None
    assert metrics["temporal_consistency"] is None  # was given no images


def test_a_missing_uncertainty_costs_only_its_own_metrics() -> None:
    evaluator = Evaluator.of_model(tiny_manifest())
    evaluator.add(replace(ALL_ROAD, uncertainty=None), TRUTH)
    assert evaluator.metrics()["miou"] == 0.375
    assert evaluator.metrics()["uncertainty"] == {"ece": None, "auroc": None, "aurc": None}


def test_without_ground_truth_only_consistency_is_measured() -> None:
    evaluator = Evaluator.of_model(tiny_manifest())
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for _ in range(2):
        evaluator.add(Prediction(np.zeros((48, 64), np.uint8)), None, image)
    assert evaluator.metrics()["miou"] is None
    assert evaluator.metrics()["temporal_consistency"] == 1.0


def test_class_ids_with_holes_cannot_be_evaluated() -> None:
    manifest = replace(tiny_manifest(), classes=(*CLASSES[:-1], ClassInfo(9, "sign", (0, 0, 0))))
    with pytest.raises(ModelFileError, match=r"class ids are \[0, 1, 2, 3, 9\]; only ids 0 to 4"):
        Evaluator.of_model(manifest)
