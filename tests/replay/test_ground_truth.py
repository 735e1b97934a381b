"""Which topic is ground truth, and masks. The bags of test_truth_bags.py have the rest."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from support.bag_files import IMAGE, TYPESTORE, image_message, painted_messages, write_messages
from support.tiny_model import tiny_manifest

from lwseg_ros.errors import BagError, DatasetError
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.ground_truth import GroundTruth, Mask, choose_label_topic, read_mask
from lwseg_ros.replay.paired_truth import PairedTruth


def test_an_empty_label_topic_is_said(tmp_path: Path) -> None:
    message = image_message(np.zeros((4, 4, 3), np.uint8), 1)
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.add_connection("/cam/label", IMAGE, typestore=TYPESTORE)
        images = writer.add_connection("/cam/image", IMAGE, typestore=TYPESTORE)
        writer.write(images, 1, TYPESTORE.serialize_cdr(message, IMAGE))
    with Bag(tmp_path / "bag") as bag:
        assert choose_label_topic(bag, bag.image_topic(), None) == (None, ["/cam/label holds no messages"])


@pytest.mark.parametrize("namespace", ["/cam", "/cam/image"])
def test_labels_beside_or_under_the_images_are_the_camera_s_own(tmp_path: Path, namespace: str) -> None:
    label = image_message(np.zeros((4, 4), np.uint8), 1)
    image = image_message(np.zeros((4, 4, 3), np.uint8), 1)
    messages = [("/cam/image", 1, image), (f"{namespace}/label", 1, label), ("/other/label", 1, label)]
    with Bag(write_messages(tmp_path / "bag", messages)) as bag:
        topic, said = choose_label_topic(bag, bag.image_topic(), None)
    assert topic is not None
    assert topic.name == f"{namespace}/label"
    assert not said


def test_a_model_without_an_ignored_id_judges_every_pixel_unless_asked(tmp_path: Path) -> None:
    manifest = replace(tiny_manifest(), ignore_id=None)
    label = np.full((4, 4), 255, np.uint8)
    label[0] = 1
    messages = [
        ("/cam/image", 1, image_message(np.zeros((4, 4, 3), np.uint8), 1)),
        ("/cam/label", 1, image_message(label, 1)),
    ]
    with Bag(write_messages(tmp_path / "bag", messages)) as bag:
        image = bag.image_topic()
        with pytest.raises(
            BagError, match=r"frame 0: label on /cam/label at 1 ns holds the values \[255\]; accepted are 0 to 4;"
        ):
            PairedTruth(bag, image, GroundTruth(), manifest)
        truth = PairedTruth(bag, image, GroundTruth(ignore_id=255), manifest)
        judged = truth.judge(truth.frames[0], (4, 4))
    assert judged is not None
    assert (judged == truth.ignore_id).sum() == 12


def mask_file(folder: Path, picture: np.ndarray) -> Path:
    path = folder / "mask.png"
    assert cv2.imwrite(str(path), picture)
    return path


def test_a_mask_is_judged_where_it_is_white(tmp_path: Path) -> None:
    picture = np.zeros((4, 6), np.uint8)
    picture[1:3] = 255
    path = mask_file(tmp_path, picture)
    mask = read_mask(path)
    assert np.array_equal(mask.pixels, picture > 0)
    assert (mask.source, mask.sha256) == (str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_mask_that_says_nothing_clear_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"mask\.png has other colours than black and white"):
        read_mask(mask_file(tmp_path, np.full((4, 6), 254, np.uint8)))
    with pytest.raises(DatasetError, match=r"mask\.png is black everywhere"):
        read_mask(mask_file(tmp_path, np.zeros((4, 6), np.uint8)))
    with pytest.raises(DatasetError, match=r"cannot read .*none\.png"):
        read_mask(tmp_path / "none.png")


def test_a_mask_of_another_shape_is_refused_and_one_of_another_size_resized(tmp_path: Path) -> None:
    mask = np.ones((24, 32), bool)
    mask[12:] = False
    with Bag(write_messages(tmp_path / "bag", painted_messages(1))) as bag:
        image = bag.image_topic()
        truth = PairedTruth(bag, image, GroundTruth(mask=Mask(mask, "mask.png", "00")), tiny_manifest())
        judged = truth.judge(truth.frames[0], (48, 64))
        assert judged is not None
        assert (judged[24:] == 255).all()
        assert (judged[:24] != 255).all()
        with pytest.raises(DatasetError, match=r"the mask is 24 x 24 pixels .* the images on .* 48 x 64"):
            PairedTruth(bag, image, GroundTruth(mask=Mask(mask[:, :24], "mask.png", "00")), tiny_manifest())
