"""From predictions and ground truth to metrics: what counts, and what is None because it cannot be measured."""

from __future__ import annotations

import pickle
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
    uncertainty = metrics["uncertainty"]
    assert uncertainty["ece"] == pytest.approx(0.84 - 0.75)
    assert uncertainty["auroc"] == pytest.approx(0.5)
    assert uncertainty["aurc"] == pytest.approx(0.25)
    assert metrics["accepted"] is None
    assert metrics["temporal_consistency"] is None  # was given no images


def test_a_missing_uncertainty_costs_only_its_own_metrics() -> None:
    evaluator = Evaluator.of_model(tiny_manifest())
    evaluator.add(replace(ALL_ROAD, uncertainty=None), TRUTH)
    assert evaluator.metrics()["miou"] == 0.375
    uncertainty = evaluator.metrics()["uncertainty"]
    assert uncertainty.pop("per_class_ece") == dict.fromkeys((info.name for info in CLASSES), None)
    assert set(uncertainty.values()) == {None}


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


def test_detail_changes_no_other_figure_and_takes_images_of_any_size() -> None:
    rng = np.random.default_rng(1)
    plain, detailed = (Evaluator.of_model(tiny_manifest(), in_detail=value) for value in (False, True))
    for size_hw in ((7, 5), (7, 5), (1, 4), (30, 20)):
        truth, label = (rng.choice([0, 1, 2, 255], size_hw).astype(np.uint8) for _ in range(2))
        prediction = Prediction(label, rng.integers(0, 256, size_hw).astype(np.uint8))
        first, second = (evaluator.add(prediction, truth) for evaluator in (plain, detailed))
        assert first is not None
        assert second is not None
        assert np.array_equal(first.confusion.counts, second.confusion.counts)
        assert np.array_equal(first.uncertainty.class_counts, second.uncertainty.class_counts)
    one, other = plain.metrics(), detailed.metrics()
    assert one.pop("boundary_iou") is one.pop("regions") is None
    assert other.pop("boundary_iou")["mean"] > 0
    regions = other.pop("regions")
    assert one == other
    assert [region["rows"] for region in regions] == [None] * 3  # of images of several heights
    assert sum(region["pixels"] for region in regions) == plain.confusion.num_pixels
    with pytest.raises(ValueError, match=r"shape \(2, 4\), the predicted one \(1, 4\)"):
        detailed.add(ALL_ROAD, np.zeros((2, 4), np.uint8))


def test_evaluators_of_other_processes_add_up() -> None:
    rng = np.random.default_rng(2)
    whole, *parts = (Evaluator.of_model(tiny_manifest(), in_detail=True) for _ in range(3))
    for part in parts:
        for _ in range(3):
            truth, label = (rng.choice([0, 1, 2, 255], (48, 64)).astype(np.uint8) for _ in range(2))
            prediction = Prediction(label, rng.integers(0, 256, (48, 64)).astype(np.uint8))
            image = rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
            part.add(prediction, truth, image)
            whole.add(prediction, truth, image)
        whole.consistency.skip()
    merged, other = (pickle.loads(pickle.dumps(part)) for part in parts)
    merged.merge(other)
    assert merged.metrics() == whole.metrics()
    merged.merge(Evaluator.of_model(tiny_manifest()))
    assert merged.metrics() == {**whole.metrics(), "boundary_iou": None, "regions": None}
    with pytest.raises(ValueError, match="cannot merge the classes"):
        merged.merge(Evaluator(CLASSES[:2], 255))
