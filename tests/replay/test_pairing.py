"""Pairing by stamp, and by order where stamps do not tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.bag_files import IMAGE_TOPIC, LABEL_TOPIC, TYPES, header, image_message, jpeg_message, write_messages

from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.pairing import Pairing, describe, pair

PIXELS = np.zeros((48, 64), np.uint8)
IMAGE = jpeg_message(np.zeros((48, 64, 3), np.uint8), 0)


def pairing(folder: Path, *recorded: tuple[str, int, int], tolerance_ms: float = 0) -> Pairing:
    """Record `image` or `label`, log time and stamp in milliseconds, and pair."""
    messages = []
    for kind, log_ms, stamp_ms in recorded:
        if kind == "image":
            message = TYPES[IMAGE.__msgtype__](header(stamp_ms * 10**6), "jpeg", IMAGE.data)
            messages.append((IMAGE_TOPIC, log_ms * 10**6, message))
        else:
            messages.append((LABEL_TOPIC, log_ms * 10**6, image_message(PIXELS, stamp_ms * 10**6)))
    with Bag(write_messages(folder / "bag", messages)) as bag:
        [truth] = bag.label_topics()
        return pair(bag, bag.image_topic(), truth, round(tolerance_ms * 1e6))


def pairs(folder: Path, *recorded: tuple[str, int, int], tolerance_ms: float = 0) -> tuple[list[int | None], list[str]]:
    """Return each image's label by its log time, and what is said of the pairs."""
    paired = pairing(folder, *recorded, tolerance_ms=tolerance_ms)
    labels = [frame.ground_truth for frame in paired.frames]
    found = [None if label is None else label.log_ns // 10**6 for label in labels]
    return found, describe(paired, IMAGE_TOPIC, LABEL_TOPIC, tolerance_ms)


def test_zero_stamps_pair_by_order(tmp_path: Path) -> None:
    recorded = [(kind, log_ms + late, 0) for log_ms in (0, 100, 200) for kind, late in (("image", 0), ("label", 7))]
    found, said = pairs(tmp_path, *recorded)
    assert found == [7, 107, 207]
    assert said == ["3 labels on /cam/label share their stamp with others: by their log times they were told apart"]


def test_a_stamp_that_comes_twice_pairs_by_order(tmp_path: Path) -> None:
    recorded = [("image", 0, 5), ("label", 0, 5), ("image", 100, 5), ("label", 100, 5), ("image", 200, 6)]
    found, said = pairs(tmp_path, *recorded, ("label", 900, 6))
    assert found == [0, 100, 900]
    assert len(said) == 1
    assert said[0].startswith("2 labels on /cam/label share their stamp")


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


def test_a_day_between_their_log_times_is_nothing_to_stamps(tmp_path: Path) -> None:
    day_ms = 86_400_000
    for late_ms in (-4000, 4000, day_ms):
        recorded = [("image", day_ms + 100 * number, number + 1) for number in range(40)]
        recorded += [("label", day_ms + 100 * number + late_ms, number + 1) for number in range(40)]
        found, said = pairs(tmp_path / str(late_ms), *recorded)
        assert found == [day_ms + 100 * number + late_ms for number in range(40)]
        assert not said


IMAGES = [("image", 100 * number, 100 * number) for number in range(1, 5)]


def test_stamps_that_are_nearly_equal_are_named_and_paired_within_a_tolerance(tmp_path: Path) -> None:
    recorded = [*IMAGES, ("label", 1, 102), ("label", 2, 200), ("label", 3, 297)]
    found, said = pairs(tmp_path / "exact", *recorded)
    assert found == [None, 2, None, None]
    assert said == [
        "2 of 3 labels on /cam/label belong to no image on /cam/image/compressed: their stamps are 2.5 ms from the nearest "
        "(median); --label-tolerance 3 would pair those that are near"
    ]
    found, said = pairs(tmp_path / "near", *recorded, tolerance_ms=3)
    assert found == [1, 2, 3, None]
    assert said == ["2 labels on /cam/label are stamped up to 3 ms from their images, within the label tolerance"]
    found, said = pairs(tmp_path / "nearer", *recorded, tolerance_ms=2.5)
    assert found == [1, 2, None, None]
    assert said[1].startswith("1 of 3 labels on /cam/label belong to no image")


def test_of_two_labels_near_an_image_the_nearer_one_is_its_own(tmp_path: Path) -> None:
    found, said = pairs(tmp_path / "one", *IMAGES, ("label", 1, 103), ("label", 2, 99), tolerance_ms=10)
    assert found == [2, None, None, None]
    assert said[1].startswith("1 of 2 labels on /cam/label belong to no image")
    # one with the very stamp of its image leaves nothing to others
    found, _ = pairs(tmp_path / "exact", *IMAGES, ("label", 1, 103), ("label", 2, 100), tolerance_ms=10)
    assert found == [2, None, None, None]


def test_what_is_as_near_cannot_be_told_apart(tmp_path: Path) -> None:
    cases = {
        "between two images": [*IMAGES, ("label", 1, 150)],
        "two around an image": [*IMAGES, ("label", 1, 97), ("label", 2, 103)],
        "two images of one stamp": [*IMAGES, ("image", 500, 400), ("label", 1, 401)],
        "two labels of one stamp": [*IMAGES, ("label", 1, 401), ("label", 2, 401)],
    }
    for name, recorded in cases.items():
        paired = pairing(tmp_path / name.replace(" ", "_"), *recorded, tolerance_ms=50)
        num_labels = sum(kind == "label" for kind, _, _ in recorded)
        assert (paired.num_matched, paired.num_ambiguous, paired.num_unmatched) == (0, num_labels, 0), name


def test_a_tolerance_of_more_than_half_an_interval_is_said(tmp_path: Path) -> None:
    _, said = pairs(tmp_path, *IMAGES, ("label", 1, 160), tolerance_ms=51)
    assert said[0].startswith("the label tolerance of 51 ms is more than half of the 100 ms between images")


def test_where_stamps_go_back_only_neighbours_in_time_follow_each_other(tmp_path: Path) -> None:
    stamps_ms = [100, 200, 300, 250, 350, 600, 700, 650]
    recorded = [("image", 10 * number, stamp_ms) for number, stamp_ms in enumerate(stamps_ms)]
    paired = pairing(tmp_path, *recorded, ("label", 0, 100))
    assert paired.interval_ns == 50e6
    assert paired.num_backward == 2
    assert [frame.follows for frame in paired.frames] == [True, False, False, False, False, False, False, False]
    paired = pairing(tmp_path / "reset", *IMAGES, *IMAGES, ("label", 0, 100))
    assert [frame.follows for frame in paired.frames] == [True, True, True, True, False, True, True, True]


def test_gaps_alone_change_nothing(tmp_path: Path) -> None:
    recorded = [("image", stamp_ms, stamp_ms) for stamp_ms in (100, 200, 900, 1000, 1000)]
    paired = pairing(tmp_path, *recorded, ("label", 0, 100))
    assert paired.num_backward == 0
    assert all(frame.follows for frame in paired.frames)
