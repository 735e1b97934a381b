"""Pairing by stamp, and by order where stamps do not tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.bag_files import IMAGE_TOPIC, LABEL_TOPIC, TYPES, header, image_message, jpeg_message, write_messages

from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.pairing import ambiguities, frames

PIXELS = np.zeros((48, 64), np.uint8)
IMAGE = jpeg_message(np.zeros((48, 64, 3), np.uint8), 0)


def pairs(folder: Path, *recorded: tuple[str, int, int]) -> tuple[list[int | None], list[str]]:
    """Record `image` or `label`, log time and stamp in milliseconds; return each image's label by its log time."""
    messages = []
    for kind, log_ms, stamp_ms in recorded:
        if kind == "image":
            message = TYPES[IMAGE.__msgtype__](header(stamp_ms * 10**6), "jpeg", IMAGE.data)
            messages.append((IMAGE_TOPIC, log_ms * 10**6, message))
        else:
            messages.append((LABEL_TOPIC, log_ms * 10**6, image_message(PIXELS, stamp_ms * 10**6)))
    with Bag(write_messages(folder / "bag", messages)) as bag:
        truth = bag.label_topic()
        image = bag.image_topic(exclude=LABEL_TOPIC)
        labels = [frame.ground_truth for frame in frames(bag, image, truth)]
        found = [None if label is None else label.log_ns // 10**6 for label in labels]
        return found, ambiguities(bag, image, truth)


def test_zero_stamps_pair_by_order(tmp_path: Path) -> None:
    recorded = [(kind, log_ms + late, 0) for log_ms in (0, 100, 200) for kind, late in (("image", 0), ("label", 7))]
    assert pairs(tmp_path, *recorded) == ([7, 107, 207], [])


def test_a_stamp_that_comes_twice_pairs_by_order(tmp_path: Path) -> None:
    recorded = [("image", 0, 5), ("label", 0, 5), ("image", 100, 5), ("label", 100, 5), ("image", 200, 6)]
    assert pairs(tmp_path, *recorded, ("label", 900, 6)) == ([0, 100, 900], [])


@pytest.mark.parametrize(
    "recorded",
    [
        # a label is missing
        [("image", 0, 0), ("image", 100, 0), ("label", 100, 0)],
        [("image", 0, 0), ("label", 0, 0), ("label", 100, 0)],
        # the first image and the last label are missing
        [("label", 2, 0), ("image", 100, 0), ("label", 102, 0), ("image", 200, 0)],
        # written one topic after the other, with nothing to tell them apart
        [("image", 0, 0), ("image", 0, 0), ("label", 0, 0), ("label", 0, 0)],
        # logged halfway between two images
        [("image", 0, 0), ("label", 50, 0), ("image", 100, 0), ("label", 150, 0)],
    ],
)
def test_what_cannot_be_told_apart_is_left_out_and_said(tmp_path: Path, recorded: list[tuple[str, int, int]]) -> None:
    found, said = pairs(tmp_path, *recorded, ("image", 500, 9), ("label", 500, 9))
    num_images = sum(kind == "image" for kind, _, _ in recorded)
    num_labels = sum(kind == "label" for kind, _, _ in recorded)
    assert found == [None] * num_images + [500]
    assert len(said) == 1
    assert said[0].startswith(f"{num_labels} labels on /cam/label are not used")


def test_topics_that_were_written_one_after_the_other_pair_by_stamp(tmp_path: Path) -> None:
    recorded = [(kind, 100 * number, number) for kind in ("image", "label") for number in range(80)]
    assert pairs(tmp_path, *recorded) == ([100 * number for number in range(80)], [])
