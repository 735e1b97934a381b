"""Evaluating a bag frame by frame: pairing by stamp, missing predictions, labels that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bag_files import IMAGE_TOPIC, LABEL_TOPIC, image_message, painted_messages, write_messages
from support.tiny_model import CLASSES, tiny_manifest

from lwseg_ros.errors import BagError
from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.evaluation import BagEvaluation, evaluate_bag
from lwseg_ros.replay.pairing import Frame, frames


def evaluated(path: Path, predict: Any, **options: Any) -> BagEvaluation:
    with Bag(path) as bag:
        truth = bag.label_topic(options.pop("label_topic", None))
        images = bag.image_topic(exclude=truth.name if truth else None)
        return evaluate_bag(bag, images, truth, tiny_manifest(), predict, **options)


def all_road(_: Frame, image: np.ndarray) -> Prediction:
    return Prediction(np.zeros(image.shape[:2], np.uint8), np.full(image.shape[:2], 51, np.uint8))


def test_every_frame_is_evaluated_with_its_own_label(tmp_path: Path) -> None:
    # labels come late and in a bunch, and one is missing
    messages = painted_messages(8)
    images = [m for m in messages if m[0] == IMAGE_TOPIC]
    labels = [m for m in messages if m[0] == LABEL_TOPIC]
    late = [(topic, 9_000_000_000, message) for topic, _, message in labels[:3] + labels[4:]]
    with Bag(write_messages(tmp_path / "bag", images + late)) as bag:
        truth = bag.label_topic()
        assert truth is not None
        found = list(frames(bag, bag.image_topic(exclude=truth.name), truth))
    assert [frame.index for frame in found] == list(range(8))
    assert [frame.ground_truth is None for frame in found] == [False] * 3 + [True] + [False] * 4
    assert all(frame.ground_truth.stamp_ns == frame.image.stamp_ns for frame in found if frame.ground_truth)


def test_metrics_by_hand(tmp_path: Path) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(4))
    evaluation = evaluated(path, all_road, num_kept=2)
    evaluator, kept = evaluation.evaluator, evaluation.kept
    truth = kept[0].ground_truth
    assert truth is not None
    road = float((truth == 0).mean())
    metrics = evaluator.metrics()
    assert metrics["pixel_accuracy"] == pytest.approx(road)
    assert metrics["per_class_iou"]["road"] == pytest.approx(road)
    present = len(np.unique(truth))
    assert metrics["miou"] == pytest.approx(road / present)
    assert set(metrics["per_class_iou"]) == {info.name for info in CLASSES}
    # one level of uncertainty, 51 / 255: confidence 1 - 0.2 * 4 / 5
    assert metrics["uncertainty"]["ece"] == pytest.approx(abs(road - 0.84))
    assert metrics["uncertainty"]["auroc"] == pytest.approx(0.5)
    assert metrics["uncertainty"]["aurc"] == pytest.approx(1 - road)
    assert metrics["temporal_consistency"] == 1.0
    assert [frame.index for frame in kept] == [0, 3]
    assert evaluation.num_bad == 0


def test_frames_without_prediction_do_not_count(tmp_path: Path) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(4))

    def every_second(frame: Frame, image: np.ndarray) -> Prediction | None:
        return all_road(frame, image) if frame.index % 2 else None

    evaluator = evaluated(path, every_second).evaluator
    assert evaluator.confusion.num_pixels == 2 * 48 * 64
    assert evaluator.metrics()["temporal_consistency"] is None  # no two frames follow each other


def test_without_ground_truth_the_metrics_are_null(tmp_path: Path) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(2, labels=False))
    metrics = evaluated(path, all_road).evaluator.metrics()
    assert metrics["miou"] is None
    uncertainty = metrics["uncertainty"]
    assert uncertainty.pop("per_class_ece") == dict.fromkeys((info.name for info in CLASSES), None)
    assert set(uncertainty.values()) == {None}
    assert metrics["temporal_consistency"] == 1.0


def test_a_label_of_another_size_is_refused(tmp_path: Path) -> None:
    messages = painted_messages(2)
    stamp = messages[-1][1]
    messages[-1] = (LABEL_TOPIC, stamp, image_message(np.zeros((48, 65), np.uint8), stamp))
    path = write_messages(tmp_path / "bag", messages)
    with pytest.raises(BagError, match=r"label on /cam/label at 1066666667 ns .* is 48 x 65 pixels .* image 48 x 64"):
        evaluated(path, all_road)


def test_labels_whose_stamps_fit_nothing_are_refused(tmp_path: Path) -> None:
    messages = [m for m in painted_messages(2) if m[0] == IMAGE_TOPIC]
    messages.append((LABEL_TOPIC, 7, image_message(np.zeros((48, 64), np.uint8), 7)))
    path = write_messages(tmp_path / "bag", messages)
    with pytest.raises(BagError, match="no stamp on /cam/label equals one on /cam/image/compressed"):
        evaluated(path, all_road)
