"""Evaluating a bag frame by frame: pairing by stamp, missing predictions, labels that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bag_files import (
    COMPRESSED_IMAGE,
    IMAGE_TOPIC,
    LABEL_TOPIC,
    TYPES,
    header,
    image_message,
    painted_messages,
    stamp_ns,
    write_messages,
)
from support.tiny_model import CLASSES, tiny_manifest

from lwseg_ros.errors import BagError
from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.evaluation import BagEvaluation, evaluate_bag
from lwseg_ros.replay.ground_truth import GroundTruth
from lwseg_ros.replay.paired_truth import PairedTruth
from lwseg_ros.replay.pairing import Frame


def evaluated(path: Path, predict: Any, **options: Any) -> BagEvaluation:
    with Bag(path) as bag:
        truth = PairedTruth(bag, bag.image_topic(), GroundTruth(), tiny_manifest())
        return evaluate_bag(bag, truth, tiny_manifest(), predict, **options)


def all_road(_: Frame, image: np.ndarray) -> Prediction:
    return Prediction(np.zeros(image.shape[:2], np.uint8), np.full(image.shape[:2], 51, np.uint8))


def test_every_frame_is_evaluated_with_its_own_label(tmp_path: Path) -> None:
    # labels come late and in a bunch, and one is missing
    messages = painted_messages(8)
    images = [m for m in messages if m[0] == IMAGE_TOPIC]
    labels = [m for m in messages if m[0] == LABEL_TOPIC]
    late = [(topic, 9_000_000_000, message) for topic, _, message in labels[:3] + labels[4:]]
    with Bag(write_messages(tmp_path / "bag", images + late)) as bag:
        found = PairedTruth(bag, bag.image_topic(), GroundTruth(), tiny_manifest()).frames
    assert [frame.index for frame in found] == list(range(8))
    assert [frame.ground_truth is None for frame in found] == [False] * 3 + [True] + [False] * 4
    assert all(frame.ground_truth.stamp_ns == frame.image.stamp_ns for frame in found if frame.ground_truth)


def test_what_was_not_answered_is_not_judged_and_said(tmp_path: Path) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(6))
    with Bag(path) as bag:
        truth = PairedTruth(bag, bag.image_topic(), GroundTruth(), tiny_manifest())
        evaluator = evaluate_bag(
            bag, truth, tiny_manifest(), lambda frame, image: all_road(frame, image) if frame.index in (1, 4) else None
        ).evaluator
        counts, said = truth.counts(evaluator.confusion), truth.review(evaluator.confusion, 6)
        said_of_part = truth.review(evaluator.confusion, 2)
    assert (counts.images, counts.matched, counts.judged, counts.pixels) == (6, 6, 2, 2 * 48 * 64)
    assert said[0] == "only 2 of 6 images were judged: the figures are of these alone"
    assert said[1].startswith("4 of 6 images with ground truth were not judged: they were dropped")
    assert not [text for text in said_of_part if "judged" in text]  # the others' turn did not come


def test_only_neighbours_in_time_are_compared(tmp_path: Path) -> None:
    messages = [item for item in painted_messages(6) if item[0] == IMAGE_TOPIC]
    shuffled = [messages[number] for number in (0, 1, 2, 5, 3, 4)]
    path = write_messages(tmp_path / "bag", shuffled)

    def last_is_tree(frame: Frame, image: np.ndarray) -> Prediction:
        return Prediction(np.full(image.shape[:2], frame.image.stamp_ns == stamp_ns(5), np.uint8))

    # 5 is compared with neither 2 nor 3, as it would be in the recorded order; 3 and 4 are compared
    evaluator = evaluated(path, last_is_tree).evaluator
    assert evaluator.metrics()["temporal_consistency"] == 1.0
    assert evaluator.consistency.followed > 2 * 0.9 * 48 * 64


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


def test_there_is_a_row_an_image(tmp_path: Path) -> None:
    messages = painted_messages(5)
    images = [index for index, message in enumerate(messages) if message[0] == IMAGE_TOPIC]
    stamp = messages[images[1]][1]
    broken = TYPES[COMPRESSED_IMAGE](header(stamp), "jpeg", np.zeros(9, np.uint8))
    messages[images[1]] = (IMAGE_TOPIC, stamp, broken)
    del messages[images[4] + 1]  # the last label
    path = write_messages(tmp_path / "bag", messages)

    def all_but_one(frame: Frame, image: np.ndarray) -> Prediction | None:
        return all_road(frame, image) if frame.index != 2 else None

    evaluation = evaluated(path, all_but_one, latencies_ms=[5.0, None, None, 7.0], num_extreme=2)
    rows = evaluation.rows
    assert [row.index for row in rows] == [0, 1, 2, 3, 4]
    assert [row.stamp_ns for row in rows] == [stamp_ns(index) for index in range(5)]
    assert [row.latency_ms for row in rows] == [5.0, None, None, 7.0, None]
    assert [row.cause for row in rows] == [None, "bad image", "no label", None, None]
    road = evaluation.evaluator.metrics()["pixel_accuracy"]
    assert [row.pixel_accuracy for row in rows] == [road, None, None, road, None]
    assert rows[0].miou == evaluation.evaluator.metrics()["miou_present"]
    assert [row.mean_uncertainty for row in rows] == [0.2, None, None, 0.2, 0.2]
    assert rows[0].confident_error == pytest.approx(0.8 * (1 - road))
    assert [row.confusion is None for row in rows] == [False, True, True, False, True]
    # all within a second and alike: the first of them
    assert [(frame.why, frame.index) for frame in evaluation.kept] == [("worst", 0)]
    assert evaluation.kept[0].row is rows[0]


def test_without_ground_truth_the_metrics_are_null(tmp_path: Path) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(2, labels=False))
    metrics = evaluated(path, all_road).evaluator.metrics()
    assert metrics["miou"] is None
    uncertainty = metrics["uncertainty"]
    assert uncertainty.pop("per_class_ece") == dict.fromkeys((info.name for info in CLASSES), None)
    assert set(uncertainty.values()) == {None}
    assert metrics["temporal_consistency"] == 1.0


def test_a_label_of_another_shape_is_refused(tmp_path: Path) -> None:
    messages = painted_messages(2)
    stamp = messages[-1][1]
    messages[-1] = (LABEL_TOPIC, stamp, image_message(np.zeros((48, 65), np.uint8), stamp))
    path = write_messages(tmp_path / "bag", messages)
    with pytest.raises(
        BagError, match=r"frame 1: .* on /cam/label at 1066666667 ns .* is 48 x 65 pixels .* image 48 x 64"
    ):
        evaluated(path, all_road)


def test_labels_whose_stamps_fit_nothing_are_refused(tmp_path: Path) -> None:
    messages = [m for m in painted_messages(2) if m[0] == IMAGE_TOPIC]
    messages.append((LABEL_TOPIC, 7, image_message(np.zeros((48, 64), np.uint8), 7)))
    path = write_messages(tmp_path / "bag", messages)
    with pytest.raises(BagError, match=r"no image on /cam/image/compressed .* has the stamp of a label"):
        evaluated(path, all_road)
