"""Forty bags whose ground truth is sound, or wrong in one way: none is judged by another truth than it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score
from support.bag_files import write_messages
from support.tiny_model import CLASSES
from support.truth_bags import BAGS, IMAGE_TOPIC, NUM_FRAMES, SIZE_HW, VOID, TruthBag

from lwseg_ros.errors import ImageError, LwsegError
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.segmenter import Segmenter

REPLAYED = {name: bag for name, bag in BAGS.items() if bag.refused is None}
REFUSED = {name: bag for name, bag in BAGS.items() if bag.refused is not None}
IDS = range(len(CLASSES))


@pytest.fixture(scope="module")
def segmenter(tiny_model: ModelFile) -> Iterator[Segmenter]:
    with Segmenter.open(tiny_model.path, "onnxruntime") as opened:
        yield opened


def judged_pixels(bag: TruthBag, segmenter: Segmenter) -> tuple[np.ndarray, np.ndarray]:
    """Predict the recorded images, with no regard to stamps or topics of labels; return true and predicted ids [K]."""
    recorded = [message for topic, _, message in bag.messages if topic == (bag.topic or IMAGE_TOPIC)]
    true, pred = [], []
    for index, label in bag.truth.items():
        image = np.asarray(recorded[index].data).reshape(*SIZE_HW, 3)
        counted = label != VOID
        true.append(label[counted])
        pred.append(segmenter.segment([image])[0].label[counted])
    return np.concatenate(true), np.concatenate(pred)


@pytest.mark.parametrize("name", REPLAYED)
def test_what_is_judged_is_said_and_every_figure_is_that_of_scikit_learn(
    tmp_path: Path, segmenter: Segmenter, name: str
) -> None:
    bag = BAGS[name]
    path = write_messages(tmp_path / "bag", bag.messages)
    result = replay_offline(path, segmenter, topic=bag.topic, ground_truth=bag.wanted)
    assert len(result.warnings) == len(bag.says), result.warnings
    for said, expected in zip(result.warnings, bag.says, strict=True):
        assert re.search(expected, said), said
    figures = result.figures()
    counts = figures["truth"]
    expected_counts = {
        **{"images": NUM_FRAMES, "messages": NUM_FRAMES, "matched": NUM_FRAMES, "judged": len(bag.truth)},
        **dict.fromkeys(("unmatched", "ambiguous", "by_log_time", "within_tolerance", "resized"), 0),
        **bag.counts,
    }
    assert {kind: counts[kind] for kind in expected_counts} == expected_counts
    assert counts["messages"] == counts["matched"] + counts["unmatched"] + counts["ambiguous"]
    # an incomplete truth is never silent
    assert counts["judged"] == NUM_FRAMES or bag.says or result.label_topic is None
    if not bag.truth:
        assert figures["miou"] is None
        assert counts["pixels"] == 0
        return
    true, pred = judged_pixels(bag, segmenter)
    assert counts["pixels"] == len(true)
    assert counts["pixels"] + counts["pixels_ignored"] + counts["pixels_masked"] == counts["judged"] * np.prod(SIZE_HW)
    assert np.array_equal(result.evaluator.confusion.counts, confusion_matrix(true, pred, labels=IDS))
    present = sorted({*true.tolist(), *pred.tolist()})
    iou = jaccard_score(true, pred, labels=present, average=None)
    assert figures["pixel_accuracy"] == pytest.approx(accuracy_score(true, pred), abs=1e-6)
    assert figures["miou"] == pytest.approx(iou.mean(), abs=1e-6)
    expected_iou = {info.name: None for info in CLASSES}
    expected_iou |= {
        CLASSES[class_id].name: pytest.approx(value, abs=1e-6) for class_id, value in zip(present, iou, strict=True)
    }
    assert figures["per_class_iou"] == expected_iou


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_is_refused_before_anything_is_predicted(
    tmp_path: Path, segmenter: Segmenter, name: str
) -> None:
    bag = BAGS[name]
    assert bag.refused is not None
    path = write_messages(tmp_path / "bag", bag.messages)
    with pytest.raises(LwsegError, match=bag.refused) as refusal:
        replay_offline(
            path,
            segmenter,
            topic=bag.topic,
            ground_truth=bag.wanted,
            progress=lambda total: pytest.fail("it was played"),
        )
    assert not isinstance(refusal.value, ImageError)
